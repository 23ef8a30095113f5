//! Where files lie until they are complete, and what is done with them then.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use storage::record::{FileStore, Key, Record, Store, StoreError};
use storage::{LinkMode, Trouble};
use swarm::session::{
    AddError, AddOptions, Event, FilesError, Placing, RedbStore, Selection, Session, SessionConfig, Torrent,
};
use tempfile::TempDir;

use crate::world::{Content, add, config, end, event, keeping, listed, seeder, soon};

const LENS: [usize; 3] = [100_000, 50_000, 200_000];

fn content(seed: u64) -> Content {
    Content::folder(seed, &LENS, |builder| builder)
}

/// A torrent's folder, one for unfinished files, and one for records.
struct Place {
    dir: TempDir,
    /// Of the unfinished files, if it is on another file system.
    other: Option<TempDir>,
}

impl Place {
    fn new() -> Self {
        Self { dir: TempDir::new().unwrap(), other: None }
    }

    /// On one file system, and, where there is another, on two.
    fn both() -> impl Iterator<Item = Self> {
        let memory = Path::new("/dev/shm");
        let two = memory.is_dir().then(|| Self { other: TempDir::new_in(memory).ok(), ..Self::new() });
        [Some(Self::new()), two].into_iter().flatten()
    }

    fn home(&self) -> PathBuf {
        self.dir.path().join("home")
    }

    fn away(&self) -> PathBuf {
        self.other.as_ref().map_or(self.dir.path(), TempDir::path).join("away")
    }

    fn state(&self) -> PathBuf {
        self.dir.path().join("state")
    }

    fn placing(&self) -> Placing {
        Placing { suffix: Some(".part".into()), incomplete: Some(self.away()), ..Placing::default() }
    }

    fn options(&self, content: &Content) -> AddOptions {
        AddOptions { placing: self.placing(), ..AddOptions::download(content.meta.clone(), self.home()) }
    }

    fn record(&self, content: &Content) -> Record {
        let dir = self.home().canonicalize().unwrap_or_else(|_| self.home());
        let key = Key { id: content.meta.id(), dir };
        FileStore::open(self.state())
            .unwrap()
            .load(&key)
            .unwrap()
            .expect("a record of the torrent's own folder")
    }
}

const NAMES: [&str; 3] = ["things/even/0.bin", "things/even/2.bin", "things/odd/1.bin"];

fn unfinished() -> Vec<String> {
    NAMES.iter().map(|name| format!("{name}.part")).collect()
}

/// Ends when the files are all there under their names, and nothing is in the other folder.
async fn settled(torrent: &Torrent, content: &Content, place: &Place) {
    soon(torrent.wait_settled()).await.unwrap();
    content.assert_all(&place.home());
    assert_eq!(listed(&place.home()), NAMES);
    assert_eq!(listed(&place.away()), Vec::<String>::new());
}

/// A seed that has the first file only, and what it shares with the second.
async fn half_a_seed(content: &Content) -> (TempDir, Session) {
    let from = content.placed();
    fs::remove_file(from.path().join(NAMES[1])).unwrap();
    fs::remove_file(from.path().join(NAMES[2])).unwrap();
    let (session, _) = seeder(content, from.path()).await;
    (from, session)
}

#[tokio::test]
async fn files_lie_elsewhere_under_other_names_until_they_are_complete() {
    for (seed, place) in (700..).zip(Place::both()) {
        let content = content(seed);
        let (_half, part) = half_a_seed(&content).await;
        let session = keeping(&place.state()).await;
        let mut events = session.events();
        let options = AddOptions { peers: part.listening().to_vec(), ..place.options(&content) };
        let torrent = add(&session, options).await;
        for _ in 0..LENS[0] / 32_768 {
            event(&mut events, |event| matches!(event, Event::PieceDone { .. })).await;
        }
        assert!(listed(&place.home()).is_empty());
        assert!(listed(&place.away()).iter().all(|name| name.ends_with(".part")));
        // The first file ends within a piece that it shares with the second.
        end([session, part]).await;
        assert_eq!(listed(&place.away()), [&*unfinished()[0]]);
        drop(torrent);

        // The next run need not be told.
        let from = content.placed();
        let (seed, _seeding) = seeder(&content, from.path()).await;
        let session = keeping(&place.state()).await;
        let mut events = session.events();
        let options = AddOptions::download(content.meta.clone(), place.home());
        let torrent = add(&session, AddOptions { peers: seed.listening().to_vec(), ..options }).await;
        settled(&torrent, &content, &place).await;
        let told = event(&mut events, |event| matches!(event, Event::Moved { .. })).await;
        let home = place.home().canonicalize().unwrap();
        assert_eq!(told, Event::Moved { torrent: content.meta.id(), to: home });
        event(&mut events, |event| matches!(event, Event::Settled { .. })).await;
        end([seed]).await;

        // It goes on seeding from there.
        let (late, to) = (crate::world::session().await, TempDir::new().unwrap());
        let options = AddOptions {
            peers: session.listening().to_vec(),
            ..AddOptions::download(content.meta.clone(), to.path())
        };
        soon(add(&late, options).await.wait_complete()).await.unwrap();
        end([late, session]).await;
        let record = place.record(&content);
        assert_eq!((record.state.finishing.unfinished_in, record.state.moving_to), (None, None));
        assert!(record.summary.flags.complete);

        // Nothing is hashed again, and all of it is the torrent's to remove.
        let session = keeping(&place.state()).await;
        let mut events = session.events();
        let torrent = add(&session, place.options(&content)).await;
        event(&mut events, |event| {
            assert!(!matches!(event, Event::Checking { .. }), "it is as it was left");
            matches!(event, Event::Settled { .. })
        })
        .await;
        soon(torrent.remove_with_files()).await.unwrap();
        end([session]).await;
        assert!(listed(&place.home()).is_empty() && !place.home().join("things").exists());
    }
}

#[tokio::test]
async fn a_file_gets_its_name_when_its_last_piece_is_durable() {
    let content = content(710);
    let place = Place::new();
    let from = content.placed();
    let (seed, _seeding) = seeder(&content, from.path()).await;
    let session = keeping(&place.state()).await;
    let placing = Placing { incomplete: None, ..place.placing() };
    let options = AddOptions {
        peers: seed.listening().to_vec(),
        files: Selection::Files(vec![2]),
        placing,
        ..AddOptions::download(content.meta.clone(), place.home())
    };
    let torrent = add(&session, options).await;
    soon(torrent.wait_settled()).await.unwrap();
    assert!(place.home().join(NAMES[1]).exists());
    let kept = |name: &str| torrent_made(&place, &content).contains(&PathBuf::from(name));
    assert!(kept(NAMES[1]) && !kept(&format!("{}.part", NAMES[1])));
    torrent.select(&Selection::All).await.unwrap();
    soon(torrent.wait_complete()).await.unwrap();
    settled(&torrent, &content, &place).await;
    end([session, seed]).await;
}

fn torrent_made(place: &Place, content: &Content) -> Vec<PathBuf> {
    place.record(content).state.created
}

#[tokio::test]
async fn what_a_crash_left_undone_is_done_at_the_next_start() {
    // Which files lie where under which names, and what the record says of a move.
    type Case = (&'static [&'static str], &'static [&'static str], bool);
    let part = ["things/even/0.bin.part", "things/even/2.bin.part", "things/odd/1.bin.part"];
    let part: &'static [&'static str] = part.to_vec().leak();
    let cases: [Case; 6] = [
        // Nothing was finished; some names were; all; a person did one.
        (part, &[], false),
        (&["things/even/0.bin", "things/even/2.bin.part", "things/odd/1.bin.part"], &[], false),
        (&NAMES, &[], false),
        // The move was recorded, and not begun; half of it was done; all of it.
        (&NAMES, &[], true),
        (&["things/odd/1.bin"], &["things/even/0.bin", "things/even/2.bin"], true),
        (&[], &NAMES, true),
    ];
    for (seed, mut place) in (720..).zip(Place::both()) {
        for (at, (away, home, is_moving)) in cases.iter().enumerate() {
            let content = content(seed);
            place.dir = TempDir::new().unwrap();
            let _ = fs::remove_dir_all(place.away());
            // A record of a download that lies in the other folder.
            let session = keeping(&place.state()).await;
            let from = content.placed();
            let (seed, _seeding) = seeder(&content, from.path()).await;
            let options = AddOptions { peers: seed.listening().to_vec(), ..place.options(&content) };
            let torrent = add(&session, options).await;
            // As if it had been killed before anything was finished.
            soon(torrent.wait_settled()).await.unwrap();
            end([session, seed]).await;
            let mut record = place.record(&content);
            record.state.finishing.unfinished_in = Some(place.away().canonicalize().unwrap());
            record.state.moving_to = is_moving.then(|| place.home().canonicalize().unwrap());
            record.summary.folder = storage::FileStorage::open(
                &place.away(),
                content.meta.clone(),
                storage::FileOptions::default(),
            )
            .unwrap()
            .root_id()
            .ok()
            .map(Into::into);
            FileStore::open(place.state()).unwrap().save(&[record]).unwrap();
            fs::remove_dir_all(place.home()).unwrap();
            fs::create_dir_all(place.home()).unwrap();
            for (dir, names) in [(place.away(), away), (place.home(), home)] {
                for name in *names {
                    fs::create_dir_all(dir.join(name).parent().unwrap()).unwrap();
                    fs::copy(from.path().join(name.trim_end_matches(".part")), dir.join(name)).unwrap();
                }
            }
            let session = keeping(&place.state()).await;
            let torrent = add(&session, AddOptions::download(content.meta.clone(), place.home())).await;
            eprintln!("case {at}");
            settled(&torrent, &content, &place).await;
            assert_eq!(torrent.status().await.unwrap().totals.downloaded, 0);
            end([session]).await;
            assert_eq!(place.record(&content).state.finishing.unfinished_in, None);
        }
    }
}

#[tokio::test]
async fn without_a_record_the_files_tell_how_far_it_came() {
    for (home, away) in [(0..0, 0..3), (0..1, 1..3), (0..3, 0..0)] {
        let (content, place) = (content(730), Place::new());
        let from = content.placed();
        fs::create_dir_all(place.home()).unwrap();
        for (dir, files) in [(place.home(), home), (place.away(), away)] {
            for name in &NAMES[files] {
                fs::create_dir_all(dir.join(name).parent().unwrap()).unwrap();
                fs::copy(from.path().join(name), dir.join(name)).unwrap();
            }
        }
        let session = crate::world::session().await;
        let torrent = add(&session, place.options(&content)).await;
        settled(&torrent, &content, &place).await;
        end([session]).await;
    }
}

#[tokio::test]
async fn a_file_of_somebody_else_in_the_way_is_named_and_waited_for() {
    let (content, place) = (content(740), Place::new());
    let from = content.placed();
    let (seed, _seeding) = seeder(&content, from.path()).await;
    let session = keeping(&place.state()).await;
    let torrent =
        add(&session, AddOptions { peers: seed.listening().to_vec(), ..place.options(&content) }).await;
    let theirs = place.home().join(NAMES[2]);
    fs::create_dir_all(theirs.parent().unwrap()).unwrap();
    fs::write(&theirs, "theirs").unwrap();
    let error = soon(torrent.wait_settled()).await.unwrap_err();
    let FilesError::Storage(error) = error else { panic!("{error}") };
    assert_eq!((error.trouble(), error.path), (Trouble::Exists, theirs.canonicalize().unwrap()));
    assert_eq!(fs::read(&theirs).unwrap(), b"theirs");
    assert_eq!(listed(&place.away()), NAMES, "all of it is where it was, and served");
    assert!(torrent.status().await.unwrap().activity.is_seeding());
    fs::remove_file(&theirs).unwrap();
    settled(&torrent, &content, &place).await;
    end([session, seed]).await;
}

#[tokio::test]
async fn the_other_folder_has_one_owner() {
    let (content, place) = (content(750), Place::new());
    let session = keeping(&place.state()).await;
    let _torrent = add(&session, place.options(&content)).await;
    let other = keeping(&place.state()).await;
    for options in [
        AddOptions::download(content.meta.clone(), place.away()),
        AddOptions { dir: place.dir.path().join("third"), ..place.options(&content) },
    ] {
        let error = soon(other.add(options)).await.unwrap_err();
        assert!(matches!(error, AddError::Store(StoreError::Locked { .. })), "{error}");
    }
    end([session, other]).await;
}

#[tokio::test]
async fn a_torrent_that_is_moved_before_it_is_complete_stays_there() {
    let (content, place) = (content(760), Place::new());
    let (_half, part) = half_a_seed(&content).await;
    let session = keeping(&place.state()).await;
    let mut events = session.events();
    let options = AddOptions { peers: part.listening().to_vec(), ..place.options(&content) };
    let torrent = add(&session, options).await;
    event(&mut events, |event| matches!(event, Event::PieceDone { .. })).await;
    let goal = place.dir.path().join("goal");
    soon(torrent.move_to(&goal)).await.unwrap();
    let from = content.placed();
    let (seed, _seeding) = seeder(&content, from.path()).await;
    torrent.add_peers(seed.listening().to_vec()).await.unwrap();
    soon(torrent.wait_settled()).await.unwrap();
    content.assert_all(&goal);
    end([session, seed, part]).await;
    assert_eq!(listed(&goal), NAMES);
    assert!(listed(&place.home()).is_empty() && listed(&place.away()).is_empty());
}

#[tokio::test]
async fn complete_files_are_given_to_another_folder_once() {
    let (content, place) = (content(770), Place::new());
    let from = content.placed();
    let (seed, _seeding) = seeder(&content, from.path()).await;
    let library = place.dir.path().join("library");
    let placing = Placing { link_to: Some(library.clone()), link: LinkMode::Hard, ..place.placing() };
    let options = |files: &[usize]| AddOptions {
        peers: seed.listening().to_vec(),
        files: Selection::Files(files.to_vec()),
        placing: placing.clone(),
        ..place.options(&content)
    };
    let session = keeping(&place.state()).await;
    soon(add(&session, options(&[2])).await.wait_settled()).await.unwrap();
    assert_eq!(listed(&library), [NAMES[1]]);
    assert_eq!(fs::metadata(library.join(NAMES[1])).unwrap().nlink(), 2);
    end([session]).await;
    let session = keeping(&place.state()).await;
    soon(add(&session, options(&[0, 1, 2])).await.wait_settled()).await.unwrap();
    content.assert_all(&library);
    end([session]).await;
    // What is taken out of the library later stays out.
    fs::remove_file(library.join(NAMES[0])).unwrap();
    let session = keeping(&place.state()).await;
    let torrent = add(&session, options(&[0, 1, 2])).await;
    soon(torrent.wait_settled()).await.unwrap();
    assert_eq!(listed(&library), NAMES[1..]);
    soon(torrent.remove_with_files()).await.unwrap();
    end([session, seed]).await;
    assert_eq!((listed(&library).len(), listed(&place.home()).len()), (2, 0), "it is not the torrent's");
}

#[tokio::test]
async fn what_lies_elsewhere_is_not_downloaded_and_not_touched() {
    let modes = [LinkMode::Auto, LinkMode::Hard, LinkMode::Copy];
    for (at, mode) in (780..).zip(modes) {
        let (content, place) = (content(at), Place::new());
        let from = content.placed();
        let (seed, _seeding) = seeder(&content, from.path()).await;
        // Under other names; and one with a wrong byte in a place where nobody looks.
        let theirs = place.dir.path().join("theirs");
        fs::create_dir_all(theirs.join("deep")).unwrap();
        fs::copy(from.path().join(NAMES[0]), theirs.join("deep/zero")).unwrap();
        fs::copy(from.path().join(NAMES[2]), theirs.join("1.bin")).unwrap();
        let mut bytes = fs::read(from.path().join(NAMES[1])).unwrap();
        bytes[100_000] ^= 1;
        fs::write(theirs.join("two"), &bytes).unwrap();
        let before: Vec<_> =
            listed(&theirs).iter().map(|name| fs::read(theirs.join(name)).unwrap()).collect();
        let session = keeping(&place.state()).await;
        let mut events = session.events();
        let placing = Placing { reuse: vec![theirs.clone()], link: mode, ..place.placing() };
        let torrent = add(&session, AddOptions { placing, ..place.options(&content) }).await;
        let Event::Reused { files, error, .. } =
            event(&mut events, |event| matches!(event, Event::Reused { .. })).await
        else {
            unreachable!()
        };
        assert_eq!((files, error), (3, None));
        let status = torrent.status().await.unwrap();
        assert_eq!((status.pieces, status.pieces_done), (11, 10), "{mode:?}");
        torrent.add_peers(seed.listening().to_vec()).await.unwrap();
        settled(&torrent, &content, &place).await;
        assert_eq!(torrent.status().await.unwrap().totals.downloaded, 32_768);
        end([session, seed]).await;
        let after: Vec<_> = listed(&theirs).iter().map(|name| fs::read(theirs.join(name)).unwrap()).collect();
        assert!(before == after, "{mode:?}");
    }
}

#[tokio::test]
async fn a_database_restores_it_as_it_was() {
    let (content, place) = (content(790), Place::new());
    let (_half, part) = half_a_seed(&content).await;
    fs::create_dir_all(place.state()).unwrap();
    let start = async || {
        let store: Arc<dyn Store> = Arc::new(RedbStore::open(place.state().join("records")).unwrap());
        Session::start(SessionConfig { store: Some(store), ..config() }).await.unwrap()
    };
    let session = start().await;
    let mut events = session.events();
    let options = AddOptions { peers: part.listening().to_vec(), ..place.options(&content) };
    let torrent = add(&session, options).await;
    event(&mut events, |event| matches!(event, Event::PieceDone { .. })).await;
    drop((torrent, events));
    end([session, part]).await;
    let from = content.placed();
    let (seed, _seeding) = seeder(&content, from.path()).await;
    let session = start().await;
    let summary = soon(session.recorded()).await.unwrap().summaries.remove(0);
    let torrent = soon(session.restore(&summary)).await.unwrap();
    torrent.add_peers(seed.listening().to_vec()).await.unwrap();
    settled(&torrent, &content, &place).await;
    end([session, seed]).await;
}
