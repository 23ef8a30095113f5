//! A table of peers, honest and not, asked until the dictionary is there.

use std::collections::BTreeMap;
use std::time::Duration;

use metainfo::{InfoHashV1, InfoHashV2, InfoHashes};
use rand::{Rng, RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::*;

const SIZE: usize = 5 * PIECE + 100;

fn info(seed: u64, size: usize) -> Vec<u8> {
    let mut bytes = vec![0; size];
    ChaCha8Rng::seed_from_u64(seed).fill_bytes(&mut bytes);
    bytes
}

fn v1(info: &[u8]) -> InfoHashV1 {
    InfoHashV1(Sha1::digest(info).into())
}

fn v2(info: &[u8]) -> InfoHashV2 {
    InfoHashV2(Sha256::digest(info).into())
}

/// What a peer does when it is asked.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Ways {
    Honest,
    Silent,
    Rejects,
    /// Right size, wrong bytes.
    Liar,
    /// Wrong bytes of this size.
    OtherSize(u64),
    /// Says another total with its data.
    Changes,
    /// Cuts what it sends.
    Short,
}

/// Plays until the dictionary is there. How long it took, who was found guilty, and the most bytes held.
fn play(seed: u64, ways: &[Ways], patience: Duration) -> Option<(Duration, BTreeSet<usize>, usize)> {
    println!("seed {seed}");
    let right = info(1, SIZE);
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let mut fetch = Fetch::<usize, usize>::new(InfoHashes::v1_only(v1(&right)));
    let mut now = Time::from_secs(1);
    let start = now;
    let mut answers: BTreeMap<(Time, u64), (usize, u32)> = BTreeMap::new();
    let mut guilty = BTreeSet::new();
    let (mut serial, mut most) = (0, 0);
    let mut requests: BTreeMap<usize, usize> = BTreeMap::new();
    for (peer, ways) in ways.iter().enumerate() {
        let size = if let Ways::OtherSize(size) = ways { *size } else { SIZE as u64 };
        fetch.add_peer(now, peer, peer, size);
    }
    loop {
        while let Some(output) = fetch.poll() {
            match output {
                Output::Request { peer, piece } => {
                    serial += 1;
                    *requests.entry(peer).or_default() += 1;
                    assert!(requests[&peer] <= OUTSTANDING, "{peer} is asked for too much");
                    answers.insert(
                        (now + Duration::from_millis(rng.random_range(20..60)), serial),
                        (peer, piece),
                    );
                }
                Output::Guilty(peer) => {
                    guilty.insert(peer);
                }
                Output::Done(bytes) => {
                    assert_eq!(bytes[..], right);
                    assert_eq!(fetch.poll(), None);
                    return Some((now - start, guilty, most));
                }
            }
        }
        let next =
            answers.keys().next().map(|(at, _)| *at).into_iter().chain(fetch.next_timeout(now)).min()?;
        now = now.max(next);
        if now > start + patience {
            return None;
        }
        fetch.handle_timeout(now);
        while let Some(((at, _), (peer, piece))) = answers.first_key_value().map(|(k, v)| (*k, *v))
            && at <= now
        {
            answers.pop_first();
            let waiting = requests.entry(peer).or_default();
            *waiting = waiting.saturating_sub(1);
            let start = (piece as usize * PIECE).min(SIZE);
            let data = &right[start..(start + PIECE).min(SIZE)];
            match ways[peer] {
                Ways::Honest => fetch.handle_data(now, peer, piece, Some(SIZE as u64), data).unwrap(),
                Ways::Silent => {
                    requests.remove(&peer);
                }
                Ways::Rejects => fetch.handle_reject(now, peer, piece),
                Ways::Liar => {
                    fetch.handle_data(now, peer, piece, Some(SIZE as u64), &vec![7; data.len()]).unwrap();
                }
                Ways::OtherSize(size) => {
                    let data = vec![7; len_of(size, piece)];
                    fetch.handle_data(now, peer, piece, Some(size), &data).unwrap();
                }
                Ways::Changes => fetch.handle_data(now, peer, piece, Some(77), data).unwrap(),
                Ways::Short => fetch.handle_data(now, peer, piece, None, &data[1..]).unwrap(),
            }
            most = most.max(fetch.held_bytes());
        }
    }
}

#[test]
fn the_first_request_goes_out_at_once_and_pieces_are_spread() {
    let right = info(1, SIZE);
    let mut fetch = Fetch::<u8, u8>::new(InfoHashes::v1_only(v1(&right)));
    let now = Time::from_secs(1);
    assert!(fetch.add_peer(now, 1, 1, SIZE as u64));
    assert!(fetch.add_peer(now, 2, 2, SIZE as u64));
    let asked: Vec<_> = std::iter::from_fn(|| fetch.poll()).collect();
    let request = |peer, piece| Output::Request { peer, piece };
    assert_eq!(asked, [request(1, 0), request(1, 1), request(2, 2), request(2, 3)]);
    assert_eq!(fetch.progress(), Progress { have: 0, pieces: Some(6), peers: 2 });
}

#[test]
fn sizes_that_cannot_be_are_not_taken_and_large_ones_cost_nothing() {
    let mut fetch = Fetch::<u8, u8>::new(InfoHashes::v1_only(v1(b"")));
    let now = Time::ZERO;
    for size in [0, MAX_SIZE + 1, 2 << 30, u64::MAX] {
        assert!(!fetch.add_peer(now, 1, 1, size));
    }
    assert!(fetch.add_peer(now, 1, 1, MAX_SIZE));
    assert_eq!(fetch.held_bytes(), 0);
    assert_eq!(fetch.progress().pieces, Some(4096));
}

#[test]
fn both_hashes_of_a_hybrid_have_to_match() {
    let (one, other) = (info(1, 50), info(2, 50));
    for (hashes, right) in [
        (InfoHashes::v1_only(v1(&one)), true),
        (InfoHashes::v2_only(v2(&one)), true),
        (InfoHashes::hybrid(v1(&one), v2(&one)), true),
        (InfoHashes::hybrid(v1(&one), v2(&other)), false),
        (InfoHashes::hybrid(v1(&other), v2(&one)), false),
        (InfoHashes::v2_only(v2(&other)), false),
    ] {
        let mut fetch = Fetch::<u8, u8>::new(hashes);
        fetch.add_peer(Time::ZERO, 1, 1, 50);
        assert_eq!(fetch.poll(), Some(Output::Request { peer: 1, piece: 0 }));
        fetch.handle_data(Time::ZERO, 1, 0, None, &one).unwrap();
        let expected = if right { Output::Done(one.clone().into()) } else { Output::Guilty(1) };
        assert_eq!(fetch.poll(), Some(expected));
    }
}

#[test]
fn one_honest_peer_is_enough_whatever_the_others_do() {
    use Ways::{Changes, Honest, Liar, OtherSize, Rejects, Short, Silent};
    let huge = OtherSize(MAX_SIZE);
    let cases: &[(&[Ways], u64)] = &[
        (&[Honest], 1),
        (&[Silent, Honest], 1),
        (&[Silent, Silent, Silent, Silent, Honest], 5),
        (&[Rejects, Honest], 1),
        (&[Liar, Honest], 2),
        (&[Liar, Liar, Liar, Liar, Liar, Liar, Honest], 5),
        (&[huge, Honest], 1),
        (&[huge, huge, huge, Honest], 1),
        (&[OtherSize(40_000), OtherSize(40_000), OtherSize(40_000), Honest], 2),
        (&[OtherSize(1), OtherSize(2), OtherSize(3), OtherSize(4), OtherSize(5), OtherSize(6), Honest], 70),
        (&[Changes, Short, Honest], 1),
        (&[Liar, Silent, huge, Rejects, Short, Changes, OtherSize(9), Liar, Silent, Silent, Honest], 10),
    ];
    for (ways, seconds) in cases {
        for seed in 0..20 {
            let played = play(seed, ways, Duration::from_secs(*seconds));
            let Some((_, guilty, held)) = played else { panic!("seed {seed}: {ways:?} took too long") };
            let innocent = |at: &usize| matches!(ways[*at], Honest | Silent | Rejects);
            assert!(!guilty.iter().any(innocent), "{ways:?}: {guilty:?}");
            assert!(held <= 6 << 20, "{held} bytes held");
        }
    }
}

#[test]
fn liars_among_many_honest_peers_are_found_and_nobody_else() {
    use Ways::{Honest, Liar, Silent};
    for seed in 0..50 {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let ways: Vec<Ways> =
            (0..20).map(|_| [Honest, Liar, Silent][rng.random_range(0..3)]).chain([Honest]).collect();
        let (took, guilty, _) = play(seed, &ways, Duration::from_secs(20)).expect("honest peers are there");
        assert!(guilty.iter().all(|at| ways[*at] == Liar));
        assert!(took < Duration::from_secs(10), "{took:?}");
    }
}

#[test]
fn without_an_honest_peer_nothing_is_taken() {
    use Ways::{Changes, Liar, Rejects, Short, Silent};
    for seed in 0..5 {
        assert!(
            play(seed, &[Liar, Liar, Silent, Rejects, Changes, Short], Duration::from_secs(600)).is_none()
        );
    }
}

#[test]
fn a_slow_peer_is_taken_at_its_own_pace() {
    let right = info(1, SIZE);
    let mut fetch = Fetch::<u8, u8>::new(InfoHashes::v1_only(v1(&right)));
    let mut now = Time::from_secs(1);
    fetch.add_peer(now, 1, 1, SIZE as u64);
    let mut asked = VecDeque::new();
    for _ in 0..200 {
        while let Some(output) = fetch.poll() {
            match output {
                Output::Request { piece, .. } => asked.push_back(piece),
                Output::Done(bytes) => return assert_eq!(bytes[..], right),
                Output::Guilty(_) => panic!("it is only slow"),
            }
        }
        // One answer in 12 s, longer than anyone is waited for.
        for _ in 0..12 {
            now += Duration::from_secs(1);
            fetch.handle_timeout(now);
        }
        if let Some(piece) = asked.pop_front() {
            let data = &right[piece as usize * PIECE..(piece as usize * PIECE + PIECE).min(SIZE)];
            fetch.handle_data(now, 1, piece, None, data).unwrap();
        }
    }
    panic!("not done");
}

#[test]
fn what_nobody_asked_for_is_not_taken_and_too_much_of_it_is_an_offence() {
    let mut fetch = Fetch::<u8, u8>::new(InfoHashes::v1_only(v1(b"")));
    fetch.add_peer(Time::ZERO, 1, 1, 1 << 20);
    let results: Vec<_> = (0..80).map(|_| fetch.handle_data(Time::ZERO, 1, 40, None, &[0; PIECE])).collect();
    assert!(results[..64].iter().all(Result::is_ok));
    assert!(results[65..].iter().all(Result::is_err));
    assert_eq!(fetch.held_bytes(), 0);
}
