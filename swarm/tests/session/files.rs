//! Files of running torrents: which are wanted, where they lie, what they are called.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use storage::record::{FileStore, Order, Store};
use swarm::session::{
    AddOptions, FilesError, PieceOrder, Priority, Selection, Session, SessionConfig, Torrent,
};
use tempfile::TempDir;

use crate::world::{Content, add, config, end, seeder, soon};

async fn keeping(state: &Path) -> Session {
    let store: Arc<dyn Store> = Arc::new(FileStore::open(state).unwrap());
    Session::start(SessionConfig { store: Some(store), ..config() }).await.unwrap()
}

/// Five files, none of which ends where a piece does.
fn content(seed: u64) -> Content {
    Content::folder(seed, &[100_000, 50_000, 200_000, 30_000, 100_000], |builder| builder)
}

/// The files beneath a folder, relative to it and sorted, but for those in the way of tests.
fn listed(dir: &Path) -> Vec<String> {
    let mut found = Vec::new();
    let mut folders = vec![dir.to_path_buf()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                found.push(path.strip_prefix(dir).unwrap().to_str().unwrap().to_owned());
            }
        }
    }
    found.sort();
    found
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
    let none = torrent.set_priorities(vec![(5, Priority::Skip)]).await.unwrap_err();
    assert_eq!(none, FilesError::NoSuchFile { index: 5, files: 5 });
    let wanted = torrent.status().await.unwrap().wanted;
    assert!((280_000..400_000).contains(&wanted), "{wanted}");
    end([session]).await;

    let store = FileStore::open(state.path()).unwrap();
    let summary = store.list().unwrap().summaries.remove(0);
    let kept =
        store.load(&storage::record::Key { id: content.meta.id(), dir: summary.dir }).unwrap().unwrap();
    assert_eq!(kept.state.choices.priorities, [2, 1, 0, 2, 2]);
    assert_eq!(kept.state.choices.order, Order::Sequential);
}

#[tokio::test]
async fn what_is_wanted_most_comes_first() {
    let content = content(302);
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
    // The last file has the last four of fifteen pieces, and a share of the one before.
    let last = content.meta.layout().file_pieces(4).unwrap().count();
    // A few pieces may be on their way before.
    let early = order.iter().take(last + 4).filter(|piece| piece.get() >= 11).count();
    assert_eq!(early, last, "{order:?}");
    end([session, seed]).await;
    content.assert_all(to.path());
}
