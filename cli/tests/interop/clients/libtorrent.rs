//! libtorrent, by a small Python script around its wheel.

use std::env;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Result, bail};
use serde_json::json;

use crate::client::{Client, Job, Running, State};
use crate::process::{JsonProcess, Process, command, find};

const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/interop/libtorrent_peer.py");

pub(crate) struct Libtorrent;

impl Client for Libtorrent {
    fn name(&self) -> &'static str {
        "libtorrent"
    }

    fn version(&self) -> Option<String> {
        let output = command(&python()?).args([SCRIPT, "--version"]).output().ok()?;
        output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
    }

    fn writes_late(&self) -> Duration {
        Duration::from_secs(10)
    }

    fn start(&self, job: &Job<'_>) -> Result<Box<dyn Running>> {
        let peers: Vec<String> = job.peers.iter().map(ToString::to_string).collect();
        let options = json!({
            "torrent": if job.magnet { None } else { Some(job.torrent_file(&[])?) },
            "magnet": job.magnet.then(|| job.magnet_link(&[])),
            "dht": job.dht.as_ref().map(|nodes| nodes.iter().map(ToString::to_string).collect::<Vec<_>>()),
            "pex": job.pex,
            "lsd": job.lsd,
            "down_limit": job.down_limit,
            "data": job.data,
            "listen": job.listen.to_string(),
            "peers": peers,
        });
        let mut command = command(&python().expect("the caller has looked"));
        command.arg(SCRIPT).arg(options.to_string());
        let process = Process::start_json(self.name(), command, &job.work)?;
        Ok(Box::new(Peer { process, state: State::Busy }))
    }
}

struct Peer {
    process: JsonProcess,
    state: State,
}

impl Running for Peer {
    fn state(&mut self) -> Result<State> {
        while let Some(line) = self.process.next(Duration::ZERO)? {
            self.state = match line["state"].as_str() {
                None if line["event"] == "ready" => State::Busy,
                Some("busy") => State::Busy,
                Some("downloading") => State::Downloading,
                Some("complete") => State::Complete,
                _ => bail!("libtorrent: {line}"),
            };
        }
        Ok(self.state)
    }

    fn log_tail(&self) -> String {
        self.process.process.log_tail()
    }
}

/// The program that is libtorrent here.
pub(crate) fn script() -> &'static str {
    SCRIPT
}

/// The Python that has the wheel: named by UNCHOKE_INTEROP_PYTHON, or made by `.ci/install`, or any.
pub(crate) fn python() -> Option<PathBuf> {
    if let Some(named) = env::var_os("UNCHOKE_INTEROP_PYTHON") {
        return Some(PathBuf::from(named));
    }
    let cache = env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
    let cache = cache.or_else(|| env::var_os("HOME").map(|home| Path::new(&home).join(".cache")));
    let venv = cache.map(|dir| dir.join("unchoke-interop/venv/bin/python"));
    venv.filter(|python| python.is_file()).or_else(|| find("python3"))
}
