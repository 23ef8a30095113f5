//! transmission-daemon, driven over its JSON-RPC.

use std::fs;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

use crate::base64;
use crate::client::{Client, Job, Running, State};
use crate::http;
use crate::process::{Process, command, find, free_addr, version_line, wait_for};
use crate::static_tracker::StaticTracker;

const PROGRAM: &str = "transmission-daemon";

pub(crate) struct Transmission;

impl Client for Transmission {
    fn name(&self) -> &'static str {
        "transmission"
    }

    fn version(&self) -> Option<String> {
        version_line(&find(PROGRAM)?, "-V")
    }

    /// It takes 127.0.0.0/8 and ::1 for unroutable.
    fn dials_loopback(&self) -> bool {
        false
    }

    fn makes_empty_files(&self) -> bool {
        false
    }

    fn start(&self, job: &Job<'_>) -> Result<Box<dyn Running>> {
        let rpc = free_addr(Ipv4Addr::LOCALHOST.into());
        fs::write(job.work.join("settings.json"), settings(job, rpc).to_string())?;
        let mut command = command(&find(PROGRAM).expect("the caller has looked"));
        command.arg("-f").arg("-g").arg(&job.work);
        let process = Process::start(self.name(), command, &job.work)?;
        let tracker = StaticTracker::start(job.listen.ip(), &job.peers)?;
        let mut peer = Peer { process, rpc, session: String::new(), _tracker: tracker };
        wait_for("transmission's RPC", Duration::from_secs(30), || {
            peer.process.check_alive()?;
            Ok(peer.call("session-get", &json!({})).ok())
        })?;
        let torrent = base64::encode(&job.torrent(&[peer._tracker.url()]));
        let add = json!({ "metainfo": torrent, "download-dir": job.data, "paused": false });
        peer.call("torrent-add", &add)?;
        peer.call("torrent-verify", &json!({}))?;
        Ok(Box::new(peer))
    }
}

fn settings(job: &Job<'_>, rpc: SocketAddr) -> Value {
    let v4 = if job.listen.is_ipv4() { job.listen.ip() } else { IpAddr::from([127, 0, 0, 1]) };
    let v6 = if job.listen.is_ipv6() { job.listen.ip().to_string() } else { "::1".to_owned() };
    json!({
        "rpc-enabled": true, "rpc-port": rpc.port(), "rpc-bind-address": "127.0.0.1",
        "rpc-whitelist-enabled": false, "rpc-host-whitelist-enabled": false,
        "rpc-authentication-required": false,
        "bind-address-ipv4": v4, "bind-address-ipv6": v6,
        "peer-port": job.listen.port(), "peer-port-random-on-start": false, "port-forwarding-enabled": false,
        "utp-enabled": false, "dht-enabled": false, "pex-enabled": false, "lpd-enabled": false, "encryption": 1,
        "download-dir": job.data, "incomplete-dir-enabled": false, "rename-partial-files": false,
        "download-queue-enabled": false, "seed-queue-enabled": false, "queue-stalled-enabled": false,
        "start-added-torrents": true, "preallocation": 0, "message-level": 2,
    })
}

struct Peer {
    process: Process,
    rpc: SocketAddr,
    session: String,
    _tracker: StaticTracker,
}

impl Peer {
    fn call(&mut self, method: &str, arguments: &Value) -> Result<Value> {
        let body = json!({ "method": method, "arguments": arguments }).to_string();
        loop {
            let headers = [("X-Transmission-Session-Id", self.session.as_str())];
            let answer = http::post(self.rpc, "/transmission/rpc", &headers, body.as_bytes())?;
            // The first answer names the session to use.
            if answer.status == 409 && self.session.is_empty() {
                self.session =
                    answer.header("X-Transmission-Session-Id").context("no session id")?.to_owned();
                continue;
            }
            let mut value: Value = serde_json::from_slice(&answer.body)?;
            if value["result"] != "success" {
                bail!("transmission refuses {method}: {value}");
            }
            return Ok(value["arguments"].take());
        }
    }
}

impl Running for Peer {
    fn state(&mut self) -> Result<State> {
        const DOWNLOADING: u64 = 4;
        const SEEDING: u64 = 6;
        const LOCAL_ERROR: u64 = 3;
        self.process.check_alive()?;
        let fields = json!({ "fields": ["status", "leftUntilDone", "error", "errorString"] });
        let answer = self.call("torrent-get", &fields)?;
        let torrent = &answer["torrents"][0];
        if torrent["error"] == LOCAL_ERROR {
            bail!("transmission: {}", torrent["errorString"]);
        }
        Ok(match torrent["status"].as_u64() {
            Some(SEEDING) if torrent["leftUntilDone"] == 0 => State::Complete,
            Some(DOWNLOADING) => State::Downloading,
            _ => State::Busy,
        })
    }

    fn log_tail(&self) -> String {
        self.process.log_tail()
    }
}
