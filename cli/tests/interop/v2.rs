//! Torrents with v2 hashes, made by libtorrent or by us (BEP 52).

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::json;
use tempfile::TempDir;

use crate::client::{Client, Job, Made, State, finish, transfer_made, wait_state};
use crate::clients::{Libtorrent, PROGRAM, Qbittorrent, Unchoke, libtorrent_script, python};
use crate::payload::{MULTI, Payload, SINGLE};
use crate::process::{JsonProcess, Process, command, free_addr};
use crate::{V4, installed};

/// The v2-only torrent of a payload beneath `data`, made by libtorrent, or by us.
fn make(payload: &Payload, data: &Path, by_us: bool) -> Result<Made> {
    let dir = TempDir::new()?;
    let (source, file) = (payload.path(data), dir.path().join("made.torrent"));
    let mut program = if by_us {
        let mut program = command(Path::new(PROGRAM));
        program.env("XDG_CONFIG_HOME", dir.path()).env("HOME", dir.path());
        program.args(["create", "--v2", "--piece-size", "64K", "-o"]).arg(&file).arg(&source);
        program
    } else {
        let options = json!({ "create": "v2", "only": true, "source": source, "torrent": file });
        let mut program = command(&python().context("the caller has looked")?);
        program.arg(libtorrent_script()).arg(options.to_string());
        program
    };
    let output = program.output()?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let torrent = std::fs::read(file)?;
    let meta = metainfo::Torrent::parse(&torrent)?;
    ensure!(meta.info_hashes().v1().is_none() && meta.has_piece_layers());
    Ok(Made { torrent, id: meta.id().to_string() })
}

/// One transfer of a v2-only torrent, or a skip.
fn check(seeder: &dyn Client, leecher: &dyn Client, payload: &Payload, by_us: bool) -> Result<()> {
    if !(installed(seeder) && installed(leecher) && installed(&Libtorrent)) {
        return Ok(());
    }
    transfer_made(seeder, leecher, payload, V4, |data| make(payload, data, by_us).map(Some))
}

#[test]
fn libtorrent_seeds_a_single_file_to_us() -> Result<()> {
    check(&Libtorrent, &Unchoke, &SINGLE, false)
}

#[test]
fn libtorrent_seeds_many_files_to_us() -> Result<()> {
    check(&Libtorrent, &Unchoke, &MULTI, false)
}

#[test]
fn libtorrent_takes_a_single_file_from_us() -> Result<()> {
    check(&Unchoke, &Libtorrent, &SINGLE, true)
}

#[test]
fn libtorrent_takes_many_files_from_us() -> Result<()> {
    check(&Unchoke, &Libtorrent, &MULTI, true)
}

#[test]
fn qbittorrent_seeds_to_us() -> Result<()> {
    check(&Qbittorrent, &Unchoke, &MULTI, true)
}

#[test]
fn qbittorrent_takes_from_us() -> Result<()> {
    check(&Unchoke, &Qbittorrent, &MULTI, false)
}

#[test]
fn we_go_on_from_libtorrent_after_a_kill() -> Result<()> {
    if !installed(&Libtorrent) {
        return Ok(());
    }
    let dir = TempDir::new()?;
    let mut seed = Job::seed(&SINGLE, dir.path(), V4)?;
    let mut leech = Job::leech(&SINGLE, &dir.path().join("leech"), V4)?;
    seed.made = Some(make(&SINGLE, &seed.data, false)?);
    leech.made = seed.made.clone();
    leech.peers.push(seed.listen);
    let mut seeding = Libtorrent.start(&seed)?;
    wait_state(&mut *seeding, "libtorrent", &[State::Complete])?;
    leech.down_limit = 1_000_000;
    Unchoke::killed_at(&leech, 1_000_000)?;
    leech.down_limit = 0;
    let mut again = Unchoke::download(&leech)?;
    finish(&mut *again, &Unchoke, &mut *seeding, &Libtorrent, &leech)
}

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
        ensure!(got.has_piece_layers() && got.piece_layer(0) == made.piece_layer(0), "the layers differ");
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
fn a_v2_only_torrent_comes_from_libtorrent_by_its_hash_alone() -> Result<()> {
    let Some(seed) = Seed::start("v2")? else { return Ok(()) };
    seed.fetch()?;
    let link = format!("magnet:?xt=urn:btmh:1220{}", seed.v2);
    let (code, said) = seed.ask(&["download", &link, "-o", "leech"])?;
    ensure!(code == Some(0), "{said}");
    SINGLE.verify(&seed.dir.path().join("leech"), true)
}

/// One transfer of a v2-only torrent of which the link alone is known, or a skip.
fn by_link(seeder: &dyn Client, leecher: &dyn Client, payload: &Payload) -> Result<()> {
    if !(installed(seeder) && installed(leecher) && installed(&Libtorrent)) {
        return Ok(());
    }
    let dir = TempDir::new()?;
    let mut seed = Job::seed(payload, dir.path(), V4)?;
    let mut leech = Job::leech(payload, &dir.path().join("leech"), V4)?;
    seed.made = Some(make(payload, &seed.data, true)?);
    leech.made = seed.made.clone();
    leech.magnet = true;
    leech.peers.push(seed.listen);
    let mut seeding = seeder.start(&seed)?;
    wait_state(&mut *seeding, seeder.name(), &[State::Complete])?;
    let mut leeching = leecher.start(&leech)?;
    finish(&mut *leeching, leecher, &mut *seeding, seeder, &leech)
}

#[test]
fn libtorrent_takes_piece_layers_from_us() -> Result<()> {
    by_link(&Unchoke, &Libtorrent, &SINGLE)?;
    by_link(&Unchoke, &Libtorrent, &MULTI)
}

#[test]
fn we_take_piece_layers_from_libtorrent() -> Result<()> {
    by_link(&Libtorrent, &Unchoke, &MULTI)
}
