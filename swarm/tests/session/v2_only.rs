//! Torrents that have v2 hashes alone, and their piece layers with them (BEP 52).

use std::sync::Arc;

use metainfo::{Torrent as Meta, Version};
use storage::record::{FileStore, Store};
use swarm::engine::Activity;
use swarm::session::{
    AddError, AddOptions, Check, Event, MagnetOptions, Placing, Selection, Session, SessionConfig,
};
use tempfile::TempDir;
use tokio::io::AsyncReadExt;

use crate::magnets::magnet;
use crate::resume::{record, recording, resume};
use crate::world::{Content, add, config, end, event, keeping, seeder, session, soon, tracker};

/// Files of many pieces of 32 KiB, of one, of less than a block, and of nothing. The even ones come first.
const LENGTHS: [usize; 7] = [100_001, 5, 0, 32_768, 65_537, 16_384, 1];

fn content(seed: u64) -> Content {
    Content::folder(seed, &LENGTHS, |builder| builder.version(Version::V2))
}

fn payload() -> u64 {
    LENGTHS.iter().sum::<usize>() as u64
}

fn download(content: &Content, to: &TempDir, seed: &Session) -> AddOptions {
    AddOptions { peers: seed.listening().to_vec(), ..AddOptions::download(content.meta.clone(), to.path()) }
}

#[tokio::test]
async fn it_is_downloaded_and_seeded() {
    let content = content(60);
    let (from, to) = (content.placed(), TempDir::new().unwrap());
    let (seed, seeding) = seeder(&content, from.path()).await;
    let hashes = content.meta.info_hashes();
    assert_eq!((hashes.v1(), seeding.id()), (None, hashes.v2().unwrap().truncated()));
    let leech = session().await;
    let torrent = add(&leech, download(&content, &to, &seed)).await;
    soon(torrent.wait_complete()).await.unwrap();
    content.assert_all(to.path());
    let status = torrent.status().await.unwrap();
    assert_eq!((status.done, status.wanted, status.totals.wasted), (payload(), payload(), 0));
    let files = torrent.files().await.unwrap();
    assert_eq!(
        files.iter().map(|file| file.done).collect::<Vec<_>>(),
        files.iter().map(|f| f.length).collect::<Vec<_>>()
    );
    let mut bytes = Vec::new();
    soon(torrent.reader(2).unwrap().read_to_end(&mut bytes)).await.unwrap();
    assert!(bytes == content.bytes(2));
    end([leech, seed]).await;
}

#[tokio::test]
async fn it_is_found_by_its_cut_hash_at_a_tracker() {
    let tracker = tracker().await;
    let url = tracker.http_url();
    let content = Content::folder(61, &LENGTHS, |builder| builder.version(Version::V2).tracker(url));
    let (from, to) = (content.placed(), TempDir::new().unwrap());
    let (seed, _seeding) = seeder(&content, from.path()).await;
    let mut events = seed.events();
    event(&mut events, |event| matches!(event, Event::TrackerAnswered { .. })).await;
    let leech = session().await;
    let torrent = add(&leech, AddOptions::download(content.meta.clone(), to.path())).await;
    soon(torrent.wait_complete()).await.unwrap();
    content.assert_all(to.path());
    end([leech, seed]).await;
}

#[tokio::test]
async fn it_goes_on_where_it_was_stopped_without_a_byte_hashed_again() {
    let content = content(62);
    let (from, to, state) = (content.placed(), TempDir::new().unwrap(), TempDir::new().unwrap());
    let (seed, _seeding) = seeder(&content, from.path()).await;
    let first = keeping(state.path()).await;
    let some = AddOptions { files: Selection::Files(vec![0, 1, 6]), ..download(&content, &to, &seed) };
    let (torrent, _) = resume(&first, some).await;
    soon(torrent.wait_complete()).await.unwrap();
    end([first]).await;
    let kept = record(state.path(), &content, to.path());
    assert_eq!((kept.state.pieces.count(), kept.summary.done), (5, 100_001 + 16_384));
    content.assert_files(to.path(), &[0, 1, 6]);
    let second = keeping(state.path()).await;
    let all = AddOptions { files: Selection::All, ..download(&content, &to, &seed) };
    let (torrent, was_checked) = resume(&second, all).await;
    assert!(!was_checked);
    soon(torrent.wait_complete()).await.unwrap();
    content.assert_all(to.path());
    let fetched = torrent.status().await.unwrap().totals.downloaded;
    assert_eq!(fetched, payload() - 100_001 - 16_384);
    end([second, seed]).await;
}

#[tokio::test]
async fn it_is_run_again_from_its_record_alone() {
    let content = content(63);
    let (from, state, to) = (content.placed(), TempDir::new().unwrap(), TempDir::new().unwrap());
    let first = recording(state.path()).await;
    add(&first, AddOptions::seed(content.meta.clone(), from.path())).await;
    end([first]).await;
    let again = recording(state.path()).await;
    let restored = soon(again.restore_all()).await.unwrap();
    assert!(restored.refused.is_empty(), "{:?}", restored.refused);
    let cold = &restored.torrents[0];
    assert_eq!(cold.status().await.unwrap().activity, Activity::Cold { finished: true });
    let leech = session().await;
    let torrent = add(&leech, download(&content, &to, &again)).await;
    soon(torrent.wait_complete()).await.unwrap();
    content.assert_all(to.path());
    end([leech, again]).await;
}

#[tokio::test]
async fn what_is_there_is_found_by_its_tree_and_what_is_wrong_is_fetched() {
    let content = content(64);
    let (from, to) = (content.placed(), content.placed());
    let (seed, _seeding) = seeder(&content, from.path()).await;
    let spoilt = to.path().join(content.meta.layout().files()[2].path.as_str());
    let mut bytes = std::fs::read(&spoilt).unwrap();
    // The last byte is a piece of its own.
    bytes[65_536] ^= 1;
    std::fs::write(&spoilt, bytes).unwrap();
    let leech = session().await;
    let options = AddOptions { check: Check::Always, ..download(&content, &to, &seed) };
    let torrent = add(&leech, AddOptions { overwrite: true, ..options }).await;
    soon(torrent.wait_complete()).await.unwrap();
    content.assert_all(to.path());
    assert_eq!(torrent.status().await.unwrap().totals.downloaded, 1);
    end([leech, seed]).await;
}

#[tokio::test]
async fn without_its_piece_layers_it_is_refused_by_name_if_a_file_has_more_than_a_piece() {
    let content = content(65);
    let (session, dir) = (session().await, TempDir::new().unwrap());
    let meta = Arc::new(Meta::from_info(content.meta.info_bytes()).unwrap());
    for options in [AddOptions::download(meta.clone(), dir.path()), AddOptions::seed(meta, dir.path())] {
        let refused = soon(session.add(options)).await.unwrap_err();
        assert_eq!(refused, AddError::LayersMissing("things".into()));
        assert!(refused.to_string().contains("is a v2-only torrent without its piece layers"), "{refused}");
    }
    assert!(session.torrents().is_empty());
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0, "nothing was made");
    end([session]).await;
}

#[tokio::test]
async fn files_of_a_piece_at_most_need_no_layers_so_a_link_is_enough() {
    let lens = [32_768, 7, 0, 16_385];
    let content = Content::folder(66, &lens, |builder| builder.version(Version::V2));
    let (from, to) = (content.placed(), TempDir::new().unwrap());
    let (seed, _seeding) = seeder(&content, from.path()).await;
    let store: Arc<dyn Store> = Arc::new(FileStore::open(to.path().join("state")).unwrap());
    let leech = Session::start(SessionConfig { store: Some(store), ..config() }).await.unwrap();
    let options = MagnetOptions::download(magnet(&content, &seed), to.path().join("files"));
    let torrent = soon(leech.add_magnet(options)).await.unwrap();
    soon(torrent.wait_complete()).await.unwrap();
    content.assert_all(&to.path().join("files"));
    end([leech, seed]).await;
}

#[tokio::test]
async fn it_takes_what_another_folder_has_of_it() {
    let content = content(67);
    let (theirs, to) = (content.placed(), TempDir::new().unwrap());
    let session = session().await;
    let placing = Placing { reuse: vec![theirs.path().to_owned()], ..Placing::default() };
    let options = AddOptions { placing, ..AddOptions::download(content.meta.clone(), to.path()) };
    let torrent = add(&session, options).await;
    soon(torrent.wait_complete()).await.unwrap();
    content.assert_all(to.path());
    assert_eq!(torrent.status().await.unwrap().totals.downloaded, 0);
    end([session]).await;
}
