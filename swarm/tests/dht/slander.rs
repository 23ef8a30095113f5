//! Nodes that lie about others: about their ids, and about who else is in their networks.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use swarm::engine::dht::{DhtEvent, Id};
use wire::krpc::{Body, Method, NodeInfo, Nodes, Packet, Reply};

use crate::hostile::{ANNOUNCE, encode};
use crate::net::{Net, peer};

const NODES: usize = 300;

/// What is said of an honest node.
type Slander = fn(&mut Net, (Id, SocketAddr), target: Id) -> (Id, SocketAddr);

/// Of a hundred torrents, how many are announced at eight nodes and found, while thirty guides, who are in all tables, say this of
/// the sixteen nodes closest to whatever is looked for, and name nobody else.
fn found_despite(seed: u64, slander: Slander) -> (u32, u32) {
    let mut net = Net::settled(seed, NODES);
    let honest: Vec<(Id, SocketAddr)> =
        net.nodes.iter().map(|node| (node.dht.id(true).unwrap(), node.addr)).collect();
    // What the guides name at present.
    let names: Arc<Mutex<Vec<(Id, SocketAddr)>>> = Arc::default();
    let mut guides = Vec::new();
    for _ in 0..30 {
        let addr = net.address();
        let id = Id::of_address(addr.ip(), &mut net.rng);
        let names = names.clone();
        let answer = move |_, from: SocketAddr, bytes: &[u8]| {
            let Ok(Packet { transaction, body: Body::Query(asked), .. }) = Packet::parse(bytes) else {
                return Vec::new();
            };
            let named = names.lock().unwrap();
            let nodes = named.iter().map(|(id, addr)| NodeInfo { id: id.0, addr: *addr });
            let nodes = Some(Nodes::v4(nodes.collect::<Vec<_>>()));
            let reply = match asked.method {
                Method::Ping => Reply::new(id.0),
                _ => Reply { nodes, ..Reply::new(id.0) },
            };
            vec![(from, encode(transaction, Body::Reply(reply)))]
        };
        net.script(addr, Box::new(answer));
        guides.push((id, addr));
    }
    let now = net.now;
    for node in &mut net.nodes {
        guides.iter().for_each(|(id, addr)| node.dht.vouch(now, *id, *addr));
    }
    let (mut stored, mut found) = (0, 0);
    for round in 0..100 {
        let hash = Id::random(&mut net.rng);
        let mut closest = honest.clone();
        closest.sort_by_key(|(id, _)| hash.distance(id));
        let lies = closest[..16].iter().map(|node| slander(&mut net, *node, hash)).collect();
        *names.lock().unwrap() = lies;
        let (announcer, seeker) = (round, round + 150);
        for index in [announcer, seeker] {
            net.nodes[index].is_passive = false;
        }
        let stats = net.complete(announcer, |dht, now| dht.get_peers(now, hash, Some(ANNOUNCE)).unwrap());
        stored += stats.stored;
        let wanted = peer(net.nodes[announcer].addr.ip());
        net.nodes[seeker].events.clear();
        net.complete(seeker, |dht, now| dht.get_peers(now, hash, None).unwrap());
        let has_it =
            |event: &DhtEvent| matches!(event, DhtEvent::Peers { peers, .. } if peers.contains(&wanted));
        found += u32::from(net.nodes[seeker].events.iter().any(has_it));
    }
    net.nodes.iter().for_each(|node| node.dht.check());
    println!("{found} of 100 found, {stored} of 800 stored");
    (found, stored)
}

#[test]
fn a_lie_about_an_id_silences_no_honest_node() {
    // Another id that the address may have.
    let (found, stored) =
        found_despite(81, |net, (_, addr), _| (Id::of_address(addr.ip(), &mut net.rng), addr));
    assert!(found == 100 && stored >= 720, "{found} {stored}");
    // One that it cannot have, right beside the target.
    let (found, stored) =
        found_despite(82, |net, (_, addr), target| (target.beside(150, &mut net.rng), addr));
    assert!(found == 100 && stored >= 720, "{found} {stored}");
}

#[test]
fn a_dead_neighbour_that_was_made_up_keeps_no_honest_node_out() {
    let (found, stored) = found_despite(83, |net, (_, addr), target| {
        let SocketAddr::V4(honest) = addr else { panic!("IPv4 only") };
        let [a, b, c, d] = honest.ip().octets();
        let fake = SocketAddr::from(([a, b, c, d ^ 1], 6881));
        // As close to the target as it gets.
        let ids = (0..64).map(|_| Id::of_address(fake.ip(), &mut net.rng));
        (ids.min_by_key(|id| target.distance(id)).unwrap(), fake)
    });
    assert!(found == 100 && stored >= 700, "{found} {stored}");
}
