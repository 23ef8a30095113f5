//! Files that lie in a folder of unfinished ones until they are complete, then move, and are given to a third folder: a real
//! client gives them to us, and another one takes them from where they are afterwards.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Result, ensure};
use tempfile::TempDir;

use crate::client::{Client, Job, Running, State, finish, wait_state};
use crate::clients::{Libtorrent, Unchoke};
use crate::payload::{MULTI, Payload, SINGLE};
use crate::process::wait_for;
use crate::{V4, installed};

/// How long a move of a few megabytes to another disk may take.
const SETTLED: Duration = Duration::from_secs(60);

#[test]
fn a_file_goes_its_way_on_one_disk_and_is_served_from_its_end() -> Result<()> {
    goes_its_way(&SINGLE, &TempDir::new()?)
}

#[test]
fn many_files_go_their_way_to_another_disk_and_are_served_from_its_end() -> Result<()> {
    let memory = Path::new("/dev/shm");
    goes_its_way(&MULTI, &if memory.is_dir() { TempDir::new_in(memory)? } else { TempDir::new()? })
}

/// Us, with folders for each stage.
struct Placed {
    unfinished: PathBuf,
    linked: PathBuf,
}

impl Client for Placed {
    fn name(&self) -> &'static str {
        Unchoke.name()
    }

    fn version(&self) -> Option<String> {
        Unchoke.version()
    }

    fn writes_late(&self) -> Duration {
        SETTLED
    }

    fn start(&self, job: &Job<'_>) -> Result<Box<dyn Running>> {
        let words: [&OsStr; 6] = [
            "--incomplete-dir".as_ref(),
            self.unfinished.as_ref(),
            "--incomplete-suffix".as_ref(),
            ".part".as_ref(),
            "--link-to".as_ref(),
            self.linked.as_ref(),
        ];
        Unchoke::start_with(job, &words)
    }
}

fn goes_its_way(payload: &Payload, other: &TempDir) -> Result<()> {
    if !installed(&Libtorrent) {
        return Ok(());
    }
    let dir = TempDir::new()?;
    let us = Placed { unfinished: other.path().join("unfinished"), linked: dir.path().join("linked") };
    let seed = Job::seed(payload, dir.path(), V4)?;
    let mut ours = Job::leech(payload, &dir.path().join("ours"), V4)?;
    ours.peers.push(seed.listen);
    let mut seeding = Libtorrent.start(&seed)?;
    wait_state(&mut *seeding, Libtorrent.name(), &[State::Complete])?;
    let mut running = us.start(&ours)?;
    finish(&mut *running, &us, &mut *seeding, &Libtorrent, &ours)?;
    wait_for("the links", SETTLED, || Ok(payload.verify(&us.linked, true).ok()))?;
    ensure!(is_without_files(&us.unfinished)?, "files stayed in {}", us.unfinished.display());
    drop(seeding);

    let mut taker = Job::leech(payload, &dir.path().join("taker"), V4)?;
    taker.peers.push(ours.listen);
    let mut taking = Libtorrent.start(&taker)?;
    finish(&mut *taking, &Libtorrent, &mut *running, &us, &taker)?;
    payload.verify(&ours.data, true)
}

/// Whether nothing is beneath a folder but folders.
fn is_without_files(folder: &Path) -> Result<bool> {
    if !folder.exists() {
        return Ok(true);
    }
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        if !path.is_dir() || !is_without_files(&path)? {
            return Ok(false);
        }
    }
    Ok(true)
}
