//! A torrent that is added again, by a link, a file, or both: one torrent is made of what they say.

use std::sync::Arc;

use metainfo::{Builder, Magnet};
use swarm::session::{AddError, AddOptions, Event, MagnetOptions, Selection, Session, Torrent};
use tempfile::TempDir;

use crate::magnets::{add_magnet, alone, magnet};
use crate::world::{Content, add, end, event, seeder, session, soon};

/// Addresses of trackers that nobody has.
pub(crate) const TRACKERS: [&str; 3] =
    ["http://127.0.0.1:9/a", "http://127.0.0.1:9/b", "http://127.0.0.1:9/c"];

pub(crate) async fn urls(torrent: &Torrent) -> Vec<String> {
    torrent.trackers().await.unwrap().into_iter().map(|tracker| tracker.url).collect()
}

#[tokio::test]
async fn a_magnet_of_a_torrent_that_runs_adds_its_trackers_and_peers_unless_it_is_private() {
    for private in [false, true] {
        let content = Content::folder(39, &[100_000], |b: Builder| b.private(private));
        let (from, to) = (content.placed(), TempDir::new().unwrap());
        let (seed, _seeding) = seeder(&content, from.path()).await;
        let leech = session().await;
        let torrent = add(&leech, AddOptions::download(content.meta.clone(), to.path())).await;
        let named =
            Magnet { trackers: vec!["http://127.0.0.1:9/announce".into()], ..magnet(&content, &seed) };
        let refused = leech.add_magnet(MagnetOptions::download(named, to.path())).await.unwrap_err();
        assert_eq!(refused, AddError::Duplicate(content.meta.id()));
        assert_eq!(torrent.trackers().await.unwrap().len(), usize::from(!private));
        if private {
            assert_eq!(torrent.peers().await.unwrap(), []);
        } else {
            soon(torrent.wait_complete()).await.unwrap();
        }
        end([leech, seed]).await;
    }
}

#[tokio::test]
async fn a_torrent_file_makes_its_magnet_whole() {
    for private in [false, true] {
        let content = Content::folder(41, &[100_000, 200_000], |b: Builder| {
            b.private(private).tracker(TRACKERS[1]).web_seed("http://two.invalid/")
        });
        let (from, to, other) = (content.placed(), TempDir::new().unwrap(), TempDir::new().unwrap());
        let (seed, _seeding) = seeder(&content, from.path()).await;
        let leech = session().await;
        let named = Magnet {
            trackers: vec![TRACKERS[0].into()],
            web_seeds: vec!["http://one.invalid/".into()],
            ..Magnet::new(*content.meta.info_hashes())
        };
        let waiting = add_magnet(&leech, MagnetOptions::download(named, to.path())).await;
        waiting.select(&Selection::Files(vec![1])).await.unwrap();
        let options = AddOptions {
            peers: seed.listening().to_vec(),
            trackers: vec![TRACKERS[2].into()],
            ..AddOptions::download(content.meta.clone(), other.path())
        };
        let torrent = add(&leech, options.clone()).await;
        assert_eq!(leech.torrents().len(), 1, "it is the same one");
        let known = soon(waiting.wait_metadata()).await.unwrap();
        assert!(Arc::ptr_eq(torrent.meta().unwrap(), &known));
        let (trackers, seeds): (&[&str], &[&str]) = if private {
            (&TRACKERS[1..2], &["http://two.invalid/"])
        } else {
            (&[TRACKERS[1], TRACKERS[0]], &["http://two.invalid/", "http://one.invalid/"])
        };
        assert_eq!(known.trackers().iter().flatten().collect::<Vec<_>>(), trackers);
        assert_eq!(known.web_seeds(), seeds);
        let asked = urls(&waiting).await;
        assert_eq!(asked.contains(&TRACKERS[0].to_owned()), !private, "that of the link: {asked:?}");
        assert_eq!(asked.len(), 3 - usize::from(private));
        soon(waiting.wait_complete()).await.unwrap();
        content.assert_files(to.path(), &[1]);
        assert!(!to.path().join(content.meta.layout().files()[0].path.as_str()).exists(), "what was chosen");
        assert!(std::fs::read_dir(other.path()).unwrap().next().is_none(), "its folder was chosen before");
        assert_eq!(leech.add(options).await.unwrap_err(), AddError::Duplicate(content.meta.id()));
        end([leech, seed]).await;
    }
}

#[tokio::test]
async fn a_torrent_file_says_what_a_magnet_without_a_folder_does_not() {
    let content = Content::folder(42, &[100_000, 200_000], |builder| builder);
    let (from, to) = (content.placed(), TempDir::new().unwrap());
    let (seed, _seeding) = seeder(&content, from.path()).await;
    let leech = Session::start(alone()).await.unwrap();
    let asked = MagnetOptions::metadata(Magnet::new(*content.meta.info_hashes()));
    let waiting = add_magnet(&leech, asked.clone()).await;
    let options = AddOptions {
        peers: seed.listening().to_vec(),
        files: Selection::Files(vec![0]),
        ..AddOptions::download(content.meta.clone(), to.path())
    };
    add(&leech, options).await;
    soon(waiting.wait_complete()).await.unwrap();
    content.assert_files(to.path(), &[0]);
    soon(waiting.remove()).await.unwrap();
    // What is there already is seeded from where it is, wherever a magnet was to put it.
    let unused = TempDir::new().unwrap();
    let waiting = add_magnet(&leech, MagnetOptions { dir: Some(unused.path().into()), ..asked }).await;
    add(&leech, AddOptions::seed(content.meta.clone(), from.path())).await;
    soon(waiting.wait_complete()).await.unwrap();
    assert!(std::fs::read_dir(unused.path()).unwrap().next().is_none());
    end([leech, seed]).await;
}

#[tokio::test]
async fn a_torrent_file_that_cannot_be_used_refuses_its_magnet() {
    let content = Content::folder(43, &[100_000], |builder| builder);
    let to = TempDir::new().unwrap();
    let leech = session().await;
    let dir = to.path().join("a file");
    std::fs::write(&dir, "").unwrap();
    let named = Magnet::new(*content.meta.info_hashes());
    let waiting = add_magnet(&leech, MagnetOptions::download(named, &dir)).await;
    let mut events = leech.events();
    let refused = leech.add(AddOptions::download(content.meta.clone(), to.path())).await;
    assert!(matches!(refused, Err(AddError::Storage(_))), "{refused:?}");
    event(&mut events, |event| matches!(event, Event::Refused { .. })).await;
    assert!(soon(waiting.wait_metadata()).await.is_err() || waiting.status().await.is_err());
    end([leech]).await;
}

#[tokio::test]
async fn a_second_magnet_adds_to_the_first() {
    let content = Content::folder(44, &[100_000, 100_000], |builder| builder);
    let (from, to, other) = (content.placed(), TempDir::new().unwrap(), TempDir::new().unwrap());
    let (seed, _seeding) = seeder(&content, from.path()).await;
    let leech = session().await;
    let hashes = *content.meta.info_hashes();
    let first = Magnet { trackers: vec![TRACKERS[0].into()], select: vec![1..=1], ..Magnet::new(hashes) };
    let waiting = add_magnet(&leech, MagnetOptions::download(first, to.path())).await;
    let second = Magnet {
        trackers: vec![TRACKERS[1].into(), TRACKERS[0].into()],
        web_seeds: vec!["http://two.invalid/".into()],
        ..magnet(&content, &seed)
    };
    let again = add_magnet(&leech, MagnetOptions::download(second, other.path())).await;
    assert_eq!(again.id(), waiting.id());
    assert_eq!(urls(&waiting).await.len(), 2);
    soon(waiting.wait_complete()).await.unwrap();
    let meta = waiting.meta().unwrap();
    assert_eq!(meta.trackers().iter().flatten().collect::<Vec<_>>(), &TRACKERS[..2]);
    assert_eq!(meta.web_seeds(), ["http://two.invalid/"]);
    content.assert_files(to.path(), &[1]);
    assert!(std::fs::read_dir(other.path()).unwrap().next().is_none(), "the first folder counts");
    end([leech, seed]).await;
}
