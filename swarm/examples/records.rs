//! How long it takes to know 10,000 torrents of 4,000 pieces and 200 files each after a start.
//!
//! `cargo run --release -p unchoke-swarm --example records -- <folder> [torrents]`

use std::error::Error;
use std::path::Path;
use std::time::Instant;

use metainfo::{InfoHashV1, InfoHashes};
use storage::record::{
    FileStamp, Flags, NAME_RULES, PieceSet, Record, Source, State, Store, Summary, Times, Totals,
};
use swarm::session::RedbStore;

const PIECES: u32 = 4000;
const FILES: u64 = 200;

fn main() -> Result<(), Box<dyn Error>> {
    let mut words = std::env::args().skip(1);
    let folder = words.next().ok_or("expected a folder to work in")?;
    let count: u32 = words.next().map_or(Ok(10_000), |word| word.parse())?;
    let path = Path::new(&folder).join("records.redb");
    if !path.exists() {
        let begun = Instant::now();
        let store = RedbStore::open(&path)?;
        for batch in (0..count).collect::<Vec<_>>().chunks(500) {
            store.save(&batch.iter().map(|n| record(*n)).collect::<Vec<_>>())?;
        }
        println!("{count} torrents written in {:?}", begun.elapsed());
        return Ok(());
    }
    println!("{} bytes", std::fs::metadata(&path)?.len());
    let begun = Instant::now();
    let store = RedbStore::open(&path)?;
    let opened = begun.elapsed();
    let listing = store.list()?;
    println!(
        "opened after {opened:?}, {} torrents known after {:?}",
        listing.summaries.len(),
        begun.elapsed()
    );
    let begun = Instant::now();
    let warmed = listing.summaries.iter().step_by(100);
    let mut pieces = 0;
    let mut loaded = 0_u32;
    for summary in warmed {
        let key = storage::record::Key { id: summary.hashes.id(), dir: summary.dir.clone() };
        pieces += store.load(&key)?.map_or(0, |record| record.state.pieces.count());
        loaded += 1;
    }
    println!("{loaded} loaded whole in {:?}, {pieces} pieces", begun.elapsed());
    let begun = Instant::now();
    store.save(&(0..100).map(|n| Record { source: None, ..record(n) }).collect::<Vec<_>>())?;
    println!("100 saved in {:?}", begun.elapsed());
    let status = std::fs::read_to_string("/proc/self/status")?;
    println!("{}", status.lines().find(|line| line.starts_with("VmHWM")).unwrap_or_default());
    Ok(())
}

/// Half of them are complete.
fn record(n: u32) -> Record {
    let mut hash = [0; 20];
    hash[..4].copy_from_slice(&n.wrapping_mul(0x9e37_79b9).to_be_bytes());
    let mut pieces = PieceSet::all(PIECES);
    if n.is_multiple_of(2) {
        (0..PIECES).step_by(3).for_each(|piece| pieces.set(piece, false));
    }
    let stamp = |file: u64| FileStamp {
        len: 5 << 20,
        mtime: 1_700_000_000_000_000_000 + file * 50_000_000,
        inode: 9000 + file,
    };
    let summary = Summary {
        generation: 1,
        hashes: InfoHashes::v1_only(InfoHashV1(hash)),
        name: format!("a torrent with a name of common length {n}"),
        dir: "/srv/torrents/incoming".into(),
        folder: None,
        flags: Flags { complete: pieces.is_full(), clean: true, ..Flags::default() },
        size: u64::from(PIECES) << 18,
        done: u64::from(pieces.count()) << 18,
        totals: Totals::default(),
        times: Times { added: 1_700_000_000_000, saved: 1_700_000_000_000, ..Times::default() },
        name_rules: NAME_RULES,
    };
    let state = State {
        generation: 1,
        pieces,
        stamps: (0..FILES).map(|file| Some(stamp(file))).collect(),
        ..State::new(PIECES)
    };
    // The size of its hashes and file list.
    let source = Source::Torrent(vec![n as u8; PIECES as usize * 20 + FILES as usize * 60]);
    Record { summary, state, source: Some(source) }
}
