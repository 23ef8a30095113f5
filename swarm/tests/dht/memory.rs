//! What a node costs.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use rand::{Rng, RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use swarm::engine::dht::{Dht, DhtConfig};
use swarm::engine::time::Time;

use crate::sys_heap::live;

#[test]
fn an_idle_node_with_both_tables_full_has_256_kib() {
    let mut rng = ChaCha8Rng::seed_from_u64(1);
    let before = live();
    let mut dht = Dht::new(DhtConfig::default(), ChaCha8Rng::seed_from_u64(2), Time::from_secs(1));
    let start = Time::from_secs(1);
    // Local addresses, which may have any id: nothing else fills the deep buckets.
    for shared in 0..160 {
        for _ in 0..200 {
            let v4: Ipv4Addr = [10, rng.random(), rng.random(), rng.random()].into();
            let v6 = Ipv6Addr::from((0xfd_u128 << 120) | u128::from(rng.next_u64()));
            for addr in [SocketAddr::new(v4.into(), 6881), SocketAddr::new(v6.into(), 6881)] {
                let id = dht.id(addr.is_ipv4()).unwrap().beside(shared, &mut rng);
                dht.vouch(start, id, addr);
            }
        }
    }
    let status = dht.status();
    assert_eq!(status.nodes, [464, 464]);
    // A minute of upkeep that nobody answers, and what is under way after it.
    let mut now = start;
    while now < Time::from_secs(61) {
        now = dht.next_timeout().max(now + Duration::from_millis(1));
        dht.handle_timeout(now);
        while dht.poll_transmit().is_some() {}
        while dht.poll_event().is_some() {}
    }
    let bytes = live() - before + isize::try_from(size_of::<Dht>()).unwrap();
    println!("{bytes} bytes for {status:?}; {} bytes of them the node itself", size_of::<Dht>());
    assert!(bytes <= 256 * 1024, "{bytes}");
}
