use std::io::{Read, Write};
use std::net::{Ipv6Addr, SocketAddr, TcpStream};
use std::time::Duration;

use storage::Allocation;
use swarm::session::{AddOptions, Check, Event, Selection, Session, SessionConfig};
use tempfile::TempDir;
use wire::peer::{Handshake, Message, PeerId, Request, Reserved};

use crate::world::{Content, add, config, end, event, seeder, session, soon};

#[tokio::test]
async fn two_sessions_transfer_a_folder() {
    let content = Content::folder(1, &[300_000, 0, 70_001, 1], |builder| builder);
    let (from, to) = (content.placed(), TempDir::new().unwrap());
    let (seed, seeding) = seeder(&content, from.path()).await;
    assert!(seeding.status().await.unwrap().activity.is_seeding());
    let leech = session().await;
    let mut events = leech.events();
    let options = AddOptions {
        peers: seed.listening().to_vec(),
        ..AddOptions::download(content.meta.clone(), to.path().join("new/folder"))
    };
    let torrent = add(&leech, options).await;
    soon(torrent.wait_complete()).await.unwrap();
    content.assert_all(&to.path().join("new/folder"));

    let id = content.meta.id();
    assert_eq!(event(&mut events, |_| true).await, Event::Added { torrent: id });
    let mut pieces = 0;
    let last = event(&mut events, |event| {
        pieces += u32::from(matches!(event, Event::PieceDone { .. }));
        matches!(event, Event::Complete { .. })
    });
    assert_eq!(last.await, Event::Complete { torrent: id });
    assert_eq!(pieces, content.meta.geometry().piece_count());

    let files = torrent.files().await.unwrap();
    assert!(files.iter().all(|file| file.done == file.length), "{files:?}");
    let status = torrent.status().await.unwrap();
    assert_eq!((status.done, status.totals.downloaded), (370_002, 370_002));
    assert_eq!(seeding.status().await.unwrap().totals.uploaded, 370_002);
    end([leech, seed]).await;
}

/// A session on a free port of the IPv6 loopback; `None` on a machine without IPv6.
async fn session_v6() -> Option<Session> {
    let listen = vec![SocketAddr::from((Ipv6Addr::LOCALHOST, 0))];
    if let Err(error) = std::net::TcpListener::bind(&listen[..]) {
        eprintln!("skipped, no IPv6 here: {error}");
        return None;
    }
    Some(Session::start(SessionConfig { listen, ..config() }).await.unwrap())
}

#[tokio::test]
async fn sessions_transfer_over_ipv6() {
    let content = Content::folder(7, &[300_000, 40_000], |builder| builder);
    let (from, to) = (content.placed(), TempDir::new().unwrap());
    let (Some(seed), Some(leech)) = (session_v6().await, session_v6().await) else { return };
    add(&seed, AddOptions::seed(content.meta.clone(), from.path())).await;
    let options = AddOptions {
        peers: seed.listening().to_vec(),
        ..AddOptions::download(content.meta.clone(), to.path())
    };
    let torrent = add(&leech, options).await;
    soon(torrent.wait_complete()).await.unwrap();
    content.assert_all(to.path());
    assert!(seed.listening()[0].is_ipv6());
    end([leech, seed]).await;
}

#[tokio::test]
async fn a_transfer_takes_its_room_when_it_is_told_to() {
    let content = Content::folder(8, &[3_000_000, 0, 70_001], |builder| builder);
    let from = content.placed();
    let (seed, _seeding) = seeder(&content, from.path()).await;
    let leech = session().await;
    for allocation in [Allocation::Full, Allocation::None] {
        let to = TempDir::new().unwrap();
        let options = AddOptions {
            peers: seed.listening().to_vec(),
            allocation,
            ..AddOptions::download(content.meta.clone(), to.path())
        };
        let torrent = add(&leech, options).await;
        soon(torrent.wait_complete()).await.unwrap();
        content.assert_all(to.path());
        torrent.remove().await.unwrap();
    }
    end([leech, seed]).await;
}

#[tokio::test]
async fn a_hybrid_runs_on_its_v1_side() {
    let hybrid = |builder: metainfo::Builder| builder.version(metainfo::Version::Hybrid);
    let content = Content::folder(2, &[100_000, 50_000, 40_000], hybrid);
    let (from, to) = (content.placed(), TempDir::new().unwrap());
    let (seed, _seeding) = seeder(&content, from.path()).await;
    let leech = session().await;
    let options = AddOptions {
        peers: seed.listening().to_vec(),
        ..AddOptions::download(content.meta.clone(), to.path())
    };
    let torrent = add(&leech, options).await;
    soon(torrent.wait_complete()).await.unwrap();
    content.assert_all(to.path());
    assert_eq!(torrent.files().await.unwrap().len(), 3, "pads are not shown");
    let status = torrent.status().await.unwrap();
    assert_eq!((status.wanted, status.done), (190_000, 190_000), "nor counted");
    assert!(status.totals.downloaded < 190_000 + 3 * 16_384, "nor asked for: {status:?}");
    end([leech, seed]).await;
}

#[tokio::test]
async fn what_is_there_is_checked_and_only_the_rest_is_fetched() {
    let content = Content::folder(3, &[200_000, 200_000], |builder| builder);
    let (from, to) = (content.placed(), content.placed());
    let broken = to.path().join(content.meta.layout().files()[1].path.as_str());
    let mut bytes = std::fs::read(&broken).unwrap();
    bytes[100_000] ^= 1;
    bytes.truncate(150_000);
    std::fs::write(&broken, bytes).unwrap();

    let (seed, _seeding) = seeder(&content, from.path()).await;
    let leech = session().await;
    let mut events = leech.events();
    let torrent = add(&leech, AddOptions::download(content.meta.clone(), to.path())).await;
    let checked = event(&mut events, |event| matches!(event, Event::Checking { done: 400_000, .. })).await;
    assert_eq!(checked, Event::Checking { torrent: content.meta.id(), done: 400_000, total: 400_000 });
    let before = torrent.status().await.unwrap();
    // Of 13 pieces, the one with the wrong byte and the three behind the end are missing.
    assert_eq!((before.pieces_done, before.pieces), (9, 13));
    torrent.add_peers(seed.listening().to_vec()).await.unwrap();
    soon(torrent.wait_complete()).await.unwrap();
    content.assert_all(to.path());
    let missing = before.wanted - before.done;
    assert_eq!(torrent.status().await.unwrap().totals.downloaded, missing);
    end([leech, seed]).await;
}

#[tokio::test]
async fn a_finished_download_is_complete_after_a_restart() {
    let content = Content::folder(4, &[150_000, 20_000], |builder| builder);
    let (from, to) = (content.placed(), TempDir::new().unwrap());
    let (seed, _seeding) = seeder(&content, from.path()).await;
    let first = session().await;
    let mut options = AddOptions::download(content.meta.clone(), to.path());
    options.peers = seed.listening().to_vec();
    soon(add(&first, options.clone()).await.wait_complete()).await.unwrap();
    end([first, seed]).await;

    for check in [Check::Auto, Check::Always] {
        let again = session().await;
        let mut events = again.events();
        let torrent = add(&again, AddOptions { check, ..options.clone() }).await;
        event(&mut events, |event| matches!(event, Event::Complete { .. })).await;
        assert!(torrent.status().await.unwrap().activity.is_seeding());
        end([again]).await;
    }
    // What a download that never looks finds, it fetches; what a seed that never looks finds, it trusts.
    let again = session().await;
    let never = AddOptions { check: Check::Never, peers: Vec::new(), ..options.clone() };
    assert_eq!(add(&again, never.clone()).await.status().await.unwrap().pieces_done, 0);
    end([again]).await;
    let again = session().await;
    let seed = AddOptions { create: false, ..never };
    assert!(add(&again, seed).await.status().await.unwrap().activity.is_seeding());
    end([again]).await;
}

#[tokio::test]
async fn only_chosen_files_are_fetched_and_others_later() {
    let content = Content::folder(5, &[100_000, 300_000, 100_000], |builder| builder);
    let (from, to) = (content.placed(), TempDir::new().unwrap());
    let (seed, _seeding) = seeder(&content, from.path()).await;
    let leech = session().await;
    let options = AddOptions {
        peers: seed.listening().to_vec(),
        files: Selection::Files(vec![2]),
        ..AddOptions::download(content.meta.clone(), to.path())
    };
    let torrent = add(&leech, options).await;
    soon(torrent.wait_complete()).await.unwrap();
    content.assert_files(to.path(), &[2]);
    let first = to.path().join(content.meta.layout().files()[0].path.as_str());
    assert!(!first.exists(), "nothing of the first file was asked for");
    let files = torrent.files().await.unwrap();
    assert_eq!((files[0].done, files[2].done), (0, 100_000));
    let status = torrent.status().await.unwrap();
    assert!(status.done < 140_000 && status.done == status.wanted, "{status:?}");

    torrent.select(&Selection::Files(vec![0, 2])).await.unwrap();
    soon(torrent.wait_complete()).await.unwrap();
    content.assert_files(to.path(), &[0, 2]);
    torrent.select(&Selection::All).await.unwrap();
    soon(torrent.wait_complete()).await.unwrap();
    content.assert_all(to.path());
    end([leech, seed]).await;
}

#[tokio::test]
async fn a_seed_of_a_part_serves_it_and_fetches_nothing() {
    let content = Content::folder(6, &[100_000, 100_000], |builder| builder);
    let (part, whole, to) = (content.placed(), content.placed(), TempDir::new().unwrap());
    std::fs::remove_file(part.path().join(content.meta.layout().files()[1].path.as_str())).unwrap();
    let (partial, seeding) = seeder(&content, part.path()).await;
    let (full, _seeding) = seeder(&content, whole.path()).await;
    seeding.add_peers(full.listening().to_vec()).await.unwrap();
    let leech = session().await;
    let options = AddOptions {
        peers: partial.listening().to_vec(),
        files: Selection::Files(vec![0]),
        ..AddOptions::download(content.meta.clone(), to.path())
    };
    let torrent = add(&leech, options).await;
    // The piece in which the second file begins is missing at the seed.
    let pieces = content.meta.geometry().piece_length();
    let there = 100_000 / pieces;
    let mut events = leech.events();
    while torrent.status().await.unwrap().pieces_done < there {
        event(&mut events, |event| matches!(event, Event::PieceDone { .. })).await;
    }
    let status = seeding.status().await.unwrap();
    assert_eq!((status.totals.downloaded, status.activity.is_seeding()), (0, true));
    end([leech, partial, full]).await;
}

#[tokio::test]
async fn limits_hold_a_transfer_back() {
    let content = Content::folder(7, &[400_000], |builder| builder);
    let (from, to) = (content.placed(), TempDir::new().unwrap());
    let (seed, seeding) = seeder(&content, from.path()).await;
    seeding.set_limits(None, Some(400_000)).await.unwrap();
    let leech = session().await;
    let options = AddOptions {
        peers: seed.listening().to_vec(),
        ..AddOptions::download(content.meta.clone(), to.path())
    };
    let begun = std::time::Instant::now();
    let torrent = add(&leech, options).await;
    soon(torrent.wait_complete()).await.unwrap();
    // A second at that rate, less what the limiter lets through at once at the start.
    assert!(begun.elapsed() > std::time::Duration::from_millis(500), "{:?}", begun.elapsed());
    end([leech, seed]).await;
}

/// The page cache answers within the turn that brought the request. What it gave has to be sent although nothing
/// else happens at the seed.
#[tokio::test]
async fn a_seed_that_nothing_else_wakes_sends_what_was_asked_for() {
    let content = Content::folder(7, &[100_000], |builder| builder);
    let from = content.placed();
    let (seed, _seeding) = seeder(&content, from.path()).await;
    let (addr, info_hash) = (seed.listening()[0], content.meta.id().0);
    // Its next timer is the choker's round, ten seconds later.
    let first = Request { index: 0, begin: 0, len: 16 * 1024 };
    let answers = tokio::task::spawn_blocking(move || ask_by_hand(addr, info_hash, &[first])).await.unwrap();
    assert_eq!(answers[0].1.len(), 16 * 1024);
    end([seed]).await;
}

#[tokio::test]
async fn any_range_of_128_kib_or_less_within_a_piece_is_served() {
    const PIECE: u32 = 256 << 10;
    let content = Content::folder(9, &[600_000], |builder| builder.piece_length(PIECE));
    let from = content.placed();
    let (seed, _seeding) = seeder(&content, from.path()).await;
    let (addr, info_hash) = (seed.listening()[0], content.meta.id().0);
    let last = 600_000 - 2 * PIECE;
    let requests = [
        (0, 5, 32_763),
        (0, 1, 1),
        (0, PIECE - 1, 1),
        (0, 0, 128 << 10),
        (1, PIECE - (128 << 10), 128 << 10),
        (1, 12_345, (128 << 10) - 1),
        (2, 0, last),
        (2, last - 1, 1),
        (2, 16_383, 16_386),
    ]
    .map(|(index, begin, len)| Request { index, begin, len });
    let answers = tokio::task::spawn_blocking(move || ask_by_hand(addr, info_hash, &requests)).await.unwrap();
    let whole = std::fs::read(from.path().join("things/even/0.bin")).unwrap();
    let mut asked: Vec<_> = requests.iter().map(|r| (r.index, r.begin, r.len)).collect();
    for ((index, begin), bytes) in answers {
        let len = u32::try_from(bytes.len()).unwrap();
        let at = asked.iter().position(|request| *request == (index, begin, len)).expect("it was asked for");
        asked.remove(at);
        let start = (index * PIECE + begin) as usize;
        assert!(bytes == whole[start..start + bytes.len()], "{index} {begin} {len}");
    }
    assert_eq!(asked, []);
    end([seed]).await;
}

/// Asks for these ranges once it may; what comes for each, by piece and begin.
fn ask_by_hand(addr: SocketAddr, info_hash: [u8; 20], requests: &[Request]) -> Vec<((u32, u32), Vec<u8>)> {
    let mut answers = Vec::new();
    let mut stream = TcpStream::connect(addr).unwrap();
    // Before the timer that would wake it.
    stream.set_read_timeout(Some(Duration::from_secs(9))).unwrap();
    let peer_id = PeerId(*b"-XX0001-aaaaaaaaaaaa");
    let hello = Handshake { reserved: Reserved([0; 8]), info_hash, peer_id };
    stream.write_all(&hello.encode()).unwrap();
    let mut theirs = [0; 68];
    stream.read_exact(&mut theirs).unwrap();
    stream.write_all(&[0, 0, 0, 1, 2]).unwrap();
    loop {
        let (id, body) = message(&mut stream);
        match id {
            // Unchoke.
            Some(1) => {
                let mut bytes = Vec::new();
                requests.iter().for_each(|request| Message::Request(*request).encode(&mut bytes));
                stream.write_all(&bytes).unwrap();
            }
            // Piece: index and begin, then the bytes.
            Some(7) => {
                let number = |at: usize| u32::from_be_bytes(body[at..at + 4].try_into().unwrap());
                answers.push(((number(0), number(4)), body[8..].to_vec()));
                if answers.len() == requests.len() {
                    return answers;
                }
            }
            _ => {}
        }
    }
}

/// The next message: its id, unless it is a keep-alive, and its body.
fn message(stream: &mut TcpStream) -> (Option<u8>, Vec<u8>) {
    let mut len = [0; 4];
    stream.read_exact(&mut len).unwrap();
    let mut bytes = vec![0; u32::from_be_bytes(len) as usize];
    stream.read_exact(&mut bytes).unwrap();
    match bytes.split_first() {
        Some((id, body)) => (Some(*id), body.to_vec()),
        None => (None, Vec::new()),
    }
}
