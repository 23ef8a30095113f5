//! Starts while the system fails: what cannot be looked at is never taken for missing.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use metainfo::{Builder, Torrent};
use storage::record::FileStore;
use storage::testing::faults::{Call, CallFault, Effect, inject};
use tempfile::TempDir;

use super::begin::{Begun, begin};
use crate::session::link::Link;
use crate::session::options::{AddError, AddOptions, Placing};
use crate::session::{Session, SessionConfig};

/// EIO, EACCES and EMFILE.
const ERRORS: [i32; 3] = [5, 13, 24];
const PIECES: u32 = 6;

/// Two files in a folder, and one beside it; written beneath `dir`.
pub(super) fn whole(dir: &Path) -> Arc<Torrent> {
    let builder = Builder::folder("t").piece_length(32_768);
    let builder = builder.file(["sub", "a"], 65_536).file(["sub", "b"], 65_536).file(["c"], 65_536);
    let mut feed = builder.prepare().unwrap().feed();
    let bytes: Vec<u8> = (0..3 * 65_536_u32).map(|at| (at / 7) as u8).collect();
    feed.update(&bytes);
    std::fs::create_dir_all(dir.join("t/sub")).unwrap();
    for (path, bytes) in ["t/sub/a", "t/sub/b", "t/c"].into_iter().zip(bytes.chunks(65_536)) {
        std::fs::write(dir.join(path), bytes).unwrap();
    }
    Arc::new(Torrent::parse(&feed.finish().unwrap()).unwrap())
}

pub(super) async fn session(state: &Path) -> Session {
    let store = Arc::new(FileStore::open(state).unwrap());
    let listen = vec![([127, 0, 0, 1], 0).into()];
    Session::start(SessionConfig { listen, store: Some(store), ..SessionConfig::default() }).await.unwrap()
}

pub(super) fn start(link: &Arc<Link>, options: &AddOptions) -> Result<Begun, AddError> {
    begin(link, options, &AtomicBool::new(false), |_| Ok(()))
}

/// Pieces that would be fetched.
fn missing(begun: &Begun) -> Vec<u32> {
    let may_be = |piece: u32| begun.unseen.as_ref().is_some_and(|unseen| unseen.pieces.get(piece));
    (0..PIECES).filter(|piece| !begun.have.get(*piece) && !may_be(*piece)).collect()
}

#[tokio::test]
async fn a_complete_torrent_misses_nothing_whatever_call_of_its_start_fails() {
    let (dir, state) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let options = AddOptions::download(whole(dir.path()), dir.path());
    let suffixed = Placing { suffix: Some(".part".into()), ..Placing::default() };
    let session = session(state.path()).await;
    drop(start(&session.link, &options).unwrap());
    let mut struck = 0;
    for options in [options.clone(), AddOptions { placing: suffixed, ..options }] {
        for call in [Call::Stat, Call::Open] {
            for (errno, lasting) in ERRORS.iter().flat_map(|errno| [(errno, false), (errno, true)]) {
                for nth in 0.. {
                    let fault = CallFault { call: Some(call), nth, lasting, effect: Effect::Fail(*errno) };
                    let (begun, hit) = inject(fault, || start(&session.link, &options));
                    if let Ok(begun) = &begun {
                        assert!(missing(begun).is_empty(), "{fault:?}");
                    }
                    drop(begun);
                    let again = start(&session.link, &options).unwrap();
                    assert!(again.have.is_full(), "the start after {fault:?}");
                    if hit.struck == 0 {
                        break;
                    }
                    struck += 1;
                }
            }
        }
    }
    assert!(struck > 100, "{struck}");
}

#[tokio::test]
async fn a_folder_that_cannot_be_entered_keeps_what_is_in_it_from_being_fetched() {
    let (dir, state) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let options = AddOptions::download(whole(dir.path()), dir.path());
    let (sub, away) = (dir.path().join("t/sub"), dir.path().join("away"));
    let session = session(state.path()).await;
    drop(start(&session.link, &options).unwrap());
    // No right keeps the superuser out, but a link that leads to itself does.
    std::fs::rename(&sub, &away).unwrap();
    std::os::unix::fs::symlink("sub", &sub).unwrap();
    for _ in 0..2 {
        if let Ok(begun) = start(&session.link, &options) {
            assert_eq!((missing(&begun), begun.have.count_ones()), (vec![], 2));
            let why = begun.unseen.unwrap().why;
            assert!(why.path.starts_with(&sub), "{why}");
        }
    }
    std::fs::remove_file(&sub).unwrap();
    std::fs::rename(&away, &sub).unwrap();
    assert!(start(&session.link, &options).unwrap().have.is_full());
}
