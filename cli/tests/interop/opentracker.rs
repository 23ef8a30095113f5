//! opentracker, a real tracker that speaks HTTP and UDP on one port.

use std::fs::{self, Permissions};
use std::net::{IpAddr, SocketAddr};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Result;
use tempfile::TempDir;

use crate::http;
use crate::payload::Payload;
use crate::process::{Process, command_as_nobody, find, free_addr, wait_for};

const PROGRAM: &str = "opentracker";

/// A running tracker that knows one torrent.
pub(crate) struct Opentracker {
    addr: SocketAddr,
    info_hash: String,
    _process: Process,
    _dir: TempDir,
}

impl Opentracker {
    /// Where the program is.
    pub(crate) fn find() -> Option<PathBuf> {
        find(PROGRAM)
    }

    /// Starts one. It answers only for hashes that it was told.
    pub(crate) fn start(host: IpAddr, payload: &Payload) -> Result<Opentracker> {
        let program = Opentracker::find().expect("the caller has looked");
        let dir = TempDir::new()?;
        // It does not run as root, so another user has to get in.
        fs::set_permissions(dir.path(), Permissions::from_mode(0o755))?;
        fs::write(dir.path().join("allowed"), format!("{}\n", payload.info_hash()))?;
        let addr = free_addr(host);
        let conf = format!(
            "listen.tcp {addr}\nlisten.udp {addr}\naccess.whitelist allowed\ntracker.rootdir {}\n",
            dir.path().display()
        );
        let conf_file = dir.path().join("opentracker.conf");
        fs::write(&conf_file, conf)?;
        let mut command = command_as_nobody(&program);
        command.arg("-f").arg(&conf_file);
        let mut process = Process::start(PROGRAM, command, dir.path())?;
        wait_for("opentracker", Duration::from_secs(60), || {
            process.check_alive()?;
            Ok(http::get(addr, "/announce").ok())
        })?;
        Ok(Opentracker { addr, info_hash: payload.info_hash(), _process: process, _dir: dir })
    }

    /// The announce URL for a scheme, `http` or `udp`.
    pub(crate) fn url(&self, scheme: &str) -> String {
        format!("{scheme}://{}/announce", self.addr)
    }

    /// Waits until that many seeds have announced themselves.
    pub(crate) fn wait_seeds(&self, seeds: u32) -> Result<()> {
        let hash: String =
            self.info_hash.as_bytes().chunks(2).map(|x| format!("%{}", String::from_utf8_lossy(x))).collect();
        let target = format!("/scrape?info_hash={hash}");
        let wanted = format!("8:completei{seeds}e");
        wait_for("the seed's announce", Duration::from_secs(120), || {
            let body = http::get(self.addr, &target)?.body;
            Ok(String::from_utf8_lossy(&body).contains(&wanted).then_some(()))
        })
    }
}
