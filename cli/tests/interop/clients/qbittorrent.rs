//! qbittorrent-nox, driven over its Web API without a log-in.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
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
        let mut peer =
            Peer { process, web, hash: job.payload.info_hash(), dial: job.peers.clone(), dialled: false };
        wait_for("qBittorrent's Web API", Duration::from_secs(60), || {
            peer.process.check_alive()?;
            Ok(peer.get("app/version").ok())
        })?;
        peer.add(job)?;
        wait_for("qBittorrent's torrent", Duration::from_secs(30), || peer.info())?;
        Ok(Box::new(peer))
    }
}

fn settings(job: &Job<'_>, web: SocketAddr) -> String {
    let session = [
        ("Port", job.listen.port().to_string()),
        ("InterfaceAddress", job.listen.ip().to_string()),
        ("BTProtocol", "TCP".to_owned()),
        ("DefaultSavePath", job.data.display().to_string()),
        ("DHTEnabled", "false".to_owned()),
        ("PeXEnabled", "false".to_owned()),
        ("LSDEnabled", "false".to_owned()),
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

    fn add(&self, job: &Job<'_>) -> Result<()> {
        const MARK: &str = "----a-line-that-no-torrent-holds";
        let fields = [
            ("savepath", job.data.display().to_string()),
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
        body.extend(job.torrent(&[]));
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
        let peers = peers.join("|").replace(':', "%3A").replace('[', "%5B").replace(']', "%5D");
        let body = format!("hashes={}&peers={}", self.hash, peers.replace('|', "%7C"));
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
            raw if raw.ends_with("UP") => {
                self.dial_once()?;
                Ok(if info["amount_left"] == 0 { State::Complete } else { State::Busy })
            }
            "downloading" | "stalledDL" | "forcedDL" => {
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
