//! An HTTP tracker that always names the same peers, for clients that take addresses from nowhere else.

use std::io::{BufRead, BufReader, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use anyhow::Result;

/// The running tracker; it ends when dropped.
pub(crate) struct StaticTracker {
    addr: SocketAddr,
    ended: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl StaticTracker {
    pub(crate) fn start(host: IpAddr, peers: &[SocketAddr]) -> Result<StaticTracker> {
        let listener = TcpListener::bind((host, 0))?;
        let addr = listener.local_addr()?;
        let reply = reply(peers);
        let ended = Arc::new(AtomicBool::new(false));
        let end = Arc::clone(&ended);
        let thread = thread::spawn(move || {
            for stream in listener.incoming() {
                if end.load(Ordering::Relaxed) {
                    break;
                }
                // A client that hangs up early asks again.
                let _ = stream.and_then(|stream| serve(stream, &reply));
            }
        });
        Ok(StaticTracker { addr, ended, thread: Some(thread) })
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}/announce", self.addr)
    }
}

impl Drop for StaticTracker {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::Relaxed);
        // The connection wakes the thread up.
        if TcpStream::connect(self.addr).is_ok()
            && let Some(thread) = self.thread.take()
        {
            let _ = thread.join();
        }
    }
}

fn serve(stream: TcpStream, reply: &[u8]) -> std::io::Result<()> {
    stream.set_read_timeout(Some(Duration::from_secs(2)))?;
    let mut reader = BufReader::new(stream);
    let mut line = String::new();
    while reader.read_line(&mut line)? > 2 {
        line.clear();
    }
    reader.into_inner().write_all(reply)
}

fn reply(peers: &[SocketAddr]) -> Vec<u8> {
    let (mut v4, mut v6) = (Vec::new(), Vec::new());
    for peer in peers {
        match peer.ip() {
            IpAddr::V4(ip) => v4.extend([&ip.octets()[..], &peer.port().to_be_bytes()].concat()),
            IpAddr::V6(ip) => v6.extend([&ip.octets()[..], &peer.port().to_be_bytes()].concat()),
        }
    }
    let mut body = format!("d8:completei1e10:incompletei1e8:intervali10e5:peers{}:", v4.len()).into_bytes();
    body.extend(v4);
    body.extend(format!("6:peers6{}:", v6.len()).bytes());
    body.extend(v6);
    body.push(b'e');
    let head = format!(
        "HTTP/1.0 200 OK\r\nContent-Type: text/plain\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
        body.len()
    );
    [head.into_bytes(), body].concat()
}
