//! Magnets with a v2 hash: of hybrids, of v2-only torrents, and of two torrents at once (BEP 52).

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use metainfo::{InfoHashes, Magnet, Torrent as Meta, Version};
use storage::record::Store;
use swarm::engine::Activity;
use swarm::session::{AddError, AddOptions, Event, MagnetOptions, Session, SessionConfig};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use wire::peer::{ExtendedHandshake, Extensions, Handshake, Message, MetadataMessage};

use crate::magnets::{add_magnet, magnet, store};
use crate::world::{Content, add, config, end, event, seeder, session, soon};

/// A peer that gives the metadata of a torrent, by whatever name it is asked, and rejects all else.
async fn knows(meta: Arc<Meta>) -> SocketAddr {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let addr = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let meta = meta.clone();
            // Whoever has what it wants goes.
            tokio::spawn(async move { _ = tell(stream, meta.info_bytes()).await });
        }
    });
    addr
}

async fn tell(mut stream: TcpStream, info: &[u8]) -> std::io::Result<()> {
    let mut hello = [0; Handshake::LEN];
    stream.read_exact(&mut hello).await?;
    // The same, by another peer.
    hello[Handshake::LEN - 1] ^= 1;
    stream.write_all(&hello).await?;
    let mut said = Vec::new();
    let handshake = ExtendedHandshake {
        extensions: Extensions::from_iter([("ut_metadata", 9)]),
        metadata_size: Some(info.len() as u64),
        ..ExtendedHandshake::default()
    };
    handshake.encode(&mut said);
    extended(&mut stream, 0, &said).await?;
    let mut id = 0;
    loop {
        let mut message = vec![0; stream.read_u32().await? as usize];
        stream.read_exact(&mut message).await?;
        match message.get(..2) {
            Some([20, 0]) => {
                let their = ExtendedHandshake::parse(&message[2..]).unwrap();
                id = their.extensions.id("ut_metadata").unwrap();
            }
            Some([20, 9]) => {
                let asked = MetadataMessage::parse(&message[2..]).unwrap();
                let Some(MetadataMessage::Request { piece }) = asked else { continue };
                let data = info.chunks(16 << 10).nth(piece as usize).unwrap();
                let mut payload = Vec::new();
                let total_size = Some(info.len() as u64);
                MetadataMessage::Data { piece, total_size, data }.encode(&mut payload);
                extended(&mut stream, id, &payload).await?;
            }
            // A request for hashes, and its reject.
            Some([21, _]) => {
                message[0] = 23;
                stream.write_u32(message.len() as u32).await?;
                stream.write_all(&message).await?;
            }
            _ => {}
        }
    }
}

async fn extended(stream: &mut TcpStream, id: u8, payload: &[u8]) -> std::io::Result<()> {
    let mut bytes = Vec::new();
    Message::Extended { id, payload }.encode(&mut bytes);
    stream.write_all(&bytes).await
}

#[tokio::test]
async fn of_a_v2_only_torrent_the_metadata_come_alone_and_a_download_waits_for_its_piece_layers() {
    let content = Content::folder(40, &[100_000], |builder| builder.version(Version::V2));
    let hashes = *content.meta.info_hashes();
    let (to, at) = (TempDir::new().unwrap(), knows(content.meta.clone()).await);
    let named = Magnet { peers: vec![(at.ip().to_string(), at.port())], ..Magnet::new(hashes) };
    let leech = session().await;
    let torrent = add_magnet(&leech, MagnetOptions::metadata(named.clone())).await;
    let meta = soon(torrent.wait_metadata()).await.unwrap();
    assert_eq!((meta.info_bytes(), torrent.id()), (content.meta.info_bytes(), hashes.id()));
    assert!(!meta.has_piece_layers(), "nobody gave them");
    soon(torrent.remove()).await.unwrap();
    let folder = to.path().join("folder");
    let torrent = add_magnet(&leech, MagnetOptions::download(named, &folder)).await;
    let awaits = Activity::Layers { have: 0, requests: 1, peers: 0 };
    soon(async {
        while torrent.status().await.unwrap().activity != awaits {
            tokio::task::yield_now().await;
        }
    })
    .await;
    assert!(!folder.exists(), "nothing was made");
    // Its torrent file has them.
    let fed = leech.add(AddOptions::download(content.meta.clone(), &folder));
    soon(fed).await.unwrap();
    assert!(folder.exists() && torrent.meta().unwrap().has_piece_layers());
    soon(torrent.remove()).await.unwrap();
    end([leech]).await;
}

#[tokio::test]
async fn the_metadata_of_a_torrent_come_with_its_piece_layers() {
    for (seed, version) in [(41, Version::Hybrid), (42, Version::V2)] {
        let content = Content::folder(seed, &[100_000, 300_000, 9], |builder| builder.version(version));
        let from = content.placed();
        let (seed, _seeding) = seeder(&content, from.path()).await;
        let leech = session().await;
        let known = InfoHashes::v2_only(content.meta.info_hashes().v2().unwrap());
        let named = Magnet { info_hashes: known, ..magnet(&content, &seed) };
        let torrent = add_magnet(&leech, MagnetOptions::metadata(named)).await;
        let meta = soon(torrent.wait_metadata()).await.unwrap();
        assert!(meta.has_piece_layers(), "{version:?}");
        assert_eq!((meta.id(), torrent.id()), (content.meta.id(), content.meta.id()));
        for (file, _) in meta.layout().files().iter().enumerate() {
            assert_eq!(meta.piece_layer(file), content.meta.piece_layer(file));
        }
        end([leech, seed]).await;
    }
}

#[tokio::test]
async fn a_v2_only_torrent_is_downloaded_by_its_hash_alone() {
    let content = Content::folder(43, &[100_000, 300_000, 9, 0], |b| b.version(Version::V2));
    let (from, to) = (content.placed(), TempDir::new().unwrap());
    let (seed, _seeding) = seeder(&content, from.path()).await;
    let leech = session().await;
    let named = magnet(&content, &seed);
    let torrent = add_magnet(&leech, MagnetOptions::download(named.clone(), to.path())).await;
    soon(torrent.wait_complete()).await.unwrap();
    content.assert_all(to.path());
    assert!(torrent.meta().unwrap().has_piece_layers());
    // Who got it this way gives it on.
    let (third, other) = (session().await, TempDir::new().unwrap());
    let torrent = add_magnet(&third, MagnetOptions::download(magnet(&content, &leech), other.path())).await;
    soon(torrent.wait_complete()).await.unwrap();
    content.assert_all(other.path());
    end([leech, seed, third]).await;
}

#[tokio::test]
async fn a_link_that_names_two_torrents_is_refused_and_nobody_is_blamed() {
    let content = Content::folder(36, &[100_000], |builder| builder.version(Version::Hybrid));
    let (from, to) = (content.placed(), TempDir::new().unwrap());
    let (seed, _seeding) = seeder(&content, from.path()).await;
    let leech = session().await;
    let mut events = leech.events();
    let hashes = content.meta.info_hashes();
    let wrong = InfoHashes::hybrid(hashes.v1().unwrap(), metainfo::InfoHashV2([7; 32]));
    let named = Magnet { info_hashes: wrong, ..magnet(&content, &seed) };
    add_magnet(&leech, MagnetOptions::download(named, to.path())).await;
    let refused = event(&mut events, |event| {
        assert!(!matches!(event, Event::PeerBanned { .. }), "it gave what it has");
        matches!(event, Event::Refused { .. })
    });
    let error = AddError::TwoTorrents(wrong);
    assert_eq!(refused.await, Event::Refused { torrent: content.meta.id(), error });
    event(&mut events, |event| matches!(event, Event::Removed { .. })).await;
    let torrent = add_magnet(&leech, MagnetOptions::download(magnet(&content, &seed), to.path())).await;
    soon(torrent.wait_complete()).await.unwrap();
    content.assert_all(to.path());
    end([leech, seed]).await;
}

#[tokio::test]
async fn a_hybrid_that_is_named_by_its_v2_hash_alone_goes_by_its_v1_hash_once_it_is_known() {
    let content = Content::folder(37, &[100_000, 300_000], |builder| builder.version(Version::Hybrid));
    let (from, to) = (content.placed(), TempDir::new().unwrap());
    let (seed, _seeding) = seeder(&content, from.path()).await;
    let records = TempDir::new().unwrap();
    let store = store(records.path());
    let leech = Session::start(SessionConfig { store: Some(store.clone()), ..config() }).await.unwrap();
    let mut events = leech.events();
    let v2 = content.meta.info_hashes().v2().unwrap();
    let named = Magnet { info_hashes: InfoHashes::v2_only(v2), ..magnet(&content, &seed) };
    let torrent = add_magnet(&leech, MagnetOptions::download(named.clone(), to.path())).await;
    let renamed = event(&mut events, |event| matches!(event, Event::Renamed { .. })).await;
    let id = content.meta.id();
    assert_eq!(renamed, Event::Renamed { torrent: id, from: v2.truncated() });
    soon(torrent.wait_complete()).await.unwrap();
    content.assert_all(to.path());
    assert_eq!((torrent.id(), torrent.name().as_str()), (id, "things"));
    let by_either = [id, v2.truncated()].map(|id| leech.torrent(id).unwrap().id());
    assert_eq!((by_either, leech.torrents().len()), ([id; 2], 1));
    let again = soon(leech.add_magnet(MagnetOptions::download(named, to.path()))).await;
    assert_eq!(again.unwrap_err(), AddError::Duplicate(v2.truncated()));
    let recorded = || store.list().unwrap().summaries;
    soon(async {
        while recorded().len() != 1 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    assert_eq!(recorded()[0].hashes, *content.meta.info_hashes(), "it is recorded by its name alone");
    soon(torrent.remove()).await.unwrap();
    assert!(leech.torrents().is_empty() && recorded().is_empty());
    end([leech, seed]).await;
}

#[tokio::test]
async fn the_torrent_file_of_what_is_looked_for_by_its_v2_hash_is_taken() {
    let content = Content::folder(38, &[100_000], |builder| builder.version(Version::Hybrid));
    let from = content.placed();
    let session = session().await;
    let v2 = InfoHashes::v2_only(content.meta.info_hashes().v2().unwrap());
    let torrent = add_magnet(&session, MagnetOptions::metadata(Magnet::new(v2))).await;
    let fed = add(&session, AddOptions::seed(content.meta.clone(), from.path())).await;
    soon(torrent.wait_complete()).await.unwrap();
    assert_eq!((torrent.id(), fed.id(), session.torrents().len()), (fed.id(), content.meta.id(), 1));
    end([session]).await;
}

#[tokio::test]
async fn a_hybrid_is_run_by_its_v1_side_and_both_hashes_count() {
    let content = Content::folder(38, &[100_000, 70_000], |b| b.version(Version::Hybrid));
    let (from, to) = (content.placed(), TempDir::new().unwrap());
    let (seed, _seeding) = seeder(&content, from.path()).await;
    let (v1, v2) = (content.meta.info_hashes().v1().unwrap(), content.meta.info_hashes().v2().unwrap());
    let leech = session().await;
    for hashes in [InfoHashes::hybrid(v1, v2), InfoHashes::v1_only(v1)] {
        let named = Magnet { info_hashes: hashes, ..magnet(&content, &seed) };
        let torrent = add_magnet(&leech, MagnetOptions::download(named, to.path())).await;
        soon(torrent.wait_complete()).await.unwrap();
        content.assert_all(to.path());
        soon(torrent.remove()).await.unwrap();
    }
    end([leech, seed]).await;
}
