//! What others do to the files of a torrent that runs, and what its record says of it.

use std::path::PathBuf;

use swarm::session::{AddOptions, Check, Event, Placing, Selection};
use tempfile::TempDir;

use crate::resume::{content, record, resume};
use crate::world::{Content, add, end, event, keeping, seeder, soon};

fn file(content: &Content, dir: &std::path::Path, at: usize) -> PathBuf {
    dir.join(content.meta.layout().files()[at].path.as_str())
}

/// What somebody else does to a file.
type Harm = fn(PathBuf);

#[tokio::test]
async fn what_others_did_to_a_seed_is_found_at_the_next_start() {
    let spoil = |path: PathBuf| {
        let mut bytes = std::fs::read(&path).unwrap();
        bytes[40_000] ^= 1;
        std::fs::write(path, bytes).unwrap();
    };
    let cut =
        |path: PathBuf| std::fs::File::options().write(true).open(path).unwrap().set_len(65_536).unwrap();
    let remove = |path: PathBuf| std::fs::remove_file(path).unwrap();
    let table: [(u64, Harm, u32); 3] = [(300, spoil, 11), (301, cut, 10), (302, remove, 8)];
    for (seed, harm, left) in table {
        let content = content(seed);
        let (dir, state) = (content.placed(), TempDir::new().unwrap());
        let download = || AddOptions::download(content.meta.clone(), dir.path());
        let session = keeping(state.path()).await;
        let torrent = add(&session, download()).await;
        assert!(torrent.status().await.unwrap().activity.is_seeding());
        harm(file(&content, dir.path(), 1));
        end([session]).await;
        let kept = record(state.path(), &content, dir.path());
        assert_eq!((kept.summary.flags.complete, kept.state.pieces.count()), (false, 8), "line {seed}");
        assert_eq!(kept.state.doubtful.count(), 4);

        let session = keeping(state.path()).await;
        let (torrent, _) = resume(&session, download()).await;
        let status = torrent.status().await.unwrap();
        assert_eq!((status.activity.is_seeding(), status.pieces_done), (false, left), "line {seed}");
        end([session]).await;
    }
}

#[tokio::test]
async fn pieces_in_a_folder_that_was_gone_for_a_while_are_not_fetched_again() {
    let content = content(303);
    let (from, home, state) = (content.placed(), TempDir::new().unwrap(), TempDir::new().unwrap());
    let (mount, away) = (home.path().join("disk"), home.path().join("away"));
    std::fs::create_dir(&mount).unwrap();
    let (seed, _seeding) = seeder(&content, from.path()).await;
    let some = || AddOptions {
        peers: seed.listening().to_vec(),
        files: Selection::Files(vec![0]),
        ..AddOptions::download(content.meta.clone(), &mount)
    };
    let session = keeping(state.path()).await;
    let torrent = add(&session, some()).await;
    soon(torrent.wait_complete()).await.unwrap();
    let mut events = session.events();
    std::fs::rename(&mount, &away).unwrap();
    torrent.select(&Selection::All).await.unwrap();
    event(&mut events, |event| matches!(event, Event::StorageFailed { .. })).await;
    std::fs::rename(&away, &mount).unwrap();
    event(&mut events, |event| matches!(event, Event::StorageRecovered { .. })).await;
    end([session]).await;

    let session = keeping(state.path()).await;
    let (torrent, _) = resume(&session, some()).await;
    soon(torrent.wait_complete()).await.unwrap();
    assert_eq!(torrent.status().await.unwrap().totals.downloaded, 0);
    end([session, seed]).await;
    content.assert_files(&mount, &[0]);
}

#[tokio::test]
async fn what_was_never_checked_is_not_recorded_as_right() {
    let content = content(304);
    let (dir, state) = (content.placed(), TempDir::new().unwrap());
    let path = file(&content, dir.path(), 1);
    let mut bytes = std::fs::read(&path).unwrap();
    bytes[40_000] ^= 1;
    std::fs::write(&path, bytes).unwrap();
    let seed = |check| AddOptions { check, ..AddOptions::seed(content.meta.clone(), dir.path()) };
    let session = keeping(state.path()).await;
    let torrent = add(&session, seed(Check::Never)).await;
    assert_eq!(torrent.status().await.unwrap().pieces_done, 12);
    end([session]).await;
    let kept = record(state.path(), &content, dir.path()).state;
    assert_eq!((kept.pieces.count(), kept.doubtful.count()), (0, 12));
    // Checked, then taken for right by the record alone, but for the one that the record does not have.
    let table =
        [(Check::Auto, true, 0), (Check::Never, false, 1), (Check::Auto, true, 0), (Check::Auto, false, 0)];
    for (check, was_checked, doubtful) in table {
        let session = keeping(state.path()).await;
        let (_torrent, checked) = resume(&session, seed(check)).await;
        end([session]).await;
        let kept = record(state.path(), &content, dir.path()).state;
        assert_eq!((checked, kept.pieces.count(), kept.doubtful.count()), (was_checked, 11, doubtful));
    }
}

#[tokio::test]
async fn what_others_did_before_a_move_is_found_at_the_next_start() {
    let content = content(305);
    let (dir, goal, state) = (content.placed(), TempDir::new().unwrap(), TempDir::new().unwrap());
    let session = keeping(state.path()).await;
    let torrent = add(&session, AddOptions::download(content.meta.clone(), dir.path())).await;
    let path = file(&content, dir.path(), 1);
    let mut bytes = std::fs::read(&path).unwrap();
    bytes[40_000] ^= 1;
    std::fs::write(&path, bytes).unwrap();
    assert!(soon(torrent.move_to(goal.path())).await.unwrap().is_whole);
    end([session]).await;

    let session = keeping(state.path()).await;
    let (torrent, _) = resume(&session, AddOptions::download(content.meta.clone(), goal.path())).await;
    let status = torrent.status().await.unwrap();
    assert_eq!((status.activity.is_seeding(), status.pieces_done), (false, 11));
    end([session]).await;
}

#[tokio::test]
async fn what_was_taken_from_other_files_is_hashed_once() {
    let content = content(306);
    let (theirs, dir, state) = (content.placed(), TempDir::new().unwrap(), TempDir::new().unwrap());
    let placing = Placing { reuse: vec![theirs.path().to_owned()], ..Placing::default() };
    let download = || AddOptions::download(content.meta.clone(), dir.path());
    for (options, is_checked) in [(AddOptions { placing, ..download() }, true), (download(), false)] {
        let session = keeping(state.path()).await;
        let (torrent, was_checked) = resume(&session, options).await;
        soon(torrent.wait_complete()).await.unwrap();
        assert_eq!((was_checked, torrent.status().await.unwrap().totals.downloaded), (is_checked, 0));
        end([session]).await;
    }
}
