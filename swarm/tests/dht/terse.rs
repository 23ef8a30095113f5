//! Nodes that answer with peers or with nodes, but not with both: so BEP 5 can be read, and so some programs do.

use std::net::SocketAddr;

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
