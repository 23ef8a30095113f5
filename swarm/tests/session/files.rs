//! Files of running torrents: which are wanted, where they lie, what they are called.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use storage::record::{Choices, FileStore, Key, Order, Record, Store};
use storage::{Allocation, FileOptions, FileStorage, Storage};
use swarm::session::{
    AddOptions, AsBefore, AtRest, Event, FilesError, PieceOrder, Priority, Recalled, Selection, Session,
    Torrent,
};
use tempfile::TempDir;

use crate::world::{Content, add, end, event, keeping, listed, seeder, soon};

/// Five files, none of which ends where a piece does.
fn content(seed: u64) -> Content {
    Content::folder(seed, &[100_000, 50_000, 200_000, 30_000, 100_000], |builder| builder)
}

fn path(content: &Content, index: usize) -> PathBuf {
    PathBuf::from(content.meta.layout().files()[index].path.as_str())
}

async fn complete(torrent: &Torrent) {
    soon(torrent.wait_complete()).await.unwrap();
}

#[tokio::test]
async fn skipped_files_are_kept_in_a_part_file_until_they_are_wanted() {
    let content = content(300);
    let (from, to, state) = (content.placed(), TempDir::new().unwrap(), TempDir::new().unwrap());
    let (seed, _seeding) = seeder(&content, from.path()).await;
    let options = |files: &[usize]| AddOptions {
        peers: seed.listening().to_vec(),
        files: Selection::Files(files.to_vec()),
        ..AddOptions::download(content.meta.clone(), to.path())
    };
    let session = keeping(state.path()).await;
    let torrent = add(&session, options(&[0, 2])).await;
    complete(&torrent).await;
    content.assert_files(to.path(), &[0, 2]);
    let there = listed(to.path());
    let is_part = |name: &String| name.starts_with(".unchoke-") && name.ends_with(".parts");
    assert_eq!(
        there.iter().filter(|name| !is_part(name)).collect::<Vec<_>>(),
        ["things/even/0.bin", "things/even/2.bin"]
    );
    assert_eq!(there.len(), 3, "{there:?}");

    // One more while it runs: what the part file has of it is used.
    torrent.select(&Selection::Files(vec![0, 1, 2])).await.unwrap();
    complete(&torrent).await;
    content.assert_files(to.path(), &[0, 1, 2]);
    assert!(!to.path().join(path(&content, 3)).exists());
    let got = torrent.status().await.unwrap().totals.downloaded;
    end([session]).await;

    // And the others in another run, which hashes nothing of what is there.
    let session = keeping(state.path()).await;
    let torrent = add(&session, options(&[0, 1, 2, 3, 4])).await;
    complete(&torrent).await;
    let rest = torrent.status().await.unwrap().totals.downloaded;
    assert_eq!(got + rest, 480_000, "nothing was fetched twice");
    end([session, seed]).await;
    content.assert_all(to.path());
    assert!(!listed(to.path()).iter().any(is_part), "{:?}", listed(to.path()));
}

#[tokio::test]
async fn what_was_made_of_the_part_file_just_before_a_kill_is_removed_with_the_torrent() {
    let content = content(322);
    let (from, to, state) = (content.placed(), TempDir::new().unwrap(), TempDir::new().unwrap());
    let (seed, _seeding) = seeder(&content, from.path()).await;
    let session = keeping(state.path()).await;
    let files = Selection::Files(vec![0, 2]);
    let peers = seed.listening().to_vec();
    let options = AddOptions { peers, files, ..AddOptions::download(content.meta.clone(), to.path()) };
    complete(&add(&session, options).await).await;
    end([session, seed]).await;
    // As if the next run had been killed when it had begun to write, with one more file chosen.
    let mut begun = record(state.path(), &content, to.path()).unwrap();
    begun.summary.flags.clean = false;
    let store = FileStore::open(state.path()).unwrap();
    store.save(&[begun]).unwrap();
    let options = FileOptions { skipped: vec![3, 4], ..FileOptions::default() };
    FileStorage::open(to.path(), content.meta.clone(), options).unwrap().prepare().unwrap();
    assert!(to.path().join(path(&content, 1)).exists());

    let rest = AtRest::open(Arc::new(store), content.meta.id(), None, to.path()).unwrap();
    let removed = rest.remove_files().unwrap();
    assert!(removed.errors.is_empty(), "{removed:?}");
    assert_eq!(listed(to.path()), Vec::<String>::new());
}

#[tokio::test]
async fn priorities_and_order_are_kept_for_the_next_run() {
    let content = content(301);
    let (to, state) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let options = AddOptions {
        files: Selection::Ranked(vec![Priority::High, Priority::Low]),
        order: PieceOrder::FirstLast,
        ..AddOptions::download(content.meta.clone(), to.path())
    };
    let session = keeping(state.path()).await;
    let torrent = add(&session, options).await;
    torrent.set_priorities(vec![(2, Priority::Skip), (0, Priority::Normal)]).await.unwrap();
    torrent.set_order(PieceOrder::Sequential).await.unwrap();
    for _ in 0..2 {
        torrent.add_tracker("http://127.0.0.1:1/by-hand".into()).await.unwrap();
    }
    let none = torrent.set_priorities(vec![(5, Priority::Skip)]).await.unwrap_err();
    assert_eq!(none, FilesError::NoSuchFile { index: 5, files: 5 });
    let wanted = torrent.status().await.unwrap().wanted;
    assert!((280_000..400_000).contains(&wanted), "{wanted}");
    end([session]).await;

    let store = FileStore::open(state.path()).unwrap();
    let summary = store.list().unwrap().summaries.remove(0);
    let kept = store.load(&Key { id: content.meta.id(), dir: summary.dir }).unwrap().unwrap();
    assert_eq!(kept.state.choices.priorities, [2, 1, 0, 2, 2]);
    assert_eq!(kept.state.choices.order, Order::Sequential);
    assert_eq!(kept.state.choices.trackers, ["http://127.0.0.1:1/by-hand"]);
}

#[tokio::test]
async fn what_nobody_chooses_anew_is_as_it_was() {
    let content = content(303);
    let (to, state) = (content.placed(), TempDir::new().unwrap());
    let choices = || {
        let store = FileStore::open(state.path()).unwrap();
        let dir = store.list().unwrap().summaries.remove(0).dir;
        store.load(&Key { id: content.meta.id(), dir }).unwrap().unwrap().state.choices
    };
    let (high, normal) = (Priority::High, Priority::Normal);
    let files = Selection::Ranked(vec![high, Priority::Skip, normal, normal, normal]);
    let usual = AddOptions::download(content.meta.clone(), to.path());
    let chosen = AddOptions {
        files: files.clone(),
        order: PieceOrder::Sequential,
        allocation: Allocation::None,
        up_limit: Some(5 << 20),
        trackers: vec!["http://127.0.0.1:1/a".into()],
        ..usual.clone()
    };
    let session = keeping(state.path()).await;
    let wanted = add(&session, chosen).await.status().await.unwrap().wanted;
    end([session]).await;
    let recorded = choices();
    // A seed chooses nothing.
    let session = keeping(state.path()).await;
    let seed = AddOptions { up_limit: Some(1 << 20), ..AddOptions::seed(content.meta.clone(), to.path()) };
    drop(add(&session, seed).await);
    end([session]).await;
    assert_eq!(choices(), recorded);

    let session = keeping(state.path()).await;
    let mut events = session.events();
    let as_before = AsBefore {
        files: true,
        order: true,
        allocation: true,
        down_limit: true,
        up_limit: false,
        trackers: true,
    };
    let trackers = vec!["http://127.0.0.1:1/b".into()];
    let torrent =
        add(&session, AddOptions { as_before, trackers, down_limit: Some(3 << 20), ..usual.clone() }).await;
    assert_eq!(torrent.status().await.unwrap().wanted, wanted);
    let said = loop {
        if let Event::Recalled { choices, .. } = soon(events.next()).await.unwrap() {
            break choices;
        }
    };
    let down_limit = Some(None);
    let (order, allocation, trackers) =
        (Some(PieceOrder::Sequential), Some(Allocation::None), recorded.trackers.clone());
    let recalled =
        Recalled { files: Some(files), order, allocation, down_limit, trackers, ..Recalled::default() };
    assert_eq!(said, recalled);
    end([session]).await;
    let trackers = vec!["http://127.0.0.1:1/a".into(), "http://127.0.0.1:1/b".into()];
    assert_eq!(choices(), Choices { up_limit: None, trackers, ..recorded });

    let session = keeping(state.path()).await;
    drop(add(&session, usual).await);
    end([session]).await;
    assert_eq!(choices(), Choices::default(), "what the options say counts");
}

#[tokio::test]
async fn what_is_wanted_most_comes_first() {
    let sizes = [1_000_000, 500_000, 2_000_000, 300_000, 1_000_000];
    let content = Content::folder(302, &sizes, |builder| builder);
    let (from, to) = (content.placed(), TempDir::new().unwrap());
    let (seed, _seeding) = seeder(&content, from.path()).await;
    let session = crate::world::session().await;
    let mut events = session.events();
    let low = Selection::Ranked(vec![Priority::Low, Priority::Low, Priority::Low, Priority::Low]);
    let options = AddOptions {
        peers: seed.listening().to_vec(),
        files: low,
        ..AddOptions::download(content.meta.clone(), to.path())
    };
    complete(&add(&session, options).await).await;
    let mut order = Vec::new();
    while let Some(event) = soon(events.next()).await {
        match event {
            swarm::session::Event::PieceDone { piece, .. } => order.push(piece),
            swarm::session::Event::Complete { .. } => break,
            _ => {}
        }
    }
    let last = content.meta.layout().file_pieces(4).unwrap();
    assert!(last.clone().count() * 3 < order.len(), "most of it is wanted less");
    // Pieces are hashed side by side, so a late one may be told after many that were asked for later; on the whole the
    // order holds.
    let (first, rest): (Vec<_>, Vec<_>) =
        (0..).zip(&order).partition(|(_, piece)| last.contains(&piece.get()));
    let mean = |ranks: &[(usize, _)]| ranks.iter().map(|(rank, _)| rank).sum::<usize>() / ranks.len();
    assert!(mean(&first) < mean(&rest) / 2, "{order:?}");
    end([session, seed]).await;
    content.assert_all(to.path());
}

/// The record of a content in a folder.
fn record(state: &Path, content: &Content, dir: &Path) -> Option<Record> {
    let key = Key { id: content.meta.id(), dir: dir.canonicalize().unwrap() };
    FileStore::open(state).unwrap().load(&key).unwrap()
}

/// Adds a torrent whose files are all there, and sees that nothing of it is hashed.
async fn resumed(session: &Session, content: &Content, dir: &Path) -> Torrent {
    let mut events = session.events();
    let torrent = add(session, AddOptions::download(content.meta.clone(), dir)).await;
    event(&mut events, |event| {
        assert!(!matches!(event, Event::Checking { .. }), "it is as it was left");
        matches!(event, Event::Added { .. })
    })
    .await;
    assert!(torrent.status().await.unwrap().activity.is_seeding());
    torrent
}

#[tokio::test]
async fn a_torrent_is_moved_while_peers_fetch_it() {
    let memory = Path::new("/dev/shm");
    let folders = || {
        let other_disk = memory.is_dir().then(|| TempDir::new_in(memory).unwrap());
        [Some(TempDir::new().unwrap()), other_disk].into_iter().flatten()
    };
    for (seed, goal) in (310..).zip(folders()) {
        let content = Content::folder(seed, &[1_000_000, 50_000, 2_000_000], |builder| builder);
        let (from, to, state) = (content.placed(), TempDir::new().unwrap(), TempDir::new().unwrap());
        let session = keeping(state.path()).await;
        let torrent = add(&session, AddOptions::download(content.meta.clone(), from.path())).await;
        let leech = crate::world::session().await;
        let options = AddOptions {
            peers: session.listening().to_vec(),
            ..AddOptions::download(content.meta.clone(), to.path())
        };
        let fetching = add(&leech, options).await;
        let mut events = leech.events();
        event(&mut events, |event| matches!(event, Event::PieceDone { .. } | Event::Complete { .. })).await;
        let moved = soon(torrent.move_to(goal.path().join("deep/er"))).await.unwrap();
        assert_eq!((moved.is_whole, moved.files), (true, 3));
        complete(&fetching).await;
        end([leech]).await;
        content.assert_all(to.path());
        content.assert_all(&goal.path().join("deep/er"));
        // The folder was there before; only what is in it went.
        assert_eq!(listed(from.path()), Vec::<String>::new());
        assert_eq!(record(state.path(), &content, from.path()), None);

        // A peer that comes later gets it from there.
        let (again, late) = (crate::world::session().await, TempDir::new().unwrap());
        let options = AddOptions {
            peers: session.listening().to_vec(),
            ..AddOptions::download(content.meta.clone(), late.path())
        };
        complete(&add(&again, options).await).await;
        end([again, session]).await;
        content.assert_all(late.path());
        let session = keeping(state.path()).await;
        resumed(&session, &content, &goal.path().join("deep/er")).await;
        end([session]).await;
    }
}

#[tokio::test]
async fn a_move_that_was_cut_short_goes_on_at_the_next_start() {
    let content = content(320);
    let (from, goal, state) = (content.placed(), TempDir::new().unwrap(), TempDir::new().unwrap());
    let session = keeping(state.path()).await;
    add(&session, AddOptions::download(content.meta.clone(), from.path())).await;
    end([session]).await;
    // As if it had been killed after the first two files.
    let mut kept = record(state.path(), &content, from.path()).unwrap();
    kept.state.moving_to = Some(goal.path().canonicalize().unwrap());
    FileStore::open(state.path()).unwrap().save(&[kept]).unwrap();
    for index in [0, 1] {
        let new = goal.path().join(path(&content, index));
        std::fs::create_dir_all(new.parent().unwrap()).unwrap();
        std::fs::rename(from.path().join(path(&content, index)), new).unwrap();
    }
    let session = keeping(state.path()).await;
    let mut events = session.events();
    let torrent = resumed(&session, &content, from.path()).await;
    soon(torrent.wait_settled()).await.unwrap();
    content.assert_all(goal.path());
    assert!(!torrent.is_to_settle());
    event(&mut events, |event| matches!(event, Event::Moved { .. })).await;
    assert_eq!(listed(from.path()), Vec::<String>::new());
    end([session]).await;
    assert_eq!(record(state.path(), &content, from.path()), None);
    let session = keeping(state.path()).await;
    resumed(&session, &content, goal.path()).await;
    end([session]).await;
}

#[tokio::test]
async fn what_a_killed_move_copied_and_a_killed_rename_named_is_removed_with_the_torrent() {
    let content = Content::folder(321, &[100_000, 0, 200_000], |builder| builder);
    let (from, goal, state) = (content.placed(), TempDir::new().unwrap(), TempDir::new().unwrap());
    let session = keeping(state.path()).await;
    add(&session, AddOptions::download(content.meta.clone(), from.path())).await;
    end([session]).await;
    let mut kept = record(state.path(), &content, from.path()).unwrap();
    let all = 0..content.meta.layout().files().len();
    let paths: Vec<_> = all.map(|index| path(&content, index)).collect();
    let folders =
        paths.iter().flat_map(|path| path.ancestors().skip(1)).filter(|path| path.parent().is_some());
    kept.state.created = folders.map(PathBuf::from).chain(paths.iter().cloned()).collect();
    kept.state.created.sort();
    kept.state.created.dedup();
    // As if it had been killed after the first file, to another disk.
    kept.state.moving_to = Some(goal.path().canonicalize().unwrap());
    let store: Arc<dyn Store> = Arc::new(FileStore::open(state.path()).unwrap());
    store.save(&[kept]).unwrap();
    let new = goal.path().join(&paths[0]);
    std::fs::create_dir_all(new.parent().unwrap()).unwrap();
    std::fs::copy(from.path().join(&paths[0]), &new).unwrap();
    std::fs::remove_file(from.path().join(&paths[0])).unwrap();

    let rest = AtRest::open(store.clone(), content.meta.id(), None, from.path()).unwrap();
    let moved = rest.move_to(goal.path(), &AtomicBool::new(false), &|_| {}).unwrap();
    assert!(moved.is_whole);
    drop(rest);
    let mut kept = record(state.path(), &content, goal.path()).unwrap();
    kept.state.renaming = vec![(1, "other/name".into())];
    kept.state.created.push("other".into());
    store.save(&[kept]).unwrap();
    std::fs::create_dir(goal.path().join("other")).unwrap();
    std::fs::rename(goal.path().join(&paths[1]), goal.path().join("other/name")).unwrap();
    // It is moved as it is named now.
    for dir in [from.path(), goal.path()] {
        let at = if dir == goal.path() { from.path() } else { goal.path() };
        let rest = AtRest::open(store.clone(), content.meta.id(), None, at).unwrap();
        rest.move_to(dir, &AtomicBool::new(false), &|_| {}).unwrap();
    }
    let rest = AtRest::open(store, content.meta.id(), None, goal.path()).unwrap();
    let removed = rest.remove_files().unwrap();
    assert_eq!((removed.kept, removed.errors), (Vec::new(), Vec::new()));
    assert_eq!(std::fs::read_dir(goal.path()).unwrap().count(), 0);
}

#[tokio::test]
async fn files_of_two_torrents_never_come_to_share_a_path() {
    let (one, other) = (content(330), content(331));
    let (first, second) = (one.placed(), other.placed());
    let session = crate::world::session().await;
    let moved = add(&session, AddOptions::download(one.meta.clone(), first.path())).await;
    let there = add(&session, AddOptions::download(other.meta.clone(), second.path())).await;
    let taken = moved.move_to(second.path()).await.unwrap_err();
    assert!(matches!(taken, FilesError::PathTaken { by, .. } if by == there.id()), "{taken}");
    one.assert_all(first.path());
    // When the other one left, a file of it still is in the way.
    soon(there.remove()).await.unwrap();
    let taken = moved.move_to(second.path()).await.unwrap_err();
    assert!(matches!(&taken, FilesError::Storage(error) if error.advice().is_some()), "{taken}");
    one.assert_all(first.path());
    other.assert_all(second.path());
    // What was given up again can be claimed by others.
    add(&session, AddOptions::download(other.meta.clone(), second.path())).await;
    end([session]).await;
}

#[tokio::test]
async fn removal_with_files_leaves_what_is_not_ours() {
    let content = content(340);
    let (from, to, state) = (content.placed(), TempDir::new().unwrap(), TempDir::new().unwrap());
    let (seed, _seeding) = seeder(&content, from.path()).await;
    let session = keeping(state.path()).await;
    let options = AddOptions {
        peers: seed.listening().to_vec(),
        files: Selection::Files(vec![0, 3]),
        ..AddOptions::download(content.meta.clone(), to.path())
    };
    let torrent = add(&session, options).await;
    complete(&torrent).await;
    std::fs::write(to.path().join("things/even/notes.txt"), "mine").unwrap();
    let removed = soon(torrent.remove_with_files()).await.unwrap();
    assert_eq!((removed.errors.len(), removed.kept.len()), (0, 2), "{removed:?}");
    assert_eq!(listed(to.path()), ["things/even/notes.txt"]);
    assert!(!to.path().join("things/odd").exists());
    assert_eq!(record(state.path(), &content, to.path()), None);
    assert!(session.torrents().is_empty());
    end([session, seed]).await;
    // What was there before it came stays.
    let session = keeping(state.path()).await;
    let torrent = add(&session, AddOptions::download(content.meta.clone(), from.path())).await;
    soon(torrent.remove_with_files()).await.unwrap();
    content.assert_all(from.path());
    end([session]).await;
}

#[tokio::test]
async fn a_renamed_file_keeps_its_name() {
    let content = content(350);
    let (from, to, state) = (content.placed(), TempDir::new().unwrap(), TempDir::new().unwrap());
    let session = keeping(state.path()).await;
    let torrent = add(&session, AddOptions::download(content.meta.clone(), from.path())).await;
    assert_eq!(torrent.rename_file(1, "things/../else//b.bin").await.unwrap(), "things/else/b.bin");
    for wrong in ["..", "things/even/0.bin"] {
        let refused = torrent.rename_file(1, wrong).await.unwrap_err();
        assert!(matches!(refused, FilesError::Storage(_)), "{refused}");
    }
    assert!(!from.path().join(path(&content, 1)).exists());
    end([session]).await;
    let kept = record(state.path(), &content, from.path()).unwrap().state;
    assert_eq!((kept.choices.names, kept.renaming), (vec![(1, "things/else/b.bin".into())], vec![]));

    let session = keeping(state.path()).await;
    resumed(&session, &content, from.path()).await;
    let leech = crate::world::session().await;
    let options = AddOptions {
        peers: session.listening().to_vec(),
        ..AddOptions::download(content.meta.clone(), to.path())
    };
    complete(&add(&leech, options).await).await;
    end([leech, session]).await;
    content.assert_all(to.path());
}
