//! Programs that were killed before their record knew what they had made or moved.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use storage::record::{FileStore, Record, Store};
use swarm::session::{AddOptions, AtRest, Placing};
use tempfile::TempDir;

use crate::resume::{content, record, resume};
use crate::world::{Content, add, end, keeping, listed};

/// A record as it is when a download has just begun, so many milliseconds ago.
async fn begun(state: &Path, content: &Content, options: AddOptions, ago: u64) -> Record {
    let home = options.dir.clone();
    let session = keeping(state).await;
    let _torrent = add(&session, options).await;
    let mut begun = record(state, content, &home);
    end([session]).await;
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis();
    begun.summary.times.saved = u64::try_from(now).unwrap() - ago;
    FileStore::open(state).unwrap().save(std::slice::from_ref(&begun)).unwrap();
    begun
}

#[tokio::test]
async fn what_a_download_made_just_before_it_was_killed_is_removed_with_it() {
    // Whether it lies elsewhere until it is complete, when the record was written, and whether it is known as made then.
    let table = [(true, 0, true), (false, 0, true), (true, 3_600_000, false), (false, 3_600_000, false)];
    for (seed, (is_away, ago, is_ours)) in (900..).zip(table) {
        let (content, dir, state) = (content(seed), TempDir::new().unwrap(), TempDir::new().unwrap());
        let [home, away] = ["home", "away"].map(|name| dir.path().join(name));
        [&home, &away].iter().for_each(|folder| fs::create_dir(folder).unwrap());
        let placing = Placing {
            incomplete: is_away.then(|| away.clone()),
            suffix: Some(".part".into()),
            ..Placing::default()
        };
        let options = AddOptions { placing, ..AddOptions::download(content.meta.clone(), &home) };
        drop(begun(state.path(), &content, options.clone(), ago).await);
        let work = if is_away { &away } else { &home };
        let made = work.join("things/odd/1.bin.part");
        fs::create_dir_all(made.parent().unwrap()).unwrap();
        fs::write(&made, "a block").unwrap();

        let store = Arc::new(FileStore::open(state.path()).unwrap());
        let rest = AtRest::open(store, content.meta.id(), None, &home).unwrap();
        let removed = rest.remove_files().unwrap();
        assert!(removed.errors.is_empty(), "{removed:?}");
        let left: &[&str] = if is_ours { &[] } else { &["things/odd/1.bin.part"] };
        assert_eq!(listed(work), left, "line {seed}");
        assert_eq!(work.join("things").exists(), !is_ours, "line {seed}");
        assert!(work.exists());
    }
}

#[tokio::test]
async fn what_was_made_just_before_a_kill_is_removed_with_the_download_that_went_on() {
    let (content, dir, state) = (content(910), TempDir::new().unwrap(), TempDir::new().unwrap());
    let home = dir.path().join("home");
    let options = || AddOptions::download(content.meta.clone(), &home);
    drop(begun(state.path(), &content, options(), 0).await);
    let made = home.join("things/odd/1.bin");
    fs::create_dir_all(made.parent().unwrap()).unwrap();
    fs::write(&made, "a block").unwrap();
    let session = keeping(state.path()).await;
    let torrent = add(&session, options()).await;
    torrent.remove_with_files().await.unwrap();
    end([session]).await;
    assert!(listed(&home).is_empty() && !home.join("things").exists());
}

#[tokio::test]
async fn what_lies_in_the_goal_of_a_move_is_found_when_the_old_folder_is_gone() {
    for is_at_rest in [false, true] {
        let content = content(307);
        let (dir, state) = (TempDir::new().unwrap(), TempDir::new().unwrap());
        let [old, goal] = ["old", "goal"].map(|name| dir.path().canonicalize().unwrap().join(name));
        [&old, &goal].iter().for_each(|folder| content.write(folder));
        let download = || AddOptions::download(content.meta.clone(), &old);
        let session = keeping(state.path()).await;
        add(&session, download()).await;
        end([session]).await;
        // It was being moved by copying when it was killed; the rest was done by hand.
        let mut kept = record(state.path(), &content, &old);
        kept.state.goal = Some(storage::RootId::of(&goal).unwrap().into());
        kept.state.moving_to = Some(goal.clone());
        let store = Arc::new(FileStore::open(state.path()).unwrap());
        store.save(&[kept]).unwrap();
        fs::remove_dir_all(&old).unwrap();

        if is_at_rest {
            let rest = AtRest::open(store, content.meta.id(), None, &old).unwrap();
            let moved = rest.move_to(&goal, &false.into(), &|_| ()).unwrap();
            assert!(moved.is_whole);
        } else {
            let session = keeping(state.path()).await;
            let (torrent, _) = resume(&session, download()).await;
            let status = torrent.status().await.unwrap();
            assert_eq!((status.pieces_done, status.totals.downloaded), (12, 0));
            end([session]).await;
        }
        content.assert_all(&goal);
        assert!(listed(&old).is_empty(), "{:?}", listed(&old));
    }
}
