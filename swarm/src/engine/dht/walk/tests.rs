//! Walks, step by step.

use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

use super::*;

const TARGET: Id = Id([0; 20]);

fn node(distance: u8) -> (Id, SocketAddr) {
    let mut id = [0; 20];
    id[0] = distance;
    (Id(id), ([10, 0, 0, distance], 1).into())
}

fn step(walk: &mut Walk) -> Option<u8> {
    match walk.next() {
        Next::Ask(addr, _) => {
            walk.asked(addr);
            let SocketAddr::V4(addr) = addr else { panic!("IPv4 only") };
            Some(addr.ip().octets()[3])
        }
        _ => None,
    }
}

fn asks(walk: &mut Walk) -> Vec<u8> {
    std::iter::from_fn(|| step(walk)).collect()
}

fn answer(walk: &mut Walk, who: u8, names: &[u8]) {
    let (id, addr) = node(who);
    let hops = walk.answered(id, addr).unwrap();
    walk.named(names.iter().map(|who| node(*who)), hops);
}

#[test]
fn it_asks_the_closest_four_at_a_time_and_ends_at_the_eight_closest() {
    let mut walk = Walk::new(TARGET, false, &[100, 90, 80, 70, 60].map(node), &[]);
    assert_eq!(asks(&mut walk), [60, 70, 80, 90]);
    answer(&mut walk, 60, &[1, 2, 3, 4, 5, 6, 7, 8, 9]);
    assert_eq!(asks(&mut walk), [1]);
    for who in 1..=8 {
        assert!(walk.next() != Next::Done);
        asks(&mut walk);
        answer(&mut walk, who, &[]);
        asks(&mut walk);
        if who < 3 {
            answer(&mut walk, 60 + 10 * who, &[]);
        }
    }
    assert_eq!(walk.next(), Next::Done);
    let closest: Vec<Id> = walk.closest().map(|node| node.id).collect();
    assert_eq!(closest, [1, 2, 3, 4, 5, 6, 7, 8].map(|who| node(who).0));
    assert_eq!(walk.hops(), 2);
}

#[test]
fn a_late_node_gives_up_its_slot_and_still_counts_when_it_answers() {
    let mut walk = Walk::new(TARGET, false, &[10, 20, 30, 40, 50].map(node), &[]);
    assert_eq!(asks(&mut walk), [10, 20, 30, 40]);
    walk.late(node(10).1);
    assert_eq!(asks(&mut walk), [50]);
    for who in [20, 30, 40, 50] {
        answer(&mut walk, who, &[]);
    }
    assert_eq!(walk.next(), Next::Wait, "it may still answer");
    answer(&mut walk, 10, &[5]);
    assert_eq!(asks(&mut walk), [5]);
    walk.failed(node(5).1);
    assert_eq!(walk.next(), Next::Done);
    assert_eq!(walk.closest().count(), 5);
}

#[test]
fn routers_come_first_and_are_nodes_once_their_id_is_known() {
    let router: SocketAddr = "10.0.0.7:1".parse().unwrap();
    let mut walk = Walk::new(TARGET, false, &[], &[router]);
    assert_eq!(asks(&mut walk), [7]);
    assert_eq!(walk.next(), Next::Wait);
    answer(&mut walk, 7, &[3]);
    assert_eq!(asks(&mut walk), [3]);
    answer(&mut walk, 3, &[7]);
    assert_eq!(walk.next(), Next::Done);
    assert_eq!(walk.closest().map(|node| node.hops).collect::<Vec<_>>(), [2, 1]);
    assert_eq!(Walk::new(TARGET, false, &[], &[]).next(), Next::Done);
}

#[test]
fn who_has_another_id_than_was_said_takes_part_by_its_own() {
    let mut walk = Walk::new(TARGET, false, &[10, 20].map(node), &[]);
    asks(&mut walk);
    assert_eq!(walk.answered(node(30).0, node(10).1), Some(1));
    answer(&mut walk, 20, &[]);
    assert_eq!(walk.next(), Next::Done);
    assert_eq!(walk.closest().map(|node| node.id).collect::<Vec<_>>(), [20, 30].map(|n| node(n).0));
}

#[test]
fn what_is_said_of_a_node_does_not_keep_it_from_being_asked() {
    let mut rng = ChaCha8Rng::seed_from_u64(1);
    let addr: SocketAddr = "9.9.9.9:1".parse().unwrap();
    let mut ids: Vec<Id> = (0..9).map(|_| Id::of_address(addr.ip(), &mut rng)).collect();
    ids.sort();
    let mut walk = Walk::new(TARGET, false, &[(ids[8], addr)], &[]);
    walk.named([(ids[0], addr), (ids[4], addr)], 1);
    assert_eq!(walk.next(), Next::Ask(addr, Some(ids[0])), "the closest of its ids");
    assert_eq!(walk.candidates.len(), 1);
    let own = node(7).0;
    walk.named([(own, addr)], 1);
    assert_eq!(walk.next(), Next::Ask(addr, Some(own)), "be it one that is not of its address");
    walk.asked(addr);
    assert_eq!((walk.next(), walk.candidates.len()), (Next::Wait, 1));
    walk.named([(ids[0], addr)], 1);
    assert_eq!((walk.answered(ids[3], addr), walk.next()), (Some(2), Next::Done));
    assert_eq!(walk.closest().map(|node| node.id).collect::<Vec<_>>(), [ids[3]]);
    let mut walk = Walk::new(TARGET, true, &[(ids[0], addr)], &[]);
    walk.asked(addr);
    assert_eq!(walk.answered(own, addr), None, "who enforces does not hear it");
}

#[test]
fn a_dead_neighbour_keeps_nobody_out_and_a_living_one_does() {
    let mut rng = ChaCha8Rng::seed_from_u64(1);
    let mut all: Vec<(Id, SocketAddr)> = (1..=5)
        .map(|n| {
            let addr: SocketAddr = ([9, 9, 9, n], 1).into();
            (Id::of_address(addr.ip(), &mut rng), addr)
        })
        .collect();
    all.sort();
    let asked = |walk: &mut Walk| match walk.next() {
        Next::Ask(addr, _) => {
            walk.asked(addr);
            addr
        }
        other => panic!("{other:?}"),
    };
    // Two wait, the closest ones, and one is asked at a time.
    let mut walk = Walk::new(TARGET, false, &[all[4], all[3], all[2]], &[]);
    assert_eq!(asked(&mut walk), all[2].1);
    assert_eq!(walk.next(), Next::Wait);
    walk.late(all[2].1);
    assert_eq!(asked(&mut walk), all[3].1);
    walk.failed(all[3].1);
    walk.named([all[1]], 1);
    assert_eq!(asked(&mut walk), all[1].1);
    walk.named([all[0]], 1);
    walk.failed(all[1].1);
    assert_eq!(walk.next(), Next::Wait, "three are enough for a network");
    assert_eq!((walk.answered(all[2].0, all[2].1), walk.next()), (Some(1), Next::Done));
    let mut walk = Walk::new(TARGET, false, &[all[1], all[2]], &[]);
    assert_eq!(asked(&mut walk), all[1].1);
    assert_eq!(walk.answered(all[1].0, all[1].1), Some(1));
    assert_eq!((walk.next(), walk.closest().count()), (Next::Done, 1));
}

/// Nodes of global addresses whose ids are so far from the target; their ids are not of their addresses.
fn strangers(distances: std::ops::Range<u8>) -> Vec<(Id, SocketAddr)> {
    let stranger = |n: u8| (node(n).0, SocketAddr::from(([9, 9, n, 9], 1)));
    let strangers: Vec<_> = distances.map(stranger).collect();
    assert!(strangers.iter().all(|(id, addr)| !id.belongs_to(addr.ip())));
    strangers
}

/// Everybody who is asked answers, and names nobody. Returns who was asked.
fn all_answer(walk: &mut Walk) -> Vec<SocketAddr> {
    let mut asked = Vec::new();
    while let Next::Ask(addr, id) = walk.next() {
        walk.asked(addr);
        walk.answered(id.unwrap(), addr).unwrap();
        asked.push(addr);
    }
    assert_eq!(walk.next(), Next::Done);
    asked
}

#[test]
fn unverified_nodes_get_a_share_and_keep_no_verified_one_out() {
    let mut walk = Walk::new(TARGET, false, &strangers(1..90), &[]);
    assert_eq!(walk.candidates.len(), MAX_UNVERIFIED);
    walk.named((100..200).map(node), 1);
    let asked = all_answer(&mut walk);
    assert_eq!(asked.len(), SHARE + K);
    let closest: Vec<SocketAddr> = walk.closest().map(|node| node.addr).collect();
    assert_eq!(closest, (100..108).map(|n| node(n).1).collect::<Vec<_>>());
}

#[test]
fn unverified_nodes_make_up_for_verified_ones_that_are_missing() {
    let mut walk = Walk::new(TARGET, false, &[strangers(10..60), vec![node(100), node(1)]].concat(), &[]);
    assert_eq!(all_answer(&mut walk).len(), K);
    let closest: Vec<Id> = walk.closest().map(|node| node.id).collect();
    assert_eq!(closest, [1, 100, 10, 11, 12, 13, 14, 15].map(|n| node(n).0));
}

#[test]
fn dead_unverified_nodes_take_no_more_than_half_of_the_questions() {
    let mut walk = Walk::new(TARGET, false, &(100..200).map(node).collect::<Vec<_>>(), &[]);
    walk.named(strangers(1..17), 1);
    walk.named(strangers(17..33), 1);
    let (mut verified, mut dead) = (0, 0);
    while let Next::Ask(addr, id) = walk.next() {
        walk.asked(addr);
        if id.unwrap().0[0] < 100 {
            dead += 1;
            walk.failed(addr);
        } else {
            verified += 1;
            walk.answered(id.unwrap(), addr).unwrap();
        }
    }
    assert_eq!((walk.next(), verified), (Next::Done, K));
    assert!(dead <= 10, "{dead}");
}

#[test]
fn who_was_given_another_id_by_a_liar_takes_part_with_its_own() {
    let mut rng = ChaCha8Rng::seed_from_u64(1);
    let addr: SocketAddr = "9.9.9.9:1".parse().unwrap();
    let id = Id::of_address(addr.ip(), &mut rng);
    let mut walk = Walk::new(TARGET, false, &[(TARGET, addr)], &[]);
    walk.named([(id, addr)], 1);
    assert!(matches!(walk.next(), Next::Ask(asked, _) if asked == addr));
    walk.asked(addr);
    assert_eq!((walk.answered(id, addr), walk.unverified), (Some(1), 1), "known before it is asked");
    assert_eq!(walk.closest().map(|node| node.id).collect::<Vec<_>>(), [id]);
    let mut walk = Walk::new(TARGET, false, &[(TARGET, addr)], &[]);
    walk.asked(addr);
    assert_eq!(walk.answered(id, addr), Some(1), "known when it answers");
    assert_eq!(walk.closest().map(|node| node.id).collect::<Vec<_>>(), [id]);
    let other: SocketAddr = "9.9.8.9:1".parse().unwrap();
    let mut walk = Walk::new(TARGET, false, &[(id, other)], &[]);
    walk.named([(id, addr)], 1);
    assert_eq!(walk.next(), Next::Ask(addr, Some(id)), "and nobody else keeps its id from it");
}

#[test]
fn a_subnet_is_asked_once_and_unverified_nodes_never_if_so_wanted() {
    let mut rng = ChaCha8Rng::seed_from_u64(1);
    let own = |text: &str, rng: &mut ChaCha8Rng| {
        let addr: SocketAddr = text.parse().unwrap();
        (Id::of_address(addr.ip(), rng), addr)
    };
    let nodes = [own("9.9.9.1:1", &mut rng), own("9.9.9.2:2", &mut rng), own("9.9.8.1:1", &mut rng)];
    let mut walk = Walk::new(TARGET, true, &nodes, &[]);
    walk.named([(Id([0; 20]), "9.1.1.1:1".parse().unwrap())], 1);
    let mut asked = 0;
    while let Next::Ask(addr, _) = walk.next() {
        walk.asked(addr);
        asked += 1;
    }
    assert_eq!(asked, 2);
}

#[test]
fn a_walk_led_on_by_liars_ends() {
    let mut rng = ChaCha8Rng::seed_from_u64(1);
    let mut walk = Walk::new(TARGET, false, &[node(255)], &[]);
    let mut shared = 9;
    let mut queries = 0;
    while let Next::Ask(addr, id) = walk.next() {
        walk.asked(addr);
        queries += 1;
        let id = id.unwrap();
        let hops = walk.answered(id, addr).unwrap();
        let liars = (0..50).map(|_| {
            shared = (shared + 1).min(150);
            let addr = SocketAddr::new(std::net::Ipv4Addr::from(0x0a00_0000 + shared * 977).into(), 1);
            (TARGET.beside(shared, &mut rng), addr)
        });
        let liars: Vec<_> = liars.collect();
        walk.named(liars, hops);
        assert!(walk.candidates.len() <= MAX_CANDIDATES && walk.places.len() <= MAX_CANDIDATES + 160);
    }
    assert_eq!(walk.next(), Next::Done);
    assert!(queries <= MAX_QUERIES, "{queries}");
}
