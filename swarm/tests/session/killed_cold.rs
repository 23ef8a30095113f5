//! A session that is killed while it runs torrents that are not open: of those only summaries are written.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};

use metainfo::TorrentId;
use storage::record::Store;
use swarm::engine::Activity;
use swarm::session::{AddOptions, Event, RedbStore, Session, Torrent};

use crate::cold::opened;
use crate::resume::recording;
use crate::world::{Content, add, end, soon};

/// Names the folder to the process that is killed.
const VARIABLE: &str = "UNCHOKE_TEST_COLD";
const NAME: &str =
    "killed_cold::what_was_chosen_for_torrents_that_are_not_open_survives_a_kill_of_their_session";
const TORRENTS: u64 = 12;
/// After so many choices the session is killed, in the middle of the next one.
const KILLS: [usize; 5] = [1, 5, 12, 17, 30];

fn content(n: u64) -> Content {
    Content::folder(700 + n, &[40_000], |builder| builder)
}

async fn restored(dir: &Path) -> (Session, Vec<Torrent>) {
    let session = recording(dir).await;
    let restored = soon(session.restore_all()).await.unwrap();
    assert!(restored.refused.is_empty() && restored.problems.is_empty(), "{:?}", restored.refused);
    (session, restored.torrents)
}

/// The limit that was recorded last of each torrent; it grows with each choice.
async fn recorded(dir: &Path) -> BTreeMap<String, u64> {
    let store = opened(|| RedbStore::open(dir.join("session.redb"))).await;
    let listing = store.list().unwrap();
    assert!(store.damaged().is_none() && listing.problems.is_empty(), "{:?}", listing.problems);
    let of = |summary: storage::record::Summary| {
        let limit = summary.outline.expect("it has one").down_limit.unwrap_or(0);
        (summary.hashes.id().to_hex(), limit)
    };
    listing.summaries.into_iter().map(of).collect()
}

/// The process that is killed: chooses again and again, and says so each time.
#[tokio::main(flavor = "current_thread")]
async fn choose_for_ever(dir: &Path) {
    let first = recorded(dir).await.into_values().max().unwrap_or(0) + 1;
    let (_session, torrents) = restored(dir).await;
    for round in first.. {
        for torrent in &torrents {
            soon(torrent.set_limits(Some(round), None)).await.unwrap();
            println!("\nchose {} {round}", torrent.id().to_hex());
            std::io::stdout().flush().unwrap();
            let activity = torrent.status().await.unwrap().activity;
            assert_eq!(activity, Activity::Cold { finished: true });
        }
    }
}

/// Runs it until it chose so often, and kills it. What it said.
fn killed_after(dir: &Path, choices: usize) -> BTreeMap<String, u64> {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", NAME, "--nocapture"])
        .env(VARIABLE, dir)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap);
    let mut said = lines.filter_map(|line| {
        let (id, round) = line.strip_prefix("chose ")?.split_once(' ')?;
        Some((id.to_owned(), round.parse().unwrap()))
    });
    let told: Vec<_> = said.by_ref().take(choices).collect();
    child.kill().unwrap();
    child.wait().unwrap();
    assert_eq!(told.len(), choices, "it ended by itself");
    // What it said before it was gone counts as well.
    told.into_iter().chain(said).collect()
}

#[test]
fn what_was_chosen_for_torrents_that_are_not_open_survives_a_kill_of_their_session() {
    if let Some(dir) = std::env::var_os(VARIABLE) {
        return choose_for_ever(Path::new(&dir));
    }
    let dir = tempfile::tempdir().unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let contents: BTreeMap<TorrentId, Content> =
        (0..TORRENTS).map(content).map(|content| (content.meta.id(), content)).collect();
    let files = |id: &TorrentId| dir.path().join(id.to_hex());
    runtime.block_on(async {
        let session = recording(dir.path()).await;
        for (id, content) in &contents {
            content.write(&files(id));
            drop(add(&session, AddOptions::seed(content.meta.clone(), files(id))).await);
        }
        end([session]).await;
        // Its store is closed by then.
        recorded(dir.path()).await;
    });
    for choices in KILLS {
        let said = killed_after(dir.path(), choices);
        let found = runtime.block_on(recorded(dir.path()));
        assert_eq!(found.len(), contents.len(), "no torrent is lost");
        for (id, round) in &said {
            let limit = found[id];
            assert!(limit == *round || limit == round + 1, "{id}: {round} was said, {limit} is recorded");
        }
    }
    // All of them start again as they were, and nothing of their files is in doubt.
    runtime.block_on(async {
        let (session, torrents) = restored(dir.path()).await;
        let mut events = session.events();
        assert_eq!(torrents.len(), contents.len());
        for torrent in &torrents {
            assert_eq!(torrent.status().await.unwrap().activity, Activity::Cold { finished: true });
            soon(torrent.open()).await.unwrap();
            let status = torrent.status().await.unwrap();
            assert_eq!((status.activity, status.pieces_done), (Activity::Seeding, status.pieces));
            contents[&torrent.id()].assert_all(&files(&torrent.id()));
        }
        drop(torrents);
        end([session]).await;
        while let Some(event) = soon(events.next()).await {
            assert!(!matches!(event, Event::Checking { .. }), "{event:?}");
        }
    });
}
