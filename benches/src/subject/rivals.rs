//! How other clients are started. Plain TCP, no encryption first, no discovery, no limits.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::Result;
use serde_json::json;

use super::{Job, Role};

const LIBTORRENT_PEER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../cli/tests/interop/libtorrent_peer.py");

/// A program in PATH.
pub(super) fn find(program: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path).map(|dir| dir.join(program)).find(|file| file.is_file())
}

/// A Python that can import libtorrent: named by UNCHOKE_INTEROP_PYTHON, made by `.ci/install`, or any.
pub(super) fn python_with_libtorrent() -> Option<PathBuf> {
    let named = env::var_os("UNCHOKE_INTEROP_PYTHON").map(PathBuf::from);
    let cache = env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
    let cache = cache.or_else(|| env::var_os("HOME").map(|home| Path::new(&home).join(".cache")));
    let venv = cache.map(|dir| dir.join("unchoke-interop/venv/bin/python"));
    let candidates = [named, venv, find("python3")];
    candidates.into_iter().flatten().find(|python| {
        let mut import = Command::new(python);
        import.args(["-c", "import libtorrent"]).stdout(Stdio::null()).stderr(Stdio::null());
        import.status().is_ok_and(|status| status.success())
    })
}

pub(super) fn libtorrent(python: &Path, job: &Job<'_>) -> Command {
    let torrent = if job.link().is_none() { Some(job.torrent) } else { None };
    let options = json!({
        "torrent": torrent, "magnet": job.link(), "data": job.data, "listen": job.listen.to_string(), "peers": [],
        "plain": true,
    });
    let mut command = Command::new(python);
    command.arg(LIBTORRENT_PEER).arg(options.to_string());
    command
}

pub(super) fn aria2(program: &Path, job: &Job<'_>) -> Result<Command> {
    let mut command = Command::new(program);
    command.args([
        "--no-conf=true",
        "--quiet=true",
        "--enable-dht=false",
        "--enable-dht6=false",
        "--enable-peer-exchange=false",
        "--bt-enable-lpd=false",
        "--file-allocation=none",
        "--allow-overwrite=true",
        "--seed-ratio=0.0",
        "--seed-time=100000",
        "--disable-ipv6=true",
    ]);
    match job.role {
        // Without seeding it would end by itself, but some seconds after it is complete.
        Role::Leech => command.arg(format!("--on-bt-download-complete={}", done_script(job)?.display())),
        Role::Seed => command.arg("--bt-seed-unverified=true"),
    };
    command.arg(format!("--dir={}", job.data.display()));
    command.arg(format!("--interface={}", job.listen.ip()));
    command.arg(format!("--listen-port={}", job.listen.port()));
    command.arg(job.torrent);
    Ok(command)
}

pub(super) fn transmission(program: &Path, job: &Job<'_>) -> Result<Command> {
    let conf = job.work.join("transmission");
    fs::create_dir_all(conf.join("torrents"))?;
    // A torrent in this folder is taken up at the start.
    fs::copy(job.torrent, conf.join("torrents/loopback.torrent"))?;
    let settings = json!({
        "rpc-enabled": false, "bind-address-ipv4": job.listen.ip(), "bind-address-ipv6": "::1",
        "peer-port": job.listen.port(), "peer-port-random-on-start": false, "port-forwarding-enabled": false,
        "utp-enabled": false, "dht-enabled": false, "pex-enabled": false, "lpd-enabled": false, "encryption": 0,
        "download-dir": job.data, "incomplete-dir-enabled": false, "rename-partial-files": false,
        "start-added-torrents": true, "preallocation": 0, "ratio-limit-enabled": false,
        "script-torrent-done-enabled": true, "script-torrent-done-filename": done_script(job)?,
    });
    fs::write(conf.join("settings.json"), settings.to_string())?;
    let mut command = Command::new(program);
    command.arg("-f").arg("-g").arg(conf);
    Ok(command)
}

pub(super) fn qbittorrent(program: &Path, job: &Job<'_>) -> Result<Command> {
    let profile = job.work.join("qbittorrent");
    let conf = profile.join("qBittorrent/config");
    fs::create_dir_all(&conf)?;
    let settings = format!(
        "[LegalNotice]\nAccepted=true\n\n[AutoRun]\nenabled=true\nprogram={done}\n\n\
         [BitTorrent]\nSession\\Port={port}\nSession\\InterfaceAddress={ip}\nSession\\BTProtocol=TCP\n\
         Session\\DHTEnabled=false\nSession\\PeXEnabled=false\nSession\\LSDEnabled=false\n\
         Session\\MaxConnectionsPerTorrent=-1\nSession\\MaxUploads=-1\nSession\\MaxUploadsPerTorrent=-1\n\
         Session\\QueueingSystemEnabled=false\nSession\\MultiConnectionsPerIp=true\n\n\
         [Network]\nPortForwardingEnabled=false\n\n[Preferences]\nWebUI\\Enabled=true\n\
         WebUI\\Address=127.0.0.1\nWebUI\\Port={web}\n",
        done = done_script(job)?.display(),
        port = job.listen.port(),
        ip = job.listen.ip(),
        web = crate::round::free_port()?,
    );
    fs::write(conf.join("qBittorrent.conf"), settings)?;
    let mut command = Command::new(program);
    command.arg(format!("--profile={}", profile.display()));
    command.arg(format!("--save-path={}", job.data.display()));
    command.arg("--add-paused=false").arg(job.torrent).env("QT_QPA_PLATFORM", "offscreen");
    Ok(command)
}

pub(super) fn rtorrent(program: &Path, job: &Job<'_>) -> Result<Command> {
    let torrent = if job.link().is_some() { job.torrent.to_owned() } else { tracked(job)? };
    let session = job.work.join("rtorrent");
    fs::create_dir_all(&session)?;
    let settings = format!(
        "system.daemon.set = true\nsession.path.set = {session}\ndirectory.default.set = {data}\n\
         network.bind_address.set = {ip}\nnetwork.port_range.set = {port}-{port}\n\
         network.port_random.set = no\ndht.mode.set = disable\nprotocol.pex.set = no\n\
         protocol.encryption.set = allow_incoming\npieces.hash.on_completion.set = no\n\
         method.set_key = event.download.finished,done,\"execute2={done}\"\n\
         schedule2 = load,0,0,\"load.start={torrent}\"\n",
        session = session.display(),
        data = job.data.display(),
        ip = job.listen.ip(),
        port = job.listen.port(),
        done = done_script(job)?.display(),
        torrent = torrent.display(),
    );
    let conf = job.work.join("rtorrent.rc");
    fs::write(&conf, settings)?;
    let mut command = Command::new(program);
    command.arg("-n").arg("-o").arg(format!("import={}", conf.display())).env("TERM", "xterm");
    Ok(command)
}

/// A torrent file for rtorrent, which takes none that names no tracker. Nobody listens at this one.
fn tracked(job: &Job<'_>) -> Result<PathBuf> {
    let torrent = job.work.join("tracked.torrent");
    let given = fs::read(job.torrent)?;
    let mut edit = metainfo::Edit::new(&given)?;
    edit.set_trackers(&[vec!["http://127.0.0.1:1/announce".to_owned()]]);
    fs::write(&torrent, edit.finish()?)?;
    Ok(torrent)
}

/// A program that makes the file that says that the subject is complete.
fn done_script(job: &Job<'_>) -> Result<PathBuf> {
    use std::os::unix::fs::PermissionsExt;
    let script = job.work.join("done.sh");
    fs::write(&script, format!("#!/bin/sh\n: > '{}'\n", job.done_file().display()))?;
    fs::set_permissions(&script, fs::Permissions::from_mode(0o755))?;
    Ok(script)
}
