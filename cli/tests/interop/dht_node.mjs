// DHT nodes of the npm package bittorrent-dht. The argument is JSON as for dht_libtorrent.py, and so is what is printed.
import { Client } from 'bittorrent-dht'

const options = JSON.parse(process.argv.at(-1))
const say = (event, fields) => process.stdout.write(JSON.stringify({ event, ...fields }) + '\n')

const nodes = options.listen.map(at => {
  const [host, port] = at.split(':')
  const node = new Client({ bootstrap: options.bootstrap })
  node.on('error', error => process.stderr.write(error.stack + '\n'))
  node.on('warning', () => {})
  node.listen(Number(port), host)
  return node
})
const last = nodes.at(-1)
last.on('peer', (peer, hash) => say('peer', { hash: hash.toString('hex'), addr: `${peer.host}:${peer.port}` }))

function ask () {
  for (const hash of options.find) last.lookup(hash, () => {})
  for (const target of options.get) {
    last.get(target, (error, item) => {
      if (!error && item) say('item', { target, value: Buffer.from(item.v).toString() })
    })
  }
}

function begin () {
  say('ready', { nodes: last.toJSON().nodes.length })
  for (const [hash, port] of options.announce) {
    last.announce(hash, port, error => { if (!error) say('announced', { hash }) })
  }
  for (const text of options.put) {
    last.put({ v: Buffer.from(text) }, (error, target, count) => {
      if (!error) say('stored', { target: Buffer.from(target).toString('hex'), nodes: count })
    })
  }
  ask()
  setInterval(ask, 2000)
}

const waiting = setInterval(() => {
  if (last.toJSON().nodes.length >= 2) {
    clearInterval(waiting)
    begin()
  }
}, 100)
