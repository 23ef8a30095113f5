//! Fullness, failures, subnets, ids, and whom askers are told of.

use std::net::Ipv4Addr;

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::*;

const RTT: Duration = Duration::from_millis(50);
const ASKER: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 1);

fn at(minutes: u64) -> Time {
    Time::from_secs(60 * minutes)
}

fn node(rng: &mut ChaCha8Rng, own: &Id, shared: u32) -> (Id, SocketAddr) {
    let addr = SocketAddr::new(Ipv4Addr::new(10, rng.random(), rng.random(), rng.random()).into(), 6881);
    (own.beside(shared, rng), addr)
}

fn filled(seed: u64) -> (Table, ChaCha8Rng) {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let mut table = Table::new(Id::random(&mut rng), false);
    for shared in 0..160 {
        for _ in 0..200 {
            let (id, addr) = node(&mut rng, &table.own(), shared);
            table.answered(at(1), id, addr, RTT);
        }
    }
    table.check();
    (table, rng)
}

#[test]
fn a_full_table_has_its_sizes_and_fits_its_memory() {
    let (table, _) = filled(1);
    assert_eq!(table.len(), (16 + 8 + 4 + 2 + 28) * K);
    assert!(size_of::<Node>() <= 128, "{}", size_of::<Node>());
    let heap: usize = table.buckets.iter().map(Bucket::heap).sum();
    let total = heap + table.buckets.capacity() * size_of::<Bucket>();
    assert!(total <= 64 * 1024, "{total}");
}

#[test]
fn the_closest_are_what_sorting_all_says() {
    let (table, mut rng) = filled(2);
    for round in 0..200 {
        let target = table.own().beside(round % 161, &mut rng);
        let mut all: Vec<_> = table.nodes().map(|node| (node.id, node.addr)).collect();
        all.sort_by_key(|(id, _)| target.distance(id));
        assert_eq!(table.closest(&target, K), all[..K], "{round}");
    }
}

#[test]
fn who_fails_makes_room_for_a_spare_and_who_has_none_goes_after_three() {
    let (mut table, mut rng) = filled(3);
    let target = table.own().beside(10, &mut rng);
    let (_, gone) = table.closest(&target, 1)[0];
    table.failed(gone);
    assert!(
        !table.closest_for(at(1), ASKER, &target, K).iter().any(|(_, addr)| *addr == gone),
        "not told any more"
    );
    assert!(table.closest(&target, K).iter().any(|(_, addr)| *addr == gone));
    let len = table.len();
    table.failed(gone);
    assert!(table.holder(gone).is_none() && table.len() == len, "a spare took its place");

    let mut table = Table::new(table.own(), false);
    let (id, addr) = node(&mut rng, &table.own(), 3);
    table.answered(at(1), id, addr, RTT);
    for left in [1, 1, 0] {
        table.failed(addr);
        assert_eq!(table.len(), left);
    }
}

#[test]
fn the_silent_are_questionable_oldest_first_and_once() {
    let mut rng = ChaCha8Rng::seed_from_u64(4);
    let mut table = Table::new(Id::random(&mut rng), false);
    let nodes: Vec<_> = (0..3).map(|_| node(&mut rng, &table.own(), 5)).collect();
    for ((id, addr), minute) in nodes.iter().zip([1, 2, 3]) {
        table.answered(at(minute), *id, *addr, RTT);
    }
    let pause = Duration::from_secs(60);
    assert_eq!(table.questionable(at(15), pause), None);
    assert_eq!(table.questionable(at(17), pause), Some(nodes[0]));
    assert_eq!(table.questionable(at(17), pause), Some(nodes[1]));
    assert_eq!(table.questionable(at(17), pause), None);
    assert_eq!(table.asked_us(at(17), nodes[0].0, nodes[0].1), Standing::Known);
    table.answered(at(18), nodes[1].0, nodes[1].1, RTT);
    assert_eq!(table.questionable(at(20), pause), Some(nodes[2]), "a query is a sign of life");
    let restored = node(&mut rng, &table.own(), 6);
    table.restore(restored.0, restored.1);
    assert_eq!(table.questionable(at(21), pause), Some(restored));
    assert!(
        !table.closest_for(at(21), ASKER, &restored.0, K).contains(&restored),
        "not told until it answers"
    );
    assert!(table.closest(&restored.0, K).contains(&restored));
}

#[test]
fn nobody_is_told_of_a_node_that_did_not_answer_for_long() {
    let mut rng = ChaCha8Rng::seed_from_u64(4);
    let mut table = Table::new(Id::random(&mut rng), false);
    let (id, addr) = node(&mut rng, &table.own(), 5);
    table.answered(at(1), id, addr, RTT);
    // It asks, and so is heard, but that may be forged.
    table.asked_us(at(70), id, addr);
    assert_eq!(table.closest_for(at(75), ASKER, &id, K), [(id, addr)]);
    assert_eq!(table.closest_for(at(77), ASKER, &id, K), []);
    assert_eq!(table.closest(&id, K), [(id, addr)], "we ask it ourselves");
}

#[test]
fn a_subnet_has_one_node_in_a_bucket_and_an_address_one_in_the_table() {
    let mut rng = ChaCha8Rng::seed_from_u64(5);
    let mut table = Table::new(Id::random(&mut rng), false);
    for _ in 0..5000 {
        let addr = SocketAddr::new(Ipv4Addr::new(9, 9, 9, rng.random()).into(), rng.random_range(1..9));
        let id = Id::of_address(addr.ip(), &mut rng);
        table.answered(at(1), id, addr, RTT);
        table.check();
    }
    assert!((1..=12).contains(&table.len()), "{}", table.len());
    let addr = "9.8.7.6:5".parse().unwrap();
    assert_eq!(table.asked_us(at(1), table.own(), addr), Standing::Unwanted);
}

#[test]
fn a_site_of_ipv6_has_two_nodes_in_a_bucket() {
    let mut rng = ChaCha8Rng::seed_from_u64(5);
    let mut table = Table::new(Id::random(&mut rng), false);
    for n in 0..3000 {
        let addr = SocketAddr::new([0x2606, 0x4700, 7, n, 0, 0, 0, 1].into(), 6881);
        let id = if n % 3 == 0 { Id::random(&mut rng) } else { Id::of_address(addr.ip(), &mut rng) };
        table.answered(at(1), id, addr, RTT);
        table.check();
    }
    assert!((2..=26).contains(&table.len()), "{}", table.len());
    let other = SocketAddr::new([0x2606, 0x4700, 8, 1, 0, 0, 0, 1].into(), 6881);
    table.answered(at(1), Id::of_address(other.ip(), &mut rng), other, RTT);
    assert!(table.holder(other).is_some());
}

#[test]
fn a_table_that_enforces_holds_no_unverified_nodes() {
    let mut rng = ChaCha8Rng::seed_from_u64(5);
    let mut table = Table::new(Id::random(&mut rng), true);
    let (id, addr) = (Id::random(&mut rng), "9.8.7.6:5".parse().unwrap());
    table.answered(at(1), id, addr, RTT);
    table.restore(id, addr);
    assert_eq!((table.len(), table.asked_us(at(1), id, addr)), (0, Standing::Unwanted));
}

/// A node of the internet, of a bucket, whose id is of its address or not.
fn global(rng: &mut ChaCha8Rng, own: &Id, shared: u32, is_verified: bool) -> (Id, SocketAddr) {
    loop {
        let addr = SocketAddr::new(Ipv4Addr::new(9, rng.random(), rng.random(), 9).into(), 1);
        let id = if is_verified { Id::of_address(addr.ip(), rng) } else { own.beside(shared, rng) };
        if own.shared_bits(&id) == shared && id.belongs_to(addr.ip()) == is_verified {
            return (id, addr);
        }
    }
}

#[test]
fn verified_nodes_replace_unverified_ones_and_never_the_other_way_round() {
    let mut rng = ChaCha8Rng::seed_from_u64(8);
    let mut table = Table::new(Id::random(&mut rng), false);
    let mut fill = |table: &mut Table, is_verified: bool, count: u32| {
        for _ in 0..count {
            let (id, addr) = global(&mut rng, &table.own(), 5, is_verified);
            table.answered(at(1), id, addr, RTT);
            table.check();
        }
    };
    let verified = |table: &Table| table.nodes().filter(|node| node.is_verified).count();
    fill(&mut table, false, 50);
    assert_eq!((table.len(), verified(&table)), (K, 0));
    fill(&mut table, true, 5);
    assert_eq!((table.len(), verified(&table)), (K, 5));
    fill(&mut table, true, 30);
    assert_eq!(verified(&table), K);
    let failing = table.nodes().next().unwrap().addr;
    table.failed(failing);
    fill(&mut table, false, 50);
    assert_eq!(verified(&table), K, "not even in the place of one that fails");
    table.failed(failing);
    assert_eq!((table.len(), verified(&table)), (K, K), "verified spare ones come first");
}

#[test]
fn no_more_than_half_of_those_told_are_unverified_unless_there_are_too_few() {
    let mut rng = ChaCha8Rng::seed_from_u64(9);
    let mut table = Table::new(Id::random(&mut rng), false);
    for (shared, is_verified, count) in [(0, true, 3), (9, false, 8), (4, true, 2)] {
        for _ in 0..count {
            let (id, addr) = global(&mut rng, &table.own(), shared, is_verified);
            table.answered(at(1), id, addr, RTT);
        }
    }
    for (count, unverified) in [(4, 2), (8, 4), (10, 5), (13, 8)] {
        let told = table.closest(&table.own(), count);
        let not = told.iter().filter(|(id, addr)| !id.belongs_to(addr.ip())).count();
        assert_eq!((told.len(), not), (count, unverified));
    }
}

#[test]
fn an_address_that_changes_its_id_is_one_node_and_an_id_stays_with_its_address() {
    let mut rng = ChaCha8Rng::seed_from_u64(6);
    let mut table = Table::new(Id::random(&mut rng), false);
    let ((a, here), (b, there)) = (node(&mut rng, &table.own(), 2), node(&mut rng, &table.own(), 7));
    table.answered(at(1), a, here, RTT);
    table.answered(at(1), b, here, RTT);
    assert_eq!(table.save(), [(b, here)]);
    table.answered(at(1), b, there, RTT);
    assert_eq!(table.save(), [(b, here)]);
    table.failed(here);
    table.answered(at(1), b, there, RTT);
    assert_eq!(table.save(), [(b, there)]);
}

#[test]
fn buckets_are_refreshed_in_turn_and_full_ones_are_not() {
    let (mut table, mut rng) = filled(7);
    assert_eq!(table.lacking(at(1), FRESH), None);
    let own = Id::random(&mut rng);
    table.rename(own);
    table.check();
    assert!(table.own() == own && table.len() > K);
    let pause = Duration::from_secs(60);
    let first: Vec<u32> = std::iter::from_fn(|| table.lacking(at(2), pause)).collect();
    assert!(!first.is_empty() && first.windows(2).all(|pair| pair[0] < pair[1]), "{first:?}");
    assert_eq!(table.lacking(at(3), pause), Some(first[0]));
}
