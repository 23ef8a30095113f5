//! aria2c, driven over its JSON-RPC. It takes peers from trackers only.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use anyhow::{Result, bail};
use serde_json::{Value, json};

use crate::base64;
use crate::client::{Client, Job, Running, State};
use crate::http;
use crate::process::{Process, command, find, free_addr, version_line, wait_for};
use crate::static_tracker::StaticTracker;

const PROGRAM: &str = "aria2c";

pub(crate) struct Aria2;

impl Client for Aria2 {
    fn name(&self) -> &'static str {
        "aria2"
    }

    fn version(&self) -> Option<String> {
        version_line(&find(PROGRAM)?, "--version")
    }

    fn start(&self, job: &Job<'_>) -> Result<Box<dyn Running>> {
        let rpc = free_addr(Ipv4Addr::LOCALHOST.into());
        let mut command = command(&find(PROGRAM).expect("the caller has looked"));
        command.args([
            "--no-conf=true",
            "--no-netrc=true",
            "--enable-color=false",
            "--quiet=true",
            "--enable-rpc=true",
            "--rpc-save-upload-metadata=false",
            "--seed-ratio=0.0",
            "--seed-time=100000",
            "--check-integrity=true",
            "--file-allocation=none",
            "--allow-overwrite=true",
            "--auto-file-renaming=false",
            "--bt-detach-seed-only=false",
            "--enable-dht6=false",
            "--bt-tracker-interval=2",
            "--follow-torrent=mem",
        ]);
        command.arg(format!("--bt-enable-lpd={}", job.lsd));
        if job.lsd {
            command.arg(format!("--bt-lpd-interface={}", job.listen.ip()));
        }
        command.arg(format!("--enable-peer-exchange={}", job.pex));
        command.arg(format!("--max-overall-download-limit={}", job.down_limit));
        if let Some(node) = job.dht.iter().flatten().next() {
            command.arg(format!("--dht-entry-point={node}"));
        }
        // Its UDP tracker client is a part of its DHT, which finds nobody without a bootstrap node.
        let udp = job.trackers.iter().any(|url| url.starts_with("udp:"));
        command.arg(format!("--enable-dht={}", udp || job.dht.is_some()));
        command.arg(format!("--dht-file-path={}", job.work.join("dht.dat").display()));
        command.arg(format!("--dht-listen-port={}", job.listen.port()));
        command.arg(format!("--rpc-listen-port={}", rpc.port()));
        command.arg(format!("--dir={}", job.data.display()));
        command.arg(format!("--interface={}", job.listen.ip()));
        command.arg(format!("--listen-port={}", job.listen.port()));
        command.arg(format!("--disable-ipv6={}", job.listen.is_ipv4()));
        command.arg(format!("--log={}", job.work.join("aria2.log").display()));
        command.arg("--log-level=notice");
        let process = Process::start(self.name(), command, &job.work)?;
        let tracker = StaticTracker::start(job.listen.ip(), &job.peers)?;
        let mut peer = Peer { process, rpc, gid: String::new(), tracker };
        wait_for("aria2's RPC", Duration::from_secs(120), || {
            peer.process.check_alive()?;
            Ok(peer.call("getVersion", &json!([])).ok())
        })?;
        let named: Vec<String> = job.peers.first().map(|_| peer.tracker.url()).into_iter().collect();
        let gid = if job.magnet {
            peer.call("addUri", &json!([[job.magnet_link(&named)], {}]))?
        } else {
            peer.call("addTorrent", &json!([base64::encode(&job.torrent(&named)), [], {}]))?
        };
        peer.gid = gid.as_str().unwrap_or_default().to_owned();
        Ok(Box::new(peer))
    }
}

struct Peer {
    process: Process,
    rpc: SocketAddr,
    gid: String,
    tracker: StaticTracker,
}

impl Peer {
    fn call(&self, method: &str, params: &Value) -> Result<Value> {
        let body =
            json!({ "jsonrpc": "2.0", "id": "x", "method": format!("aria2.{method}"), "params": params });
        let answer = http::post(self.rpc, "/jsonrpc", &[], body.to_string().as_bytes())?;
        let mut value: Value = serde_json::from_slice(&answer.body)?;
        if !value["error"].is_null() {
            bail!("aria2 refuses {method}: {}", value["error"]);
        }
        Ok(value["result"].take())
    }
}

impl Running for Peer {
    fn state(&mut self) -> Result<State> {
        self.process.check_alive()?;
        let mut status = self.call("tellStatus", &json!([self.gid]))?;
        // The metadata of a magnet link became a download of its own.
        if let Some(next) = status["followedBy"][0].as_str() {
            self.gid = next.to_owned();
            status = self.call("tellStatus", &json!([self.gid]))?;
        }
        if status["bittorrent"]["info"].is_null() {
            return Ok(State::Downloading);
        }
        let checking = !status["verifiedLength"].is_null() || status["verifyIntegrityPending"] == "true";
        Ok(match status["status"].as_str() {
            Some("error") => bail!("aria2: {}", status["errorMessage"]),
            Some("active" | "complete") if checking => State::Busy,
            Some("active" | "complete") if status["completedLength"] == status["totalLength"] => {
                State::Complete
            }
            Some("active") => State::Downloading,
            _ => State::Busy,
        })
    }

    fn log_tail(&self) -> String {
        self.process.log_tail()
    }
}
