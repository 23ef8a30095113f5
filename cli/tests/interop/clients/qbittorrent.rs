//! qbittorrent-nox, driven over its Web API without a log-in.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::time::Duration;

use anyhow::{Result, bail};
use serde_json::Value;

use crate::client::{Client, Job, Running, State};
use crate::http;
use crate::process::{Process, command, find, free_addr, version_line, wait_for};

const PROGRAM: &str = "qbittorrent-nox";

pub(crate) struct Qbittorrent;

impl Client for Qbittorrent {
    fn name(&self) -> &'static str {
        "qbittorrent"
    }

    fn version(&self) -> Option<String> {
        version_line(&find(PROGRAM)?, "--version")
    }

    fn writes_late(&self) -> Duration {
        Duration::from_secs(10)
    }

    fn start(&self, job: &Job<'_>) -> Result<Box<dyn Running>> {
        let web = free_addr(Ipv4Addr::LOCALHOST.into());
        let conf = job.work.join("qBittorrent/config");
        fs::create_dir_all(&conf)?;
        fs::write(conf.join("qBittorrent.conf"), settings(job, web))?;
        let mut command = command(&find(PROGRAM).expect("the caller has looked"));
        command.arg(format!("--profile={}", job.work.display()));
        command.arg(format!("--webui-port={}", web.port()));
        command.env("HOME", &job.work).env("QT_QPA_PLATFORM", "offscreen");
        let process = Process::start(self.name(), command, &job.work)?;
        let mut peer = Peer { process, web, hash: job.id(), dial: job.peers.clone(), dialled: job.magnet };
        wait_for("qBittorrent's Web API", Duration::from_secs(60), || {
            peer.process.check_alive()?;
            Ok(peer.get("app/version").ok())
        })?;
        peer.prime(job)?;
        peer.add(job)?;
        wait_for("qBittorrent's torrent", Duration::from_secs(120), || peer.info())?;
        Ok(Box::new(peer))
    }
}

fn settings(job: &Job<'_>, web: SocketAddr) -> String {
    let session = [
        ("Port", job.listen.port().to_string()),
        ("InterfaceAddress", job.listen.ip().to_string()),
        ("BTProtocol", "TCP".to_owned()),
        ("DefaultSavePath", job.data.display().to_string()),
        ("DHTEnabled", job.dht.is_some().to_string()),
        ("PeXEnabled", job.pex.to_string()),
        ("LSDEnabled", job.lsd.to_string()),
        ("GlobalDLSpeedLimit", (job.down_limit / 1024).to_string()),
        ("IgnoreLimitsOnLAN", "false".to_owned()),
        ("QueueingSystemEnabled", "false".to_owned()),
        ("MultiConnectionsPerIp", "true".to_owned()),
        ("SSRFMitigation", "false".to_owned()),
        ("AnnounceToAllTrackers", "true".to_owned()),
    ];
    let mut text = "[LegalNotice]\nAccepted=true\n\n[BitTorrent]\n".to_owned();
    for (name, value) in session {
        text.push_str(&format!("Session\\{name}={value}\n"));
    }
    text.push_str(&format!(
        "\n[Network]\nPortForwardingEnabled=false\n\n[Preferences]\nWebUI\\Address=127.0.0.1\nWebUI\\Port={}\n\
         WebUI\\LocalHostAuth=false\nWebUI\\UseUPnP=false\nWebUI\\CSRFProtection=false\n\
         WebUI\\HostHeaderValidation=false\n",
        web.port()
    ));
    text
}

/// A value of a form.
fn escape(value: &str) -> String {
    let byte = |b: u8| match b {
        b if b.is_ascii_alphanumeric() => char::from(b).to_string(),
        b => format!("%{b:02X}"),
    };
    value.bytes().map(byte).collect()
}

struct Peer {
    process: Process,
    web: SocketAddr,
    hash: String,
    dial: Vec<SocketAddr>,
    dialled: bool,
}

impl Peer {
    fn get(&self, path: &str) -> Result<Vec<u8>> {
        let answer = http::get(self.web, &format!("/api/v2/{path}"))?;
        if answer.status != 200 {
            bail!("qBittorrent: {path}: {}", answer.status);
        }
        Ok(answer.body)
    }

    fn post(&self, path: &str, content_type: &str, body: &[u8]) -> Result<()> {
        let headers = [("Content-Type", content_type)];
        let answer = http::post(self.web, &format!("/api/v2/{path}"), &headers, body)?;
        if answer.status != 200 || answer.body == b"Fails." {
            bail!("qBittorrent: {path}: {} {}", answer.status, String::from_utf8_lossy(&answer.body));
        }
        Ok(())
    }

    /// Names nodes of the DHT, for which it has no setting: it reads those of torrents.
    fn prime(&self, job: &Job<'_>) -> Result<()> {
        let Some(nodes) = job.dht.as_ref().filter(|nodes| !nodes.is_empty()) else { return Ok(()) };
        let dir = job.work.join("primer");
        fs::create_dir_all(&dir)?;
        self.post_torrent(&dir, &crate::payload::primer(nodes))
    }

    fn add(&self, job: &Job<'_>) -> Result<()> {
        if !job.magnet {
            return self.post_torrent(&job.data, &job.torrent(&[]));
        }
        let dir = job.data.display().to_string();
        let fields = [("urls", job.magnet_link(&[])), ("savepath", dir), ("autoTMM", "false".to_owned())];
        let body = fields.map(|(name, value)| format!("{name}={}", escape(&value))).join("&");
        self.post("torrents/add", "application/x-www-form-urlencoded", body.as_bytes())
    }

    fn post_torrent(&self, dir: &Path, torrent: &[u8]) -> Result<()> {
        const MARK: &str = "----a-line-that-no-torrent-holds";
        let fields = [
            ("savepath", dir.display().to_string()),
            ("autoTMM", "false".to_owned()),
            ("paused", "false".to_owned()),
            ("contentLayout", "Original".to_owned()),
        ];
        let mut body = Vec::new();
        for (name, value) in fields {
            let part =
                format!("--{MARK}\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n{value}\r\n");
            body.extend(part.bytes());
        }
        let head = format!(
            "--{MARK}\r\nContent-Disposition: form-data; name=\"torrents\"; filename=\"t.torrent\"\r\n\
             Content-Type: application/x-bittorrent\r\n\r\n"
        );
        body.extend(head.bytes());
        body.extend(torrent);
        body.extend(format!("\r\n--{MARK}--\r\n").bytes());
        self.post("torrents/add", &format!("multipart/form-data; boundary={MARK}"), &body)
    }

    fn info(&self) -> Result<Option<Value>> {
        let body = self.get(&format!("torrents/info?hashes={}", self.hash))?;
        let mut list: Value = serde_json::from_slice(&body)?;
        Ok(list.get_mut(0).map(Value::take))
    }

    /// Peers that are named while the torrent is still being added get lost, so this waits.
    fn dial_once(&mut self) -> Result<()> {
        if self.dialled || self.dial.is_empty() {
            return Ok(());
        }
        self.dialled = true;
        let peers: Vec<String> = self.dial.iter().map(ToString::to_string).collect();
        let body = format!("hashes={}&peers={}", self.hash, escape(&peers.join("|")));
        self.post("torrents/addPeers", "application/x-www-form-urlencoded", body.as_bytes())
    }
}

impl Running for Peer {
    fn state(&mut self) -> Result<State> {
        self.process.check_alive()?;
        let Some(info) = self.info()? else { return Ok(State::Busy) };
        match info["state"].as_str().unwrap_or_default() {
            "error" | "missingFiles" => bail!("qBittorrent: {info}"),
            raw if raw.starts_with("checking") => Ok(State::Busy),
            // It says `uploading`, not `stalledUP`, for as long as anybody takes something.
            raw if raw.ends_with("UP") || raw == "uploading" => {
                self.dial_once()?;
                Ok(if info["amount_left"] == 0 { State::Complete } else { State::Busy })
            }
            "downloading" | "stalledDL" | "forcedDL" | "metaDL" | "forcedMetaDL" => {
                self.dial_once()?;
                Ok(State::Downloading)
            }
            _ => Ok(State::Busy),
        }
    }

    fn log_tail(&self) -> String {
        self.process.log_tail()
    }
}
