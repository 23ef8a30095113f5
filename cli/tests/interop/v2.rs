//! Torrents of libtorrent's own that are known to us by their v2 hash alone (BEP 52).

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::json;
use tempfile::TempDir;

use crate::V4;
use crate::clients::{Libtorrent, PROGRAM, libtorrent_script, python};
use crate::payload::SINGLE;
use crate::process::{JsonProcess, Process, command, free_addr};

/// A libtorrent that seeds what it made, and what we need to get it.
struct Seed {
    dir: TempDir,
    torrent: PathBuf,
    v2: String,
    at: String,
    _process: JsonProcess,
}

impl Seed {
    /// `None` where libtorrent is not installed.
    fn start(kind: &str) -> Result<Option<Self>> {
        if !crate::installed(&Libtorrent) {
            return Ok(None);
        }
        let dir = TempDir::new()?;
        let (data, torrent) = (dir.path().join("data"), dir.path().join("made.torrent"));
        SINGLE.write(&data)?;
        let source = std::fs::read_dir(&data)?.next().context("a file")??.path();
        let listen = free_addr(V4).to_string();
        let options = json!({
            "create": kind, "source": source, "data": data, "torrent": torrent, "listen": listen, "peers": [],
        });
        let mut program = command(&python().context("the caller has looked")?);
        program.arg(libtorrent_script()).arg(options.to_string());
        let mut process = Process::start_json("libtorrent", program, dir.path())?;
        let v2 = loop {
            let line = process.next(Duration::from_secs(60))?.context("libtorrent says nothing")?;
            if line["event"] == "created" {
                break line["v2"].as_str().context("a hash")?.to_owned();
            }
        };
        while process.next(Duration::from_secs(60))?.context("libtorrent says nothing")?["state"]
            != "complete"
        {}
        Ok(Some(Self { dir, torrent, v2, at: listen, _process: process }))
    }

    /// Runs our program on what is known by the v2 hash: its status, and what it says.
    fn ask(&self, words: &[&str]) -> Result<(Option<i32>, String)> {
        let mut program = command(Path::new(PROGRAM));
        program.env("XDG_CONFIG_HOME", self.dir.path()).env("XDG_DATA_HOME", self.dir.path());
        program.env("HOME", self.dir.path()).current_dir(self.dir.path());
        program.args(words).args([
            "--peer",
            &self.at,
            "--listen",
            "127.0.0.1",
            "--port",
            "0",
            "--timeout",
            "90s",
        ]);
        let output = program.args(["--no-dht", "--no-lsd"]).output()?;
        Ok((output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned()))
    }

    /// Gets the metadata, and compares them.
    fn fetch(&self) -> Result<()> {
        let (code, said) = self.ask(&["magnet", "--fetch", &self.v2, "-o", "got.torrent"])?;
        ensure!(code == Some(0), "{said}");
        let [got, made] = [&self.dir.path().join("got.torrent"), &self.torrent].map(std::fs::read);
        let [got, made] = [metainfo::Torrent::parse(&got?)?, metainfo::Torrent::parse(&made?)?];
        ensure!(got.info_bytes() == made.info_bytes(), "the metadata differ");
        Ok(())
    }
}

#[test]
fn a_hybrid_comes_from_libtorrent_by_its_v2_hash_alone() -> Result<()> {
    let Some(seed) = Seed::start("hybrid")? else { return Ok(()) };
    seed.fetch()?;
    let (code, said) = seed.ask(&["download", &seed.v2, "-o", "leech"])?;
    ensure!(code == Some(0), "{said}");
    SINGLE.verify(&seed.dir.path().join("leech"), true)
}

#[test]
fn of_a_v2_only_torrent_of_libtorrent_the_metadata_come_and_the_rest_is_refused_by_name() -> Result<()> {
    let Some(seed) = Seed::start("v2")? else { return Ok(()) };
    seed.fetch()?;
    let link = format!("magnet:?xt=urn:btmh:1220{}", seed.v2);
    let (code, said) = seed.ask(&["download", &link, "-o", "leech"])?;
    ensure!(
        code == Some(1) && said.contains("v2-only") && said.contains("single file.bin"),
        "{code:?} {said}"
    );
    ensure!(!seed.dir.path().join("leech").exists(), "nothing is made");
    Ok(())
}
