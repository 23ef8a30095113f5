//! A program that is killed while it starts or saves 10,000 torrents.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use metainfo::{InfoHashV1, InfoHashes};
use storage::record::{Flags, NAME_RULES, Record, Source, State, Store, Summary, Times, Totals};
use swarm::session::RedbStore;

/// Names the database to the process that is killed.
const VARIABLE: &str = "UNCHOKE_TEST_DATABASE";
const NAME: &str = "killed::no_torrent_is_lost_when_a_start_or_a_save_of_all_is_killed";
const TORRENTS: u32 = 10_000;
/// Torrents that are saved in one transaction.
const BATCH: u32 = 2_000;
const KILLS: u64 = 12;

fn record(n: u32, generation: u64) -> Record {
    let mut hash = [0; 20];
    hash[..4].copy_from_slice(&n.to_be_bytes());
    let summary = Summary {
        generation,
        hashes: InfoHashes::v1_only(InfoHashV1(hash)),
        name: format!("torrent {n}"),
        dir: "/srv".into(),
        folder: None,
        flags: Flags::default(),
        size: 1,
        done: 0,
        totals: Totals::default(),
        times: Times::default(),
        name_rules: NAME_RULES,
        outline: None,
    };
    let source = (generation == 0).then(|| Source::Magnet(format!("magnet:?xt=urn:btih:{n}")));
    Record { summary, state: State { generation, ..State::new(1) }, source }
}

/// The process that is killed: saves all torrents again and again, and says so after each batch.
fn save_for_ever(path: &Path) -> ! {
    let store = RedbStore::open(path).unwrap();
    let from = store.list().unwrap().summaries.iter().map(|summary| summary.generation).max().unwrap();
    for generation in from + 1.. {
        for batch in (0..TORRENTS).collect::<Vec<_>>().chunks(BATCH as usize) {
            store.save(&batch.iter().map(|n| record(*n, generation)).collect::<Vec<_>>()).unwrap();
            println!("saved {generation} {}", batch[0]);
            std::io::stdout().flush().unwrap();
        }
    }
    unreachable!("generations do not end")
}

#[test]
fn no_torrent_is_lost_when_a_start_or_a_save_of_all_is_killed() {
    if let Some(path) = std::env::var_os(VARIABLE) {
        save_for_ever(Path::new(&path));
    }
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("session.redb");
    let store = RedbStore::open(&path).unwrap();
    store.save(&(0..TORRENTS).map(|n| record(n, 0)).collect::<Vec<_>>()).unwrap();
    drop(store);
    let mut seed = 0x9e37_79b9_7f4a_7c15_u64;
    for kill in 0..KILLS {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", NAME, "--nocapture"])
            .env(VARIABLE, &path)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        // Some while it opens the database, most while it saves.
        std::thread::sleep(Duration::from_millis(10 + (seed >> 40) % 700));
        child.kill().unwrap();
        child.wait().unwrap();
        let mut said = [0; (TORRENTS / BATCH) as usize];
        for line in BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok) {
            let Some((generation, first)) = line.strip_prefix("saved ").and_then(|rest| rest.split_once(' '))
            else {
                continue;
            };
            said[(first.parse::<u32>().unwrap() / BATCH) as usize] = generation.parse().unwrap();
        }
        let store = RedbStore::open(&path).unwrap();
        let listing = store.list().unwrap();
        assert!(
            store.damaged().is_none() && listing.problems.is_empty(),
            "kill {kill}: {:?}",
            listing.problems
        );
        assert_eq!(listing.summaries.len(), TORRENTS as usize, "kill {kill}");
        for batch in 0..TORRENTS / BATCH {
            let records = (batch * BATCH..(batch + 1) * BATCH).step_by(97);
            let found = records.map(|n| store.load(&record(n, 0).key()).unwrap().expect("it is there"));
            let found: Vec<_> = found.collect();
            let generation = found[0].summary.generation;
            assert!(generation >= said[batch as usize], "kill {kill}: what was said to be saved is");
            assert!(found.iter().all(|found| found.summary.generation == generation), "kill {kill}");
            assert!(found.iter().all(|found| matches!(found.source, Some(Source::Magnet(_)))), "kill {kill}");
        }
    }
}
