use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use swarm::engine::dht::{Announce, DhtEvent, Id, Mutable, PutMutable};
use swarm::session::{AddOptions, Bootstrap, Dht, DhtSettings, Session, SessionConfig};
use tempfile::TempDir;

use crate::world::{Content, PATIENCE, add, end, soon};

/// A session on a loopback address of its own, since nodes keep one node for each address.
async fn node(last: u8, bootstrap: &[SocketAddr]) -> Session {
    start(last, DhtSettings { bootstrap: named(bootstrap), ..DhtSettings::default() }).await
}

fn named(nodes: &[SocketAddr]) -> Bootstrap {
    Bootstrap::Nodes(nodes.iter().map(|addr| (addr.ip().to_string(), addr.port())).collect())
}

async fn start(last: u8, dht: DhtSettings) -> Session {
    let listen = vec![SocketAddr::from((Ipv4Addr::new(127, 0, 77, last), 0))];
    Session::start(SessionConfig { listen, dht: Some(dht), ..SessionConfig::default() }).await.unwrap()
}

fn address(session: &Session) -> SocketAddr {
    session.dht().unwrap().addresses()[0]
}

/// This many sessions that know the first one.
async fn network(from: u8, count: u8) -> Vec<Session> {
    let first = node(from, &[]).await;
    let known = [address(&first)];
    let mut sessions = vec![first];
    for i in 1..count {
        sessions.push(node(from + i, &known).await);
    }
    for session in &sessions[1..] {
        assert!(session.dht().unwrap().ready(PATIENCE).await);
    }
    sessions
}

async fn peers(dht: &Dht, hash: Id) -> Vec<SocketAddr> {
    let mut lookup = dht.get_peers(hash, None).await.unwrap();
    let mut found = Vec::new();
    while let Some(event) = soon(lookup.next()).await {
        if let DhtEvent::Peers { peers, .. } = event {
            found.extend(peers);
        }
    }
    found
}

#[tokio::test]
async fn a_peer_that_one_session_announces_is_found_by_another() {
    let sessions = network(1, 5).await;
    let hash = Id([7; 20]);
    let announce = Announce { port: 4711, implied_port: false, seed: true };
    let stats = soon(sessions[1].dht().unwrap().announce(hash, announce)).await.unwrap();
    assert!(stats.stored >= 3, "{stats:?}");
    let expected: SocketAddr = "127.0.77.2:4711".parse().unwrap();
    assert_eq!(soon(peers(&sessions[4].dht().unwrap(), hash)).await, [expected]);
    assert_eq!(soon(peers(&sessions[3].dht().unwrap(), Id([8; 20]))).await, []);
    let scrape = soon(sessions[2].dht().unwrap().scrape(hash)).await.unwrap().unwrap();
    assert!((0.5..1.5).contains(&scrape.seeds) && scrape.peers < 0.5, "{scrape:?}");
    end(sessions).await;
}

#[path = "../../examples/dht_lookup.rs"]
mod dht_lookup;

#[tokio::test]
async fn the_example_over_a_plain_socket_finds_what_a_session_announces() {
    let sessions = network(61, 2).await;
    let announce = Announce { port: 4711, implied_port: false, seed: true };
    let stats = soon(sessions[1].dht().unwrap().announce(Id([7; 20]), announce)).await.unwrap();
    assert!(stats.stored >= 1, "{stats:?}");
    let bootstrap = vec![address(&sessions[0])];
    let asked = tokio::task::spawn_blocking(move || {
        let socket = std::net::UdpSocket::bind("127.0.77.70:0").unwrap();
        let mut found = Vec::new();
        let stats = dht_lookup::look_up(&socket, Id([7; 20]), bootstrap, |peer| found.push(peer)).unwrap();
        (found, stats)
    });
    let (found, stats) = soon(asked).await.unwrap();
    assert_eq!(found, ["127.0.77.62:4711".parse().unwrap()]);
    assert!(stats.answers >= 1, "{stats:?}");
    let _: fn() -> std::process::ExitCode = dht_lookup::main;
    end(sessions).await;
}

#[tokio::test]
async fn items_that_one_session_puts_are_read_by_another() {
    let sessions = network(11, 5).await;
    let (writer, reader) = (sessions[1].dht().unwrap(), sessions[4].dht().unwrap());
    let (target, stats) = soon(writer.put(b"5:hello".to_vec())).await.unwrap();
    assert!(stats.stored >= 3, "{stats:?}");
    assert_eq!(soon(reader.get(target)).await.unwrap().as_deref(), Some(&b"5:hello"[..]));
    assert_eq!(soon(reader.get(Id([1; 20]))).await.unwrap(), None);
    let put =
        |value: &[u8], cas| PutMutable { secret: [3; 32], salt: b"s".to_vec(), value: value.to_vec(), cas };
    let first = soon(writer.put_mutable(put(b"3:one", None))).await.unwrap();
    let second = soon(writer.put_mutable(put(b"3:two", first.seq))).await.unwrap();
    assert!(second.seq > first.seq && second.conflict.is_none(), "{first:?} {second:?}");
    let late = soon(reader.put_mutable(put(b"5:three", first.seq))).await.unwrap();
    assert_eq!(late.conflict, second.seq);
    let key = Mutable::public_key(&[3; 32]);
    let found = soon(reader.get_mutable(key, b"s".to_vec())).await.unwrap().unwrap();
    assert_eq!((found.value.as_slice(), Some(found.seq)), (&b"3:two"[..], second.seq));
    end(sessions).await;
}

#[tokio::test]
async fn a_torrent_finds_its_peers_without_a_tracker() {
    let mut sessions = network(21, 4).await;
    let content = Content::folder(70, &[200_000], |builder| builder);
    let (from, to) = (content.placed(), TempDir::new().unwrap());
    add(&sessions[1], AddOptions::seed(content.meta.clone(), from.path())).await;
    // The one that leeches comes later, when the seed is known to the nodes.
    let hash = Id(content.meta.id().0);
    let witness = sessions[2].dht().unwrap();
    soon(async {
        while peers(&witness, hash).await.is_empty() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    })
    .await;
    sessions.push(node(29, &[address(&sessions[0])]).await);
    let torrent = add(&sessions[4], AddOptions::download(content.meta.clone(), to.path())).await;
    soon(torrent.wait_complete()).await.unwrap();
    content.assert_all(to.path());
    end(sessions).await;
}

#[tokio::test]
async fn a_private_torrent_is_not_announced() {
    let sessions = network(31, 3).await;
    let content = Content::folder(71, &[20_000], |builder| builder.private(true));
    let from = content.placed();
    add(&sessions[1], AddOptions::seed(content.meta.clone(), from.path())).await;
    let public = Content::folder(72, &[20_000], |builder| builder);
    let from = public.placed();
    add(&sessions[1], AddOptions::seed(public.meta.clone(), from.path())).await;
    let witness = sessions[2].dht().unwrap();
    soon(async {
        while peers(&witness, Id(public.meta.id().0)).await.is_empty() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    })
    .await;
    assert_eq!(soon(peers(&witness, Id(content.meta.id().0))).await, []);
    end(sessions).await;
}

#[tokio::test]
async fn what_is_saved_leads_the_next_run_to_the_same_nodes() {
    let mut sessions = network(41, 4).await;
    let last = sessions.pop().unwrap();
    let dht = last.dht().unwrap();
    let (saved, ids) = (dht.save().await.unwrap(), dht.status().await.unwrap().ids);
    assert!(dht.status().await.unwrap().numbers.nodes[0] > 0);
    drop(dht);
    end([last]).await;
    let again = start(44, DhtSettings { bootstrap: named(&[]), saved: Some(saved), read_only: false }).await;
    let dht = again.dht().unwrap();
    assert_eq!(dht.status().await.unwrap().ids, ids);
    assert!(dht.ready(PATIENCE).await);
    let pong = soon(dht.ping(address(&sessions[0]))).await.unwrap().unwrap();
    assert_eq!(Some(pong.id), sessions[0].dht().unwrap().status().await.unwrap().ids[0]);
    assert_eq!(soon(dht.ping("127.0.77.250:9".parse().unwrap())).await.unwrap(), None);
    sessions.push(again);
    end(sessions).await;
}

#[tokio::test]
async fn a_read_only_node_asks_and_is_in_no_table() {
    let sessions = network(51, 3).await;
    let settings = DhtSettings { bootstrap: named(&[address(&sessions[0])]), read_only: true, saved: None };
    let reader = start(59, settings).await;
    let dht = reader.dht().unwrap();
    assert!(dht.ready(PATIENCE).await);
    let (target, _) = soon(sessions[1].dht().unwrap().put(b"1:x".to_vec())).await.unwrap();
    assert!(soon(dht.get(target)).await.unwrap().is_some());
    let known = sessions[0].dht().unwrap().save().await.unwrap();
    let known = swarm::engine::dht::DhtState::decode(&known).unwrap().nodes;
    assert!(known.iter().all(|(_, addr)| *addr != dht.addresses()[0]), "{known:?}");
    assert_eq!(soon(sessions[1].dht().unwrap().ping(dht.addresses()[0])).await.unwrap(), None);
    end(sessions.into_iter().chain([reader])).await;
}
