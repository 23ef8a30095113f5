//! What a round of saves costs in a session of 1,000 torrents of which 10 changed, then all.
//!
//! `cargo run --release -p unchoke-swarm --example save_round -- <folder> [torrents] [changed]`

use std::error::Error;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use metainfo::{Builder, Torrent};
use storage::record::{Key, Lease, Listing, Record, Store, StoreError};
use swarm::session::{AddOptions, Check, PieceOrder, RedbStore, Session, SessionConfig};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut words = std::env::args().skip(1);
    let folder = words.next().ok_or("expected a folder to work in")?;
    let count: usize = words.next().map_or(Ok(1000), |word| word.parse())?;
    let changed: usize = words.next().map_or(Ok(10), |word| word.parse())?;
    let folder = Path::new(&folder);
    let store = Arc::new(Counting::new(RedbStore::open(folder.join("session.redb"))?));
    let config = SessionConfig { store: Some(store.clone()), ..SessionConfig::default() };
    let session =
        Session::start(SessionConfig { listen: vec![([127, 0, 0, 1], 0).into()], ..config }).await?;
    let begun = Instant::now();
    for n in 0..count {
        let options = AddOptions::seed(torrent(folder, n)?, folder);
        session.add(AddOptions { check: Check::Never, ..options }).await?;
    }
    println!("{count} torrents added in {:?}: {}", begun.elapsed(), store.take());
    for (changed, order) in [(changed, PieceOrder::Sequential), (count, PieceOrder::FirstLast)] {
        let begun = Instant::now();
        for torrent in session.torrents().iter().take(changed) {
            torrent.set_order(order).await?;
        }
        while store.records.load(Ordering::Relaxed) < changed {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        println!("{changed} of {count} changed, recorded after {:?}: {}", begun.elapsed(), store.take());
    }
    let begun = Instant::now();
    session.shutdown(Duration::from_secs(60)).await?;
    println!("shut down in {:?}: {}", begun.elapsed(), store.take());
    Ok(())
}

/// A torrent of four files of 40 KiB, which are there.
fn torrent(folder: &Path, n: usize) -> Result<Arc<Torrent>, Box<dyn Error>> {
    let name = format!("torrent-{n}");
    let mut builder = Builder::folder(&name).piece_length(32 * 1024);
    for file in 0..4 {
        let path = folder.join(&name).join(file.to_string());
        std::fs::create_dir_all(folder.join(&name))?;
        std::fs::write(path, vec![u8::try_from(n % 251)?; 40_960])?;
        builder = builder.file([file.to_string()], 40_960);
    }
    let mut feed = builder.prepare()?.feed();
    (0..4).try_for_each(|_| u8::try_from(n % 251).map(|byte| feed.update(&vec![byte; 40_960])))?;
    Ok(Arc::new(Torrent::parse(&feed.finish()?)?))
}

/// Counts what is saved.
#[derive(Debug)]
struct Counting {
    store: RedbStore,
    transactions: AtomicUsize,
    records: AtomicUsize,
    spent: Mutex<Duration>,
}

impl Counting {
    fn new(store: RedbStore) -> Self {
        Self {
            store,
            transactions: AtomicUsize::new(0),
            records: AtomicUsize::new(0),
            spent: Mutex::default(),
        }
    }

    fn take(&self) -> String {
        let (records, transactions) =
            (self.records.swap(0, Ordering::Relaxed), self.transactions.swap(0, Ordering::Relaxed));
        let spent = self.spent.lock().map(|mut spent| std::mem::take(&mut *spent)).unwrap_or_default();
        format!("{records} records in {transactions} transactions, {spent:?} in the store")
    }
}

impl Store for Counting {
    fn list(&self) -> Result<Listing, StoreError> {
        self.store.list()
    }
    fn load(&self, key: &Key) -> Result<Option<Record>, StoreError> {
        self.store.load(key)
    }
    fn save(&self, records: &[Record]) -> Result<(), StoreError> {
        let begun = Instant::now();
        let saved = self.store.save(records);
        if let Ok(mut spent) = self.spent.lock() {
            *spent += begun.elapsed();
        }
        self.transactions.fetch_add(1, Ordering::Relaxed);
        self.records.fetch_add(records.len(), Ordering::Relaxed);
        saved
    }
    fn remove(&self, key: &Key) -> Result<(), StoreError> {
        self.store.remove(key)
    }
    fn lease(&self, key: &Key) -> Result<Lease, StoreError> {
        self.store.lease(key)
    }
}
