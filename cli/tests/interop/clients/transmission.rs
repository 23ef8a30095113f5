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
        let nodes = job.dht.iter().flatten().map(|node| format!("{} {}\n", node.ip(), node.port()));
        fs::write(job.work.join("dht.bootstrap"), nodes.collect::<String>())?;
        let mut command = command(&find(PROGRAM).expect("the caller has looked"));
        command.arg("-f").arg("-g").arg(&job.work);
        let process = Process::start(self.name(), command, &job.work)?;
        let tracker = StaticTracker::start(job.listen.ip(), &job.peers)?;
        let mut peer = Peer { process, rpc, session: String::new(), tracker };
        wait_for("transmission's RPC", Duration::from_secs(120), || {
            peer.process.check_alive()?;
            Ok(peer.call("session-get", &json!({})).ok())
        })?;
        // Peers come from trackers only.
        let named: Vec<String> = job.peers.first().map(|_| peer.tracker.url()).into_iter().collect();
        let (key, value) = match job.magnet {
            true => ("filename", job.magnet_link(&named)),
            false => ("metainfo", base64::encode(&job.torrent(&named))),
        };
        let add = json!({ key: value, "download-dir": job.data, "paused": false });
        peer.call("torrent-add", &add)?;
        if !job.magnet {
            peer.call("torrent-verify", &json!({}))?;
        }
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
        "utp-enabled": false, "dht-enabled": job.dht.is_some(), "pex-enabled": job.pex, "lpd-enabled": job.lsd,
        "encryption": 1, "speed-limit-down-enabled": job.down_limit > 0, "speed-limit-down": job.down_limit / 1000,
        "download-dir": job.data, "incomplete-dir-enabled": false, "rename-partial-files": false,
        "download-queue-enabled": false, "seed-queue-enabled": false, "queue-stalled-enabled": false,
        "start-added-torrents": true, "preallocation": 0, "message-level": 2,
    })
}

struct Peer {
    process: Process,
    rpc: SocketAddr,
    session: String,
    tracker: StaticTracker,
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
        let fields = ["status", "leftUntilDone", "error", "errorString", "metadataPercentComplete"];
        let fields = json!({ "fields": fields });
        let answer = self.call("torrent-get", &fields)?;
        let torrent = &answer["torrents"][0];
        if torrent["error"] == LOCAL_ERROR {
            bail!("transmission: {}", torrent["errorString"]);
        }
        Ok(match torrent["status"].as_u64() {
            _ if torrent["metadataPercentComplete"].as_f64() < Some(1.0) => State::Downloading,
            Some(SEEDING) if torrent["leftUntilDone"] == 0 => State::Complete,
            Some(DOWNLOADING) => State::Downloading,
            _ => State::Busy,
        })
    }

    fn log_tail(&self) -> String {
        self.process.log_tail()
    }
}
