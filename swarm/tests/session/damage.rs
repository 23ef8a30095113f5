//! Whole sessions after their database was damaged.

use std::path::Path;

use storage::record::{Key, Record, Store, StoreError};
use swarm::session::{AddError, AddOptions, Event, RedbStore};
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
    // Whether the torrent is still listed, can be run from the list, and has to be checked; and whether that is told.
    let table = [
        ("summary", summary, [false, false, true, true]),
        ("state", state, [true, true, true, true]),
        ("source", source, [true, false, false, true]),
        ("header", header, [false, false, true, true]),
        ("half", half, [false, false, true, true]),
        ("empty", empty, [false, false, true, false]),
    ];
    for (seed, (name, harm, [is_listed, runs, is_checked, is_told])) in (140..).zip(table) {
        let content = content(seed);
        let (dir, home) = (content.placed(), TempDir::new().unwrap());
        let path = home.path().join("session.redb");
        let session = recording(home.path()).await;
        add(&session, AddOptions::download(content.meta.clone(), dir.path())).await;
        end([session]).await;
        let key = Key { id: content.meta.id(), dir: dir.path().canonicalize().unwrap() };
        let known = soon(async {
            loop {
                match RedbStore::open(&path) {
                    Err(StoreError::Locked { .. }) => tokio::task::yield_now().await,
                    store => return store.unwrap().load(&key).unwrap().unwrap(),
                }
            }
        })
        .await;
        harm(&path, &known);

        let session = recording(home.path()).await;
        let listing = session.recorded().await.unwrap();
        assert_eq!(listing.summaries.len(), usize::from(is_listed), "{name}");
        let mut events = session.events();
        let restored = soon(session.restore(&known.summary)).await;
        assert_eq!(restored.is_ok(), runs, "{name}: {restored:?}");
        let torrent = match restored {
            Ok(torrent) => torrent,
            Err(error) => {
                assert_eq!(error, AddError::NotRecorded(key.id), "{name}");
                add(&session, AddOptions::download(content.meta.clone(), dir.path())).await
            }
        };
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
        assert_eq!((was_checked, was_told), (is_checked, is_told), "{name}");
        end([session]).await;

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
