//! rtorrent without its screen, driven by XML-RPC over SCGI.

use std::fs;
use std::io::{Read, Write};
use std::net::SocketAddr;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, bail};

use crate::base64;
use crate::client::{Client, Job, Running, State};
use crate::process::{Process, command, find, version_line, wait_for};
use crate::static_tracker::StaticTracker;

const PROGRAM: &str = "rtorrent";

pub(crate) struct Rtorrent;

impl Client for Rtorrent {
    fn name(&self) -> &'static str {
        "rtorrent"
    }

    fn version(&self) -> Option<String> {
        version_line(&find(PROGRAM)?, "-h")
    }

    fn ipv6(&self) -> bool {
        false
    }

    fn start(&self, job: &Job<'_>) -> Result<Box<dyn Running>> {
        let socket = job.work.join("scgi");
        let conf = job.work.join("rtorrent.rc");
        let session = job.work.join("session");
        fs::create_dir_all(&session)?;
        // It contacts these at once, and those that it is told of later a minute later.
        fs::write(session.join("rtorrent.dht_cache"), contacts(job.dht.iter().flatten()))?;
        let lines = [
            "system.daemon.set = true".to_owned(),
            format!("network.scgi.open_local = {}", socket.display()),
            format!("session.path.set = {}", session.display()),
            format!("directory.default.set = {}", job.data.display()),
            format!("network.bind_address.set = {}", job.listen.ip()),
            format!("network.port_range.set = {0}-{0}", job.listen.port()),
            "network.port_random.set = no".to_owned(),
            format!("dht.mode.set = {}", if job.dht.is_some() { "on" } else { "disable" }),
            format!("dht.port.set = {}", job.listen.port()),
            format!("protocol.pex.set = {}", if job.pex { "yes" } else { "no" }),
            format!("throttle.global_down.max_rate.set = {}", job.down_limit),
            "protocol.encryption.set = allow_incoming,try_outgoing,enable_retry".to_owned(),
            "trackers.use_udp.set = yes".to_owned(),
            "network.xmlrpc.size_limit.set = 16M".to_owned(),
        ];
        fs::write(&conf, lines.join("\n") + "\n")?;
        let mut command = command(&find(PROGRAM).expect("the caller has looked"));
        command.arg("-n").arg("-o").arg(format!("import={}", conf.display()));
        command.env("TERM", "xterm").env("HOME", &job.work);
        let process = Process::start(self.name(), command, &job.work)?;
        // It refuses a torrent that names no tracker. When it has the metadata of a magnet link it forgets whom it was told of.
        let named = if job.magnet { &job.peers[..] } else { &[] };
        let tracker = StaticTracker::start(job.listen.ip(), named)?;
        let hash = job.payload.info_hash().to_ascii_uppercase();
        let mut peer = Peer { process, socket, hash, _tracker: tracker };
        wait_for("rtorrent's socket", Duration::from_secs(120), || {
            peer.process.check_alive()?;
            Ok(peer.call("system.client_version", &[]).ok())
        })?;
        let nothing = "<string></string>".to_owned();
        // It asks the DHT when no tracker answers.
        let tracker = job.dht.is_none().then(|| peer._tracker.url());
        let tracker = tracker.as_slice();
        if job.magnet {
            let link = job.magnet_link(tracker).replace('&', "&amp;");
            peer.call("load.start", &[nothing, format!("<string>{link}</string>")])?;
        } else {
            let torrent = base64::encode(&job.torrent(tracker));
            peer.call("load.raw_start", &[nothing, format!("<base64>{torrent}</base64>")])?;
        }
        wait_for("rtorrent's torrent", Duration::from_secs(120), || Ok(peer.of_torrent("d.name", &[]).ok()))?;
        for other in &job.peers {
            peer.of_torrent("add_peer", &[format!("<string>{other}</string>")])?;
        }
        Ok(Box::new(peer))
    }
}

/// What it knows of the DHT when it starts.
fn contacts<'a>(nodes: impl Iterator<Item = &'a SocketAddr>) -> String {
    let contact = |node: &SocketAddr| {
        let ip = node.ip().to_string();
        format!("l{}:{ip}i{}ee", ip.len(), node.port())
    };
    format!("d8:contactsl{}ee", nodes.map(contact).collect::<String>())
}

struct Peer {
    process: Process,
    socket: PathBuf,
    hash: String,
    _tracker: StaticTracker,
}

impl Peer {
    fn of_torrent(&self, method: &str, more: &[String]) -> Result<String> {
        let hash = format!("<string>{}</string>", self.hash);
        self.call(method, &[&[hash], more].concat())
    }

    fn read_state(&self) -> Result<State> {
        if self.of_torrent("d.is_hash_checking", &[])? != "0" || self.of_torrent("d.is_active", &[])? != "1" {
            return Ok(State::Busy);
        }
        if self.of_torrent("d.is_meta", &[])? == "1" {
            return Ok(State::Downloading);
        }
        Ok(if self.of_torrent("d.complete", &[])? == "1" { State::Complete } else { State::Downloading })
    }

    /// Calls a method with values written as XML; answers the text of the returned value.
    fn call(&self, method: &str, params: &[String]) -> Result<String> {
        let params: String = params.iter().map(|p| format!("<param><value>{p}</value></param>")).collect();
        let body = format!(
            "<?xml version=\"1.0\"?><methodCall><methodName>{method}</methodName><params>{params}</params>\
             </methodCall>"
        );
        let head = format!("CONTENT_LENGTH\0{}\0SCGI\01\0", body.len());
        let mut stream = UnixStream::connect(&self.socket)?;
        stream.set_read_timeout(Some(Duration::from_secs(10)))?;
        stream.write_all(format!("{}:{head},{body}", head.len()).as_bytes())?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        if answer.contains("<fault>") {
            bail!("rtorrent refuses {method}: {answer}");
        }
        let value = answer.split_once("<value>").and_then(|(_, rest)| rest.split_once("</value>"));
        let (value, _) = value.with_context(|| format!("no value in {answer}"))?;
        let text = value.split_once('>').map_or(value, |(_, rest)| rest);
        Ok(text.split('<').next().unwrap_or_default().to_owned())
    }
}

impl Running for Peer {
    fn state(&mut self) -> Result<State> {
        self.process.check_alive()?;
        let state = self.read_state();
        // For a moment it is not there: when its metadata came, it is added anew.
        let is_between = |why: &anyhow::Error| why.to_string().contains("Could not find info-hash");
        if state.as_ref().is_err_and(is_between) { Ok(State::Busy) } else { state }
    }

    fn log_tail(&self) -> String {
        self.process.log_tail()
    }
}
