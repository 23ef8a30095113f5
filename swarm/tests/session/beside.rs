//! Whole sessions beside one-shot programs, after moves that were interrupted, and while somebody else writes to files.

use std::os::unix::fs::FileExt;
use std::sync::Arc;

use storage::RootId;
use storage::record::{FileStore, Store, StoreError};
use swarm::session::{AddError, AddOptions, Check, Event, RedbStore, Session, SessionConfig};
use tempfile::TempDir;

use crate::resume::{content, record, resume};
use crate::world::{Content, add, config, end, event, keeping, soon};

#[tokio::test]
async fn a_long_session_and_programs_beside_it_never_run_the_same_torrent_in_the_same_folder() {
    let contents: Vec<Content> = (150..161).map(content).collect();
    let (dir, home) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let transfers = home.path().join("transfers");
    let store = RedbStore::open(home.path().join("session.redb")).unwrap();
    let store = store.beside(FileStore::open(&transfers).unwrap()).unwrap();
    let long = Session::start(SessionConfig { store: Some(Arc::new(store)), ..config() }).await.unwrap();
    let place = |at: usize| {
        let dir = dir.path().join(at.to_string());
        contents[at].write(&dir);
        AddOptions::download(contents[at].meta.clone(), dir)
    };
    let ours = add(&long, place(0)).await;
    // Ten at once, each beside the other ones.
    let mut others = Vec::new();
    for at in 1..11 {
        let one_shot = keeping(&transfers).await;
        add(&one_shot, place(at)).await;
        others.push(one_shot);
    }
    let refused = others[0].add(place(0)).await.unwrap_err();
    let AddError::Store(error @ StoreError::Locked { .. }) = refused else { panic!("{refused}") };
    assert!(error.to_string().ends_with(&format!("is in use by process {}", std::process::id())), "{error}");
    let refused = long.add(place(1)).await.unwrap_err();
    assert!(matches!(refused, AddError::Store(StoreError::Locked { by: Some(_), .. })), "{refused}");
    // In another folder it is another matter, and when one is through the other can have it.
    let mut elsewhere = place(0);
    elsewhere.dir = dir.path().join("elsewhere");
    add(&others[0], elsewhere).await;
    soon(ours.remove()).await.unwrap();
    add(&others[1], place(0)).await;
    end(others).await;
    add(&long, place(1)).await;
    end([long]).await;
}

#[tokio::test]
async fn what_changes_during_a_check_is_doubtful_afterwards() {
    let content = Content::folder(170, &[24 << 20, 24 << 20], |builder| builder);
    let (dir, state) = (content.placed(), TempDir::new().unwrap());
    let path = dir.path().join(content.meta.layout().files()[0].path.as_str());
    let session = keeping(state.path()).await;
    let mut events = session.events();
    let options =
        AddOptions { check: Check::Always, ..AddOptions::download(content.meta.clone(), dir.path()) };
    let spoiled = async {
        event(&mut events, |event| matches!(event, Event::Checking { done, .. } if *done > 0)).await;
        // The first piece was most likely hashed already.
        let spoilt = std::fs::read(&path).unwrap()[100] ^ 1;
        let file = std::fs::OpenOptions::new().write(true).open(&path).unwrap();
        file.write_all_at(&[spoilt], 100).unwrap();
    };
    let (torrent, ()) = tokio::join!(add(&session, options), spoiled);
    drop(torrent);
    end([session]).await;
    let kept = record(state.path(), &content, dir.path());
    let first = content.meta.layout().file_pieces(0).unwrap();
    assert!(first.clone().all(|piece| !kept.state.pieces.contains(piece)), "none of it is taken for right");
    let session = keeping(state.path()).await;
    let options = AddOptions::download(content.meta.clone(), dir.path());
    let (torrent, was_checked) = resume(&session, options).await;
    let status = torrent.status().await.unwrap();
    assert_eq!((was_checked, status.pieces - status.pieces_done), (true, 1));
    end([session]).await;
}

#[tokio::test]
async fn a_move_that_was_killed_goes_on_to_the_same_folder_and_to_no_other_in_its_place() {
    let content = content(171);
    let (home, state) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let [from, to, away] = ["from", "to", "away"].map(|name| home.path().join(name));
    std::fs::create_dir(&to).unwrap();
    content.write(&from);
    let options = || AddOptions::download(content.meta.clone(), &from);
    let session = keeping(state.path()).await;
    add(&session, options()).await;
    end([session]).await;
    // As a kill in the middle leaves it: one file is there, two are not.
    let mut kept = record(state.path(), &content, &from);
    kept.state.moving_to = Some(to.canonicalize().unwrap());
    kept.state.goal = Some(RootId::of(&to).unwrap().into());
    FileStore::open(state.path()).unwrap().save(&[kept]).unwrap();
    let moved = content.meta.layout().files()[0].path.as_str();
    std::fs::create_dir_all(to.join(moved).parent().unwrap()).unwrap();
    std::fs::rename(from.join(moved), to.join(moved)).unwrap();

    // Its disk is not mounted: an empty folder is in its place, or none.
    std::fs::rename(&to, &away).unwrap();
    for is_there in [true, false] {
        if is_there {
            std::fs::create_dir(&to).unwrap();
        }
        let session = keeping(state.path()).await;
        let refused = session.add(options()).await.unwrap_err();
        let AddError::Storage(error) = refused else { panic!("{refused}") };
        assert!(error.is_gone(), "{error}");
        end([session]).await;
        if is_there {
            std::fs::remove_dir(&to).expect("nothing was written to it");
        }
    }
    std::fs::rename(&away, &to).unwrap();
    let session = keeping(state.path()).await;
    let mut events = session.events();
    let torrent = add(&session, options()).await;
    event(&mut events, |event| {
        assert!(!matches!(event, Event::Checking { .. }), "all of it is known");
        matches!(event, Event::Moved { .. })
    })
    .await;
    assert!(torrent.status().await.unwrap().activity.is_seeding());
    end([session]).await;
    content.assert_all(&to);
    let kept = record(state.path(), &content, &to);
    assert_eq!((kept.state.moving_to, kept.state.goal), (None, None));
}
