//! Reading files while they are downloaded.

use std::io::SeekFrom;

use storage::Trouble;
use swarm::session::{AddOptions, Check, Event, FilesError, Reader, Selection};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncSeekExt};

use crate::world::{Content, add, end, event, seeder, session, soon};

const LENS: [usize; 2] = [50_000, 2_000_000];

fn content(seed: u64) -> Content {
    Content::folder(seed, &LENS, |builder| builder)
}

async fn rest(reader: &mut Reader) -> Vec<u8> {
    let mut bytes = Vec::new();
    soon(reader.read_to_end(&mut bytes)).await.unwrap();
    bytes
}

#[tokio::test]
async fn what_is_read_comes_before_the_rest() {
    let content = content(800);
    let (from, to) = (content.placed(), TempDir::new().unwrap());
    let (seed, _seeding) = seeder(&content, from.path()).await;
    let leech = session().await;
    let options = AddOptions {
        peers: seed.listening().to_vec(),
        down_limit: Some(250_000),
        ..AddOptions::download(content.meta.clone(), to.path())
    };
    let torrent = add(&leech, options).await;
    let whole = std::fs::read(from.path().join("things/odd/1.bin")).unwrap();
    let mut reader = torrent.reader(1).unwrap();
    assert_eq!(reader.len(), 2_000_000);
    soon(reader.seek(SeekFrom::End(-100_000))).await.unwrap();
    assert!(rest(&mut reader).await == whole[1_900_000..]);
    let status = torrent.status().await.unwrap();
    assert!(status.pieces_done < status.pieces * 3 / 4, "{status:?}");
    // A second one elsewhere; and the first goes back.
    let other = torrent.reader(0).unwrap();
    soon(reader.seek(SeekFrom::Start(0))).await.unwrap();
    torrent.set_limits(None, None).await.unwrap();
    assert!(rest(&mut reader).await == whole);
    assert_eq!(reader.position(), 2_000_000);
    let some = soon(other.read_at(40_000, 1 << 30)).await.unwrap();
    assert!((1..=10_000).contains(&some.len()));
    assert_eq!(soon(other.read_at(50_000, 1)).await.unwrap(), []);
    end([leech, seed]).await;
}

#[tokio::test]
async fn who_waits_is_told_when_nothing_comes_any_more() {
    let (content, to) = (content(801), TempDir::new().unwrap());
    let session = session().await;
    let options = AddOptions {
        files: Selection::Files(vec![1]),
        ..AddOptions::download(content.meta.clone(), to.path())
    };
    let torrent = add(&session, options).await;
    let none = torrent.reader(2).unwrap_err();
    assert_eq!(none, FilesError::NoSuchFile { index: 2, files: 2 });
    let skipped = soon(torrent.reader(0).unwrap().read_at(0, 1)).await.unwrap_err();
    assert_eq!(skipped, FilesError::NotWanted { index: 0 });
    let reader = torrent.reader(1).unwrap();
    let waiting = tokio::spawn(async move { reader.read_at(1_000_000, 10).await });
    let mut reader = torrent.reader(1).unwrap();
    let also = tokio::spawn(async move { reader.read_u8().await });
    tokio::task::yield_now().await;
    soon(torrent.remove()).await.unwrap();
    assert!(matches!(soon(waiting).await.unwrap(), Err(FilesError::Unavailable(_))));
    assert!(soon(also).await.unwrap().unwrap_err().to_string().contains("removed"));
    end([session]).await;
}

#[tokio::test]
async fn what_nobody_checked_is_checked_before_it_is_given() {
    let content = content(802);
    let from = content.placed();
    let path = from.path().join("things/odd/1.bin");
    let mut bytes = std::fs::read(&path).unwrap();
    bytes[1_000_000] ^= 1;
    std::fs::write(&path, &bytes).unwrap();
    let session = session().await;
    let options = AddOptions { check: Check::Never, ..AddOptions::seed(content.meta.clone(), from.path()) };
    let torrent = add(&session, options).await;
    let reader = torrent.reader(1).unwrap();
    assert!(soon(reader.read_at(0, 1000)).await.unwrap() == bytes[..1000]);
    let error = soon(reader.read_at(1_000_000, 1)).await.unwrap_err();
    assert_eq!(error, FilesError::Mismatch { piece: 1_050_000 / 32_768 });
    std::fs::remove_file(&path).unwrap();
    end([session]).await;
}

#[tokio::test]
async fn a_disk_that_fails_wakes_who_waits() {
    let content = content(803);
    let (from, to) = (content.placed(), TempDir::new().unwrap());
    let (seed, _seeding) = seeder(&content, from.path()).await;
    let leech = session().await;
    let mut events = leech.events();
    let options = AddOptions {
        down_limit: Some(200_000),
        ..AddOptions::download(content.meta.clone(), to.path().join("d"))
    };
    let torrent = add(&leech, options).await;
    let reader = torrent.reader(1).unwrap();
    let waiting = tokio::spawn(async move { reader.read_at(1_990_000, 10).await });
    std::fs::rename(to.path().join("d"), to.path().join("gone")).unwrap();
    torrent.add_peers(seed.listening().to_vec()).await.unwrap();
    event(&mut events, |event| matches!(event, Event::StorageFailed { .. })).await;
    let error = soon(waiting).await.unwrap().unwrap_err();
    assert!(matches!(&error, FilesError::Storage(error) if error.trouble() == Trouble::Gone), "{error}");
    end([leech, seed]).await;
}
