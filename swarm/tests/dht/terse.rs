//! Nodes that leave something out: they answer with peers or with nodes, but not with both, as BEP 5 can be read and some programs
//! do; or they have no room and give no token.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::rc::Rc;

use swarm::engine::dht::{DhtConfig, DhtEvent, Id};
use wire::krpc::{Body, Method, NodeInfo, Nodes, Packet, Reply};

use crate::hostile::{ANNOUNCE, encode};
use crate::net::Net;

fn answer(own: Id, all: &[(Id, SocketAddr)], bytes: &[u8]) -> Option<Vec<u8>> {
    let Ok(Packet { transaction, body: Body::Query(asked), .. }) = Packet::parse(bytes) else { return None };
    let reply = match asked.method {
        Method::GetPeers { .. } => {
            let values = vec![([9, 9, 9, 9], 7000).into()];
            Reply { values, token: Some(b"token"), ..Reply::new(own.0) }
        }
        Method::FindNode { target, .. } => {
            let mut nodes = all.to_vec();
            nodes.sort_by_key(|(id, _)| Id(target).distance(id));
            let nodes = nodes.iter().take(8).map(|(id, addr)| NodeInfo { id: id.0, addr: *addr });
            Reply { nodes: Some(Nodes::v4(nodes.collect::<Vec<_>>())), ..Reply::new(own.0) }
        }
        _ => Reply::new(own.0),
    };
    Some(encode(transaction, Body::Reply(reply)))
}

#[test]
fn a_lookup_that_knows_one_node_which_tells_only_of_peers_still_reaches_eight() {
    let mut net = Net::new(41);
    let mut all = Vec::new();
    for _ in 0..40 {
        let addr = net.address();
        all.push((Id::of_address(addr.ip(), &mut net.rng), addr));
    }
    for (id, addr) in all.clone() {
        let all = all.clone();
        let script = move |_, from, bytes: &[u8]| {
            answer(id, &all, bytes).map(|answer| (from, answer)).into_iter().collect()
        };
        net.script(addr, Box::new(script));
    }
    let addr = net.address();
    let (bootstrap, external) = (vec![all[0].1], vec![addr.ip()]);
    let fresh = net.add(addr, DhtConfig { bootstrap, external, ..DhtConfig::default() });
    let hash = Id::random(&mut net.rng);
    let stats = net.complete(fresh, |dht, now| dht.get_peers(now, hash, Some(ANNOUNCE)).unwrap());
    println!("{stats:?}");
    assert_eq!((stats.stored, stats.peers, stats.timeouts), (8, 1, 0));
    assert!(stats.queries <= 40, "{stats:?}");
    assert!(net.nodes[fresh].events.iter().any(|event| matches!(event, DhtEvent::Peers { .. })));
    net.dht(fresh).check();
}

#[test]
fn the_closest_of_those_that_give_tokens_are_announced_to() {
    const FULL: usize = 5;
    let mut net = Net::new(42);
    let hash = Id::random(&mut net.rng);
    let mut all = Vec::new();
    for _ in 0..60 {
        let addr = net.address();
        all.push((Id::of_address(addr.ip(), &mut net.rng), addr));
    }
    all.sort_by_key(|(id, _)| hash.distance(id));
    // How far from the hash those are that gave tokens, and those that were announced to.
    let seen: [Rc<RefCell<BTreeSet<usize>>>; 2] = Default::default();
    for (place, (id, addr)) in all.clone().into_iter().enumerate() {
        let (all, [gave, stored]) = (all.clone(), seen.clone());
        let script = move |_, from, bytes: &[u8]| {
            let Ok(Packet { transaction, body: Body::Query(asked), .. }) = Packet::parse(bytes) else {
                return Vec::new();
            };
            let mut reply = Reply::new(id.0);
            match asked.method {
                Method::GetPeers { .. } | Method::FindNode { .. } => {
                    // Each knows those that are closer than itself, the closest of them not.
                    let known = all.iter().take(place + 4).skip(place.saturating_sub(12)).take(8);
                    let known = known.map(|(id, addr)| NodeInfo { id: id.0, addr: *addr });
                    reply.nodes = Some(Nodes::v4(known.collect::<Vec<_>>()));
                    if matches!(asked.method, Method::GetPeers { .. }) && place >= FULL {
                        gave.borrow_mut().insert(place);
                        reply.token = Some(b"token");
                    }
                }
                Method::AnnouncePeer { .. } => _ = stored.borrow_mut().insert(place),
                _ => {}
            }
            vec![(from, encode(transaction, Body::Reply(reply)))]
        };
        net.script(addr, Box::new(script));
    }
    let addr = net.address();
    let (bootstrap, external) = (vec![all[59].1], vec![addr.ip()]);
    let fresh = net.add(addr, DhtConfig { bootstrap, external, ..DhtConfig::default() });
    let stats = net.complete(fresh, |dht, now| dht.get_peers(now, hash, Some(ANNOUNCE)).unwrap());
    let [gave, stored] = seen.map(|seen| seen.borrow().clone());
    println!("{stats:?}, tokens of {gave:?}, stored at {stored:?}");
    assert_eq!(stored, gave.into_iter().take(8).collect());
    assert!(stored.len() > 8 - FULL && stats.stored as usize == stored.len());
}
