//! scratch
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;
use std::io::BufRead;
use std::net::{SocketAddr, UdpSocket};
use std::time::{Duration, Instant};
use swarm::engine::Time;
use swarm::engine::dht::*;
fn unhex(t: &str) -> Vec<u8> {
    (0..t.len()).step_by(2).map(|a| u8::from_str_radix(&t[a..a + 2], 16).unwrap()).collect()
}
fn hex(b: &[u8]) -> String {
    b.iter().map(|b| format!("{b:02x}")).collect()
}
fn main() {
    let a: Vec<String> = std::env::args().skip(1).collect();
    let bind: SocketAddr = a[0].parse().unwrap();
    let boot: Vec<SocketAddr> = a[1..].iter().map(|b| b.parse().unwrap()).collect();
    let socket = UdpSocket::bind(bind).unwrap();
    let start = Instant::now();
    let now = || Time::from_secs(1) + start.elapsed();
    let mut dht = Dht::new(
        DhtConfig {
            ipv6: false,
            own: vec![bind],
            bootstrap: boot,
            version: Some(*b"UK01"),
            ..DhtConfig::default()
        },
        ChaCha8Rng::seed_from_u64(bind.port().into()),
        now(),
    );
    let (tx, rx) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        for l in std::io::stdin().lock().lines() {
            tx.send(l.unwrap()).unwrap();
        }
    });
    let mut buffer = [0; 2048];
    loop {
        while let Ok(l) = rx.try_recv() {
            let w: Vec<&str> = l.split_whitespace().collect();
            let id = |s: &str| Id(unhex(s).try_into().unwrap());
            let n = now();
            let r = match w[0] {
                "peers" => dht.get_peers(n, id(w[1]), None),
                "announce" => dht.get_peers(
                    n,
                    id(w[1]),
                    Some(Announce { port: w[2].parse().unwrap(), implied_port: false, seed: false }),
                ),
                "scrape" => dht.scrape(n, id(w[1])),
                "geti" => dht.get_immutable(n, id(w[1])),
                "puti" => dht.put_immutable(n, w[1].as_bytes().to_vec()),
                "getm" => {
                    dht.get_mutable(n, unhex(w[1]).try_into().unwrap(), w.get(2).unwrap_or(&"").as_bytes())
                }
                "putm" => dht.put_mutable(
                    n,
                    PutMutable {
                        secret: unhex(w[1]).try_into().unwrap(),
                        value: w[2].as_bytes().to_vec(),
                        salt: w.get(3).unwrap_or(&"").as_bytes().to_vec(),
                        cas: None,
                    },
                ),
                "ping" => dht.ping(n, w[1].parse().unwrap()),
                "sample" => dht.sample(n, w[1].parse().unwrap(), Id([0; 20])),
                "key" => {
                    println!("key {}", hex(&Mutable::public_key(&unhex(w[1]).try_into().unwrap())));
                    continue;
                }
                "status" => {
                    println!("{:?}", dht.status());
                    continue;
                }
                _ => return,
            };
            println!("begun {r:?}");
        }
        while let Some(p) = dht.poll_transmit() {
            let _ = socket.send_to(&p.bytes, p.to);
        }
        while let Some(e) = dht.poll_event() {
            println!("{e:?}");
        }
        let wait = dht.next_timeout().since(now()).clamp(Duration::from_millis(1), Duration::from_millis(50));
        socket.set_read_timeout(Some(wait)).unwrap();
        if let Ok((len, from)) = socket.recv_from(&mut buffer) {
            dht.handle_packet(now(), from, &buffer[..len]);
        }
        dht.handle_timeout(now());
    }
}
