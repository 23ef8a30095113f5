//! Starts on files of which somebody changed what their length and time do not tell.

use std::fs::{File, Permissions, hard_link};
use std::os::unix::fs::{FileExt as _, PermissionsExt as _};
use std::path::Path;
use std::pin::pin;
use std::task::{Context, Poll, Waker};

use tempfile::TempDir;

use super::strikes::{session, start, whole};
use crate::session::event::{Event, Events};
use crate::session::options::AddOptions;

/// What was told until now.
fn told(events: &mut Events) -> Vec<Event> {
    let mut all = Vec::new();
    let mut context = Context::from_waker(Waker::noop());
    while let Poll::Ready(Some(event)) = pin!(events.next()).poll(&mut context) {
        all.push(event);
    }
    all
}

/// Writes a byte, and sets the time back.
fn spoil(path: &Path) {
    let file = File::options().write(true).open(path).unwrap();
    let before = file.metadata().unwrap();
    file.write_at(b"!", 40_000).unwrap();
    file.set_modified(before.modified().unwrap()).unwrap();
    assert_eq!(before.len(), file.metadata().unwrap().len());
}

#[tokio::test]
async fn bytes_that_were_changed_behind_the_time_of_a_file_are_found_and_other_files_are_not_hashed() {
    let (dir, state) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let options = AddOptions::download(whole(dir.path()), dir.path());
    let session = session(state.path()).await;
    let mut events = session.events();
    let mut checked =
        || told(&mut events).iter().filter(|event| matches!(event, Event::Checking { .. })).count();
    assert!(start(&session.link, &options).unwrap().have.is_full());
    assert!(checked() > 0);
    for _ in 0..2 {
        assert!(start(&session.link, &options).unwrap().have.is_full());
        assert_eq!(checked(), 0, "nothing was changed");
    }
    // What else was changed of it can be seen.
    std::fs::set_permissions(dir.path().join("t/c"), Permissions::from_mode(0o640)).unwrap();
    hard_link(dir.path().join("t/sub/b"), state.path().join("in a library")).unwrap();
    for _ in 0..2 {
        assert!(start(&session.link, &options).unwrap().have.is_full());
        assert_eq!(checked(), 0, "nothing was written");
    }
    // A name that came and went cannot: a check is the price, once.
    hard_link(dir.path().join("t/c"), state.path().join("for a moment")).unwrap();
    std::fs::remove_file(state.path().join("for a moment")).unwrap();
    for is_checked in [true, false] {
        assert!(start(&session.link, &options).unwrap().have.is_full());
        assert_eq!(checked() > 0, is_checked);
    }
    spoil(&dir.path().join("t/sub/b"));
    let begun = start(&session.link, &options).unwrap();
    assert_eq!((0..6).filter(|piece| begun.have.get(*piece)).collect::<Vec<_>>(), [0, 1, 2, 4, 5]);
}

#[tokio::test]
async fn a_seed_does_not_need_a_record() {
    let (dir, state) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let meta = whole(dir.path());
    let session = session(&state.path().join("records")).await;
    // Nothing can be made beneath a file, whoever tries.
    std::fs::remove_dir_all(state.path().join("records")).unwrap();
    std::fs::write(state.path().join("records"), "").unwrap();
    let mut events = session.events();
    let begun = start(&session.link, &AddOptions::seed(meta.clone(), dir.path())).unwrap();
    assert!(begun.have.is_full() && begun.kept.is_none());
    assert_eq!(
        told(&mut events).iter().filter(|event| matches!(event, Event::RecordFailed { .. })).count(),
        1
    );
    assert!(start(&session.link, &AddOptions::download(meta, dir.path())).is_err(), "two may write to it");
}
