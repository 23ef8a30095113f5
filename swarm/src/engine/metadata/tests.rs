//! A table of peers, honest and not, asked until the dictionary is there.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use metainfo::{InfoHashV1, InfoHashV2, InfoHashes};
use rand::{Rng, RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use sha1::{Digest as _, Sha1};
use sha2::Sha256;

use super::*;
use crate::engine::time::Time;

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
    /// Right size, wrong bytes: the first at once, so that it spoils what others send, the rest as late as it may.
    SlowLiar,
    /// Wrong bytes of this size, as late as it may.
    SlowSize(u64),
    /// Says another total with its data.
    Changes,
    /// Cuts what it sends.
    Short,
}

/// What peers that take their time take: they are not given up on yet.
const SLOWLY: Duration = PATIENCE.saturating_sub(Duration::from_millis(300));

/// Plays until the dictionary is there. How long it took, who was found guilty, and the most bytes held.
fn play(seed: u64, ways: &[Ways], patience: Duration) -> Option<(Duration, BTreeSet<usize>, usize)> {
    play_in(u64::MAX, SIZE, seed, ways, patience)
}

/// The same with a dictionary of this size, when those that are claimed have so much room.
fn play_in(
    room: u64,
    size_of_right: usize,
    seed: u64,
    ways: &[Ways],
    patience: Duration,
) -> Option<(Duration, BTreeSet<usize>, usize)> {
    println!("seed {seed}");
    let right = info(1, size_of_right);
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let mut fetch = Fetch::<usize, usize>::new(InfoHashes::v1_only(v1(&right)));
    if room < u64::MAX {
        fetch.set_room(room);
    }
    let mut now = Time::from_secs(1);
    let start = now;
    let mut answers: BTreeMap<(Time, u64), (usize, u32)> = BTreeMap::new();
    let (mut guilty, mut hurried) = (BTreeSet::new(), BTreeSet::new());
    let (mut serial, mut most) = (0, 0);
    let mut requests: BTreeMap<usize, usize> = BTreeMap::new();
    for (peer, ways) in ways.iter().enumerate() {
        let size =
            if let Ways::OtherSize(size) | Ways::SlowSize(size) = ways { *size } else { right.len() as u64 };
        fetch.add_peer(now, peer, peer, size);
    }
    loop {
        while let Some(output) = fetch.poll() {
            match output {
                Output::Request { peer, piece } => {
                    serial += 1;
                    *requests.entry(peer).or_default() += 1;
                    assert!(requests[&peer] <= OUTSTANDING, "{peer} is asked for too much");
                    let slowly = match ways[peer] {
                        Ways::SlowLiar => !hurried.insert(peer),
                        Ways::SlowSize(_) => true,
                        _ => false,
                    };
                    let soon = Duration::from_millis(rng.random_range(20..60));
                    let takes = if slowly { SLOWLY + soon } else { soon };
                    answers.insert((now + takes, serial), (peer, piece));
                }
                Output::Guilty(peer) => {
                    guilty.insert(peer);
                }
                Output::Contradiction => panic!("seed {seed}: there is but one hash"),
                Output::Done(info) => {
                    assert_eq!(info.to_bytes(), right);
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
            let size = right.len();
            let start = (piece as usize * PIECE).min(size);
            let data = &right[start..(start + PIECE).min(size)];
            match ways[peer] {
                Ways::Honest => fetch.handle_data(now, peer, piece, Some(size as u64), data).unwrap(),
                Ways::Silent => {
                    requests.remove(&peer);
                }
                Ways::Rejects => fetch.handle_reject(now, peer, piece),
                Ways::Liar | Ways::SlowLiar => {
                    fetch.handle_data(now, peer, piece, Some(size as u64), &vec![7; data.len()]).unwrap();
                }
                Ways::OtherSize(size) | Ways::SlowSize(size) => {
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
fn both_hashes_of_a_hybrid_have_to_match_and_one_alone_is_the_fault_of_nobody() {
    let (one, other) = (info(1, 50), info(2, 50));
    let done = || Output::Done(Info::of([one.clone().into_boxed_slice()]));
    for (hashes, expected) in [
        (InfoHashes::v1_only(v1(&one)), done()),
        (InfoHashes::v2_only(v2(&one)), done()),
        (InfoHashes::hybrid(v1(&one), v2(&one)), done()),
        (InfoHashes::hybrid(v1(&one), v2(&other)), Output::Contradiction),
        (InfoHashes::hybrid(v1(&other), v2(&one)), Output::Contradiction),
        (InfoHashes::hybrid(v1(&other), v2(&other)), Output::Guilty(1)),
        (InfoHashes::v1_only(v1(&other)), Output::Guilty(1)),
        (InfoHashes::v2_only(v2(&other)), Output::Guilty(1)),
    ] {
        let mut fetch = Fetch::<u8, u8>::new(hashes);
        fetch.add_peer(Time::ZERO, 1, 1, 50);
        assert_eq!(fetch.poll(), Some(Output::Request { peer: 1, piece: 0 }));
        fetch.handle_data(Time::ZERO, 1, 0, None, &one).unwrap();
        let is_over = expected != Output::Guilty(1);
        assert_eq!((fetch.poll(), fetch.poll()), (Some(expected), None));
        assert_eq!(fetch.add_peer(Time::ZERO, 2, 2, 50), !is_over);
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
        (&[OtherSize(1), OtherSize(2), OtherSize(3), OtherSize(4), OtherSize(5), OtherSize(6), Honest], 1),
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
                Output::Done(info) => return assert_eq!(info.to_bytes(), right),
                Output::Guilty(_) | Output::Contradiction => panic!("it is only slow"),
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

#[test]
fn slow_liars_hold_up_nobody() {
    use Ways::{Honest, SlowLiar, SlowSize};
    let twenty = |ways: &dyn Fn(u64) -> Ways| (0..20).map(ways).chain([Honest]).collect::<Vec<_>>();
    for (ways, seconds) in [
        (twenty(&|_| SlowLiar), 10),
        // Two for each of ten sizes, so that every one of them has more votes than the right one.
        (twenty(&|n| SlowSize(50_000 + n / 2)), 1),
        (twenty(&|n| SlowSize(MAX_SIZE - n / 2)), 10),
        (twenty(&|n| if n < 10 { SlowLiar } else { SlowSize(40_000 * n) }), 10),
    ] {
        for seed in 0..10 {
            let played = play(seed, &ways, Duration::from_secs(seconds));
            let (_, guilty, _) = played.unwrap_or_else(|| panic!("seed {seed}: {ways:?} took too long"));
            assert!(!guilty.contains(&20), "seed {seed}: an honest one is found guilty");
        }
    }
}

#[test]
fn with_little_room_everyone_has_a_turn_and_the_room_is_kept() {
    use Ways::{Honest, SlowLiar, SlowSize};
    const LARGE: usize = 40 * PIECE;
    let room = 2 * LARGE as u64;
    for seed in 0..10 {
        for liar in [SlowLiar, SlowSize(LARGE as u64 + 1)] {
            let mut ways = vec![liar; 20];
            ways.push(Honest);
            let played = play_in(room, LARGE, seed, &ways, Duration::from_secs(150));
            let (_, guilty, held) = played.unwrap_or_else(|| panic!("seed {seed}: {liar:?} took too long"));
            assert!(!guilty.contains(&20));
            assert!(held as u64 <= room, "seed {seed}: {held} bytes held");
        }
    }
}

#[test]
fn what_comes_out_of_order_is_hashed_a_little_at_a_time() {
    const PIECES: u32 = 500;
    let right = info(3, PIECES as usize * PIECE);
    let mut fetch = Fetch::<u8, u8>::new(InfoHashes::v1_only(v1(&right)));
    let mut now = Time::from_secs(1);
    fetch.add_peer(now, 1, 1, right.len() as u64);
    // The first piece comes last.
    let mut asked = VecDeque::new();
    let mut first = false;
    while asked.len() < 2 || !first {
        while let Some(Output::Request { piece, .. }) = fetch.poll() {
            first |= piece == 0;
            asked.push_back(piece);
        }
        let Some(piece) = asked.iter().copied().find(|piece| *piece != 0) else { break };
        asked.retain(|other| *other != piece);
        now += Duration::from_millis(1);
        let start = piece as usize * PIECE;
        fetch.handle_data(now, 1, piece, None, &right[start..start + PIECE]).unwrap();
        if fetch.progress().have == PIECES - 1 {
            break;
        }
    }
    fetch.handle_data(now, 1, 0, None, &right[..PIECE]).unwrap();
    let mut turns = 1;
    let done = loop {
        match fetch.poll() {
            Some(Output::Done(info)) => break info,
            Some(_) => {}
            None => {
                now = fetch.next_timeout(now).expect("more to hash");
                assert!(now < Time::from_secs(3), "nothing is waited for");
                fetch.handle_timeout(now);
                turns += 1;
            }
        }
    };
    assert_eq!(turns, PIECES.div_ceil(HASHED_AT_ONCE));
    assert_eq!(done.to_bytes(), right);
    assert_eq!((done.len(), fetch.held_bytes()), (right.len(), 0));
}

#[test]
fn a_suspect_that_comes_back_is_heard_alone() {
    const LEN: usize = 4 * PIECE;
    let right = info(5, LEN);
    let mut fetch = Fetch::<u8, u8>::new(InfoHashes::v1_only(v1(&right)));
    let now = Time::from_secs(1);
    let data = |piece: u32, lies: bool| {
        let start = piece as usize * PIECE;
        if lies { vec![9; PIECE] } else { right[start..start + PIECE].to_vec() }
    };
    let taken = |fetch: &mut Fetch<u8, u8>| std::iter::from_fn(|| fetch.poll()).collect::<Vec<_>>();
    let request = |peer, piece| Output::Request { peer, piece };
    (1..=2).for_each(|who| _ = fetch.add_peer(now, who, who, LEN as u64));
    assert_eq!(taken(&mut fetch), [request(1, 0), request(1, 1), request(2, 2), request(2, 3)]);
    for (who, piece) in [(1, 0), (1, 1), (2, 2), (2, 3)] {
        fetch.handle_data(now, who, piece, None, &data(piece, who == 2)).unwrap();
    }
    // Nobody knows who it was. Both go, and come back by other connections.
    taken(&mut fetch);
    (1..=2).for_each(|who| fetch.remove_peer(now, who));
    (1..=2).for_each(|who| _ = fetch.add_peer(now, who + 10, who, LEN as u64));
    assert_eq!(taken(&mut fetch), [request(11, 0), request(11, 1), request(12, 0), request(12, 1)]);
    let answer = |fetch: &mut Fetch<u8, u8>, key, pieces: [u32; 2]| {
        for piece in pieces {
            fetch.handle_data(now, key, piece, None, &data(piece, key == 12)).unwrap();
        }
    };
    answer(&mut fetch, 12, [0, 1]);
    answer(&mut fetch, 12, [2, 3]);
    assert_eq!(taken(&mut fetch), [request(12, 2), request(12, 3), Output::Guilty(2)]);
    answer(&mut fetch, 11, [0, 1]);
    answer(&mut fetch, 11, [2, 3]);
    assert!(matches!(fetch.poll(), Some(Output::Done(info)) if info.to_bytes() == right));
}

#[test]
fn a_piece_that_is_too_long_is_not_taken_and_others_are_asked_at_once() {
    let mut fetch = Fetch::<u8, u8>::new(InfoHashes::v1_only(v1(b"")));
    let now = Time::from_secs(1);
    fetch.add_peer(now, 1, 1, SIZE as u64);
    assert_eq!(fetch.poll(), Some(Output::Request { peer: 1, piece: 0 }));
    fetch.handle_data(now, 1, 0, Some(SIZE as u64), &vec![7; PIECE + 1]).unwrap();
    fetch.handle_data(now, 1, 1, Some(SIZE as u64), &vec![7; 2 * PIECE]).unwrap();
    assert_eq!((fetch.held_bytes(), fetch.progress().have), (0, 0));
    while fetch.poll().is_some() {}
    fetch.add_peer(now, 2, 2, SIZE as u64);
    let asked: Vec<_> = std::iter::from_fn(|| fetch.poll()).collect();
    assert_eq!(asked, [0, 1].map(|piece| Output::Request { peer: 2, piece }));
}

#[test]
fn a_late_refusal_does_not_end_the_request_to_another_peer() {
    let mut fetch = Fetch::<u8, u8>::new(InfoHashes::v1_only(v1(b"")));
    let mut now = Time::from_secs(1);
    let asked = |fetch: &mut Fetch<u8, u8>| std::iter::from_fn(|| fetch.poll()).collect::<Vec<_>>();
    let request = |peer| Output::Request { peer, piece: 0 };
    fetch.add_peer(now, 1, 1, PIECE as u64);
    assert_eq!(asked(&mut fetch), [request(1)]);
    now += PATIENCE;
    fetch.handle_timeout(now);
    (2..=3).for_each(|key| _ = fetch.add_peer(now, key, key, PIECE as u64));
    assert_eq!(asked(&mut fetch), [request(2), request(3)], "two may be asked at once");
    fetch.handle_reject(now, 1, 0);
    fetch.add_peer(now, 4, 4, PIECE as u64);
    assert_eq!(asked(&mut fetch), [], "two are asked still");
}

#[test]
fn of_a_peer_that_stays_silent_few_requests_are_remembered() {
    let mut fetch = Fetch::<u8, u8>::new(InfoHashes::v1_only(v1(b"")));
    let mut now = Time::from_secs(1);
    fetch.add_peer(now, 1, 1, 100 * PIECE as u64);
    for round in 0..60 {
        while fetch.poll().is_some() {}
        now = fetch.next_timeout(now).expect("it goes on");
        fetch.handle_timeout(now);
        assert!(fetch.open_requests(1) <= MOST_LATE + OUTSTANDING, "{round}: {}", fetch.open_requests(1));
    }
}

#[test]
fn what_there_is_no_memory_for_rests_and_begins_anew() {
    let mut fetch = Fetch::<u8, u8>::new(InfoHashes::v1_only(v1(b"")));
    let mut now = Time::from_secs(1);
    fetch.add_peer(now, 1, 1, SIZE as u64);
    while fetch.poll().is_some() {}
    assert_eq!(fetch.weights(now).count(), 0);
    fetch.handle_data(now, 1, 0, None, &[7; PIECE]).unwrap();
    let weight = fetch.weights(now).next().expect("it holds a piece");
    assert_eq!(weight.held, PIECE);
    while fetch.poll().is_some() {}
    fetch.shed(now, &weight);
    // What is on its way is of no use any more.
    [1, 2].iter().for_each(|piece| fetch.handle_data(now, 1, *piece, None, &[7; PIECE]).unwrap());
    assert_eq!((fetch.held_bytes(), fetch.poll()), (0, None));
    let mut first = None;
    while first.is_none() {
        now = fetch.next_timeout(now).expect("it goes on");
        fetch.handle_timeout(now);
        first = fetch.poll();
    }
    assert_eq!(first, Some(Output::Request { peer: 1, piece: 0 }));
    assert!((Time::from_secs(3)..Time::from_secs(10)).contains(&now), "{now:?}");
}
