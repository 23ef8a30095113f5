//! Whole sessions after their database was damaged.

use std::path::Path;

use storage::record::{Key, Record, Store, StoreError};
use swarm::session::{AddOptions, Event, RedbStore};
use tempfile::TempDir;

use crate::resume::{content, recording};
use crate::world::{add, end, event, soon};

/// Finds where something is in a file, everywhere, and flips a byte of it.
fn spoil(path: &Path, sheet: &[u8]) {
    let mut bytes = std::fs::read(path).unwrap();
    let places: Vec<_> =
        (0..bytes.len() - sheet.len()).filter(|at| bytes[*at..].starts_with(sheet)).collect();
    assert!(!places.is_empty());
    places.into_iter().for_each(|at| bytes[at + sheet.len() / 2] ^= 1);
    std::fs::write(path, bytes).unwrap();
}

fn cut(path: &Path, len: u64) {
    std::fs::File::options().write(true).open(path).unwrap().set_len(len).unwrap();
}

/// What the database says of a torrent, when its session let it go.
async fn recorded(path: &Path, key: &Key) -> Record {
    soon(async {
        loop {
            match RedbStore::open(path) {
                Err(StoreError::Locked { .. }) => tokio::task::yield_now().await,
                store => return store.unwrap().load(key).unwrap().unwrap(),
            }
        }
    })
    .await
}

/// What happens to the database, given what it says of its torrent.
type Harm = fn(&Path, &Record);

#[tokio::test]
async fn what_a_damaged_database_does_not_say_any_more_is_found_on_the_disk() {
    let summary: Harm = |path, record| spoil(path, &record.summary.encode());
    let state: Harm = |path, record| spoil(path, &record.state.encode());
    let source: Harm = |path, record| spoil(path, &record.source.as_ref().unwrap().encode());
    let header: Harm = |path, _| {
        let mut bytes = std::fs::read(path).unwrap();
        bytes[..512].fill(0xa5);
        std::fs::write(path, bytes).unwrap();
    };
    let half: Harm = |path, _| cut(path, std::fs::metadata(path).unwrap().len() / 2);
    let empty: Harm = |path, _| cut(path, 0);
    let gone: Harm = |path, _| std::fs::remove_file(path).unwrap();
    // Whether the torrent has to be checked. In any case it is listed and can be run from the list, and that is told.
    let table = [
        ("summary", summary, true),
        ("state", state, true),
        ("source", source, false),
        ("header", header, true),
        ("half", half, true),
        ("empty", empty, true),
        ("gone", gone, true),
    ];
    for (seed, (name, harm, is_checked)) in (140..).zip(table) {
        let content = content(seed);
        let (dir, home) = (content.placed(), TempDir::new().unwrap());
        let path = home.path().join("session.redb");
        let session = recording(home.path()).await;
        let chosen = AddOptions {
            trackers: vec!["http://127.0.0.1:9/announce".into()],
            up_limit: Some(1 << 30),
            ..AddOptions::download(content.meta.clone(), dir.path())
        };
        let torrent = add(&session, chosen).await;
        torrent.rename_file(0, "a name of its own").await.unwrap();
        drop(torrent);
        end([session]).await;
        let key = Key { id: content.meta.id(), dir: dir.path().canonicalize().unwrap() };
        let known = recorded(&path, &key).await;
        harm(&path, &known);

        let session = recording(home.path()).await;
        let listing = session.recorded().await.unwrap();
        assert_eq!(listing.summaries.len(), 1, "{name}");
        let mut events = session.events();
        let torrent = soon(session.restore(&known.summary)).await.unwrap();
        assert!(torrent.status().await.unwrap().activity.is_seeding(), "{name}: nothing is fetched again");
        drop(torrent);
        let (mut was_checked, mut was_told) = (false, !listing.problems.is_empty());
        loop {
            match soon(events.next()).await.unwrap() {
                Event::Checking { .. } => was_checked = true,
                Event::RecordFailed { error, .. } => {
                    assert!(matches!(error, StoreError::Damaged { aside: Some(_), .. }), "{name}: {error}");
                    was_told = true;
                }
                Event::Added { .. } => break,
                _ => {}
            }
        }
        assert_eq!((was_checked, was_told), (is_checked, true), "{name}");
        end([session]).await;

        let again = recorded(&path, &key).await;
        assert_eq!(again.state.choices, known.state.choices, "{name}: what was chosen is kept");
        assert_eq!((again.source, again.state.pieces), (known.source, known.state.pieces), "{name}");

        let session = recording(home.path()).await;
        let known = session.recorded().await.unwrap();
        assert_eq!((known.summaries.len(), known.problems.len()), (1, 0), "{name}: all is well again");
        let mut events = session.events();
        soon(session.restore(&known.summaries[0])).await.unwrap();
        let next = event(&mut events, |_| true).await;
        assert!(matches!(next, Event::Added { .. }), "{name}: {next:?}");
        end([session]).await;
    }
}

#[tokio::test]
async fn torrents_of_a_database_that_is_gone_run_again_together_and_fetch_nothing() {
    let (contents, home) = ([content(150), content(151), content(152)], TempDir::new().unwrap());
    let dirs = contents.each_ref().map(|content| content.placed());
    let path = home.path().join("session.redb");
    let session = recording(home.path()).await;
    for (content, dir) in contents.iter().zip(&dirs) {
        add(&session, AddOptions::download(content.meta.clone(), dir.path())).await;
    }
    let removed = session.torrents().into_iter().find(|torrent| torrent.id() == contents[2].meta.id());
    removed.unwrap().remove().await.unwrap();
    end([session]).await;
    let key = Key { id: contents[0].meta.id(), dir: dirs[0].path().canonicalize().unwrap() };
    recorded(&path, &key).await;
    std::fs::remove_file(&path).unwrap();

    let session = recording(home.path()).await;
    let restored = soon(session.restore_all()).await.unwrap();
    assert!(restored.refused.is_empty(), "{:?}", restored.refused);
    let told: Vec<_> = restored.problems.iter().map(ToString::to_string).collect();
    assert!(told.len() == 1 && told[0].contains("2 torrents are listed again"), "{told:?}");
    assert_eq!(restored.torrents.len(), 2, "what was removed stays so");
    for torrent in restored.torrents {
        soon(torrent.open()).await.unwrap();
        let status = torrent.status().await.unwrap();
        assert!(status.activity.is_seeding() && status.totals.downloaded == 0, "{status:?}");
    }
    end([session]).await;
}
