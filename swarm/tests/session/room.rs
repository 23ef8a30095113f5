//! Room on the disk, looked at before anything is written.

use std::path::Path;

use storage::FileStorage;
use swarm::session::{AddError, AddOptions, Placing};
use tempfile::TempDir;

use crate::resume::content;
use crate::world::{end, session};

/// Frees that are nearer to each other than this tell nothing: others write too.
const APART: u64 = 1 << 28;

#[tokio::test]
async fn the_disk_that_files_go_to_in_the_end_is_looked_at_before_they_are_begun() {
    let memory = Path::new("/dev/shm");
    let dirs = [TempDir::new().ok(), memory.is_dir().then(|| TempDir::new_in(memory).ok()).flatten()];
    let mut rooms: Vec<_> =
        dirs.iter().flatten().map(|dir| (FileStorage::room_at(dir.path()).unwrap(), dir)).collect();
    rooms.sort_by_key(|(room, _)| room.free);
    let [(small, home), (large, away)] = &rooms[..] else {
        return eprintln!("skipped: there are no two file systems here");
    };
    if small.device == large.device || large.free - small.free < APART {
        return eprintln!("skipped: the file systems here have the same room");
    }
    let content = content(600);
    let session = session().await;
    let (home, away) = (home.path().join("not/yet"), away.path().join("unfinished"));
    let options = |home: &Path, away: &Path| AddOptions {
        placing: Placing { incomplete: Some(away.to_owned()), ..Placing::default() },
        min_free: Some(small.free + (large.free - small.free) / 2),
        ..AddOptions::download(content.meta.clone(), home)
    };
    let error = session.add(options(&home, &away)).await.unwrap_err();
    assert!(matches!(&error, AddError::NoSpace { dir, needed: 393_216, .. } if *dir == home), "{error}");
    assert!(!home.exists());
    // The same disk needs no more room for a new name.
    session.add(options(&away.join("home"), &away)).await.unwrap();
    end([session]).await;
}
