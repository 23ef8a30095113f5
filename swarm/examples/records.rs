//! How long it takes to know and to run 10,000 torrents of 4,000 pieces and 200 files each after a start, without opening them.
//!
//! `cargo run --release -p unchoke-swarm --example records -- <folder> [torrents]`, once to write the records, and again to
//! measure; in between `dd of=<folder>/records.redb oflag=nocache conv=notrunc,fdatasync count=0` takes them out of the page cache.

use std::error::Error;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use metainfo::{InfoHashV1, InfoHashes};
use storage::record::{
    FileStamp, FileStore, Flags, NAME_RULES, Outline, PieceSet, Record, Source, State, Store, Summary, Times,
    Totals, Tracker,
};
use swarm::engine::Activity;
use swarm::engine::changes::Columns;
use swarm::session::{RedbStore, Session, SessionConfig};

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
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(run(&path))?;
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
    println!("{}", memory("VmHWM")?);
    Ok(())
}

/// A session with all of them, running and not open.
async fn run(path: &Path) -> Result<(), Box<dyn Error>> {
    let begun = Instant::now();
    let beside = FileStore::open(path.with_file_name("transfers"))?;
    let store = RedbStore::open(path)?.beside(beside)?;
    let opened = begun.elapsed();
    let listen = vec!["127.0.0.1:0".parse()?];
    let store = Some(Arc::new(store) as Arc<dyn Store>);
    let session = Session::start(SessionConfig { listen, store, ..SessionConfig::default() }).await?;
    let restored = session.restore_all().await?;
    let running = begun.elapsed();
    println!(
        "opened after {opened:?}, {} torrents run after {running:?}, {} do not",
        restored.torrents.len(),
        restored.refused.len() + restored.problems.len()
    );
    let changes = session.changes_since(0, Columns::ALL).await?;
    let is_cold = |activity: &Activity| matches!(activity, Activity::Cold { .. });
    let cold = changes
        .upserts
        .iter()
        .filter(|change| change.status.as_ref().is_some_and(|status| is_cold(&status.activity)));
    println!("{} of them shown as not open after {:?}, {}", cold.count(), begun.elapsed(), memory("VmRSS")?);
    drop((changes, restored));
    let begun = Instant::now();
    session.shutdown(Duration::from_secs(60)).await?;
    println!("ended in {:?}", begun.elapsed());
    Ok(())
}

fn memory(what: &str) -> std::io::Result<String> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    Ok(status.lines().find(|line| line.starts_with(what)).unwrap_or_default().to_owned())
}

/// All but one of a hundred are complete.
fn record(n: u32) -> Record {
    let mut hash = [0; 20];
    hash[..4].copy_from_slice(&n.wrapping_mul(0x9e37_79b9).to_be_bytes());
    let mut pieces = PieceSet::all(PIECES);
    if n.is_multiple_of(100) {
        (0..PIECES).step_by(3).for_each(|piece| pieces.set(piece, false));
    }
    let stamp = |file: u64| FileStamp {
        len: 5 << 20,
        mtime: 1_700_000_000_000_000_000 + file * 50_000_000,
        inode: 9000 + file,
        ctime: 1_700_000_000_000_000_000 + file * 50_000_000 + 1_000_000,
        attributes: 0x1234_5678,
    };
    let summary = Summary {
        generation: 1,
        hashes: InfoHashes::v1_only(InfoHashV1(hash)),
        name: format!("a torrent with a name of common length {n}"),
        dir: "/srv/torrents/incoming".into(),
        folder: None,
        flags: Flags {
            complete: pieces.is_full(),
            finished: pieces.is_full(),
            clean: true,
            // Nor is one opened that is not complete.
            paused: !pieces.is_full(),
            ..Flags::default()
        },
        size: u64::from(PIECES) << 18,
        done: u64::from(pieces.count()) << 18,
        totals: Totals::default(),
        times: Times { added: 1_700_000_000_000, saved: 1_700_000_000_000, ..Times::default() },
        name_rules: NAME_RULES,
        outline: Some(outline(n, pieces.count())),
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

/// Two trackers, which are not to be asked while this runs.
fn outline(n: u32, pieces_done: u32) -> Outline {
    let tracker = |host: &str| Tracker {
        url: format!("http://{host}.example.org/announce?passkey=0123456789abcdef0123456789abcdef"),
        id: None,
        next: Some(u64::MAX),
        works: true,
    };
    Outline {
        pieces: PIECES,
        pieces_done,
        trackers: vec![(0, tracker("one")), (1, tracker("two"))],
        names: vec![format!("a torrent with a name of common length {n}").into()],
        ..Outline::default()
    }
}
