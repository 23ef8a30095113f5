//! Layers fetched from honest peers, liars, and peers that say nothing, on virtual time.

use std::collections::BTreeMap;
use std::time::Duration;

use metainfo::merkle::Hash;
use metainfo::{Edit, Torrent, Version};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use wire::peer::HashRequest;

use super::{Fetch, Flood, MOST_UNASKED, OUTSTANDING, Output};
use crate::engine::time::Time;

/// Two long files, one of three pieces, and a short one; pieces of 16 KiB.
fn whole() -> Torrent {
    let layer = |pieces: u32, seed: u8| -> Vec<Hash> {
        (0..pieces).map(|at| metainfo::merkle::leaf(&[&at.to_be_bytes()[..], &[seed]].concat())).collect()
    };
    let mut builder = metainfo::Builder::folder("f").version(Version::V2).piece_length(16384);
    let files = [("a", 3000), ("b", 513), ("c", 3), ("d", 1)];
    for (name, pieces) in files {
        builder = builder.file([name], u64::from(pieces) * 16384 - 7);
    }
    let mut draft = builder.prepare().unwrap();
    let mut roots = files.iter().flat_map(|(name, pieces)| layer(*pieces, name.as_bytes()[0]));
    for piece in draft.geometry().clone().pieces() {
        draft.set_v2(piece, roots.next().unwrap()).unwrap();
    }
    Torrent::parse(&draft.finish().unwrap()).unwrap()
}

fn bare(whole: &Torrent) -> Torrent {
    Torrent::from_info(whole.info_bytes()).unwrap()
}

fn answer(whole: &Torrent, request: &HashRequest) -> Vec<Hash> {
    let HashRequest { pieces_root, base_layer, index, length, proof_layers } = request;
    whole.tree_hashes(pieces_root, *base_layer, *index, *length, *proof_layers).unwrap()
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Honest,
    Slow,
    Silent,
    Rejecting,
    Lying,
    /// It sends as many hashes as it likes.
    Short,
    Leaving,
}

/// Runs until all is there or nothing more happens for ten minutes; who was guilty, and when it ended.
fn run(seed: u64, kinds: &[Kind]) -> (Option<Torrent>, Vec<u8>, Time) {
    let whole = whole();
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let mut fetch = Fetch::new(bare(&whole).lacking_layers()).unwrap();
    let mut now = Time::from_secs(1);
    let end = now + Duration::from_secs(600);
    let mut answers: BTreeMap<(Time, u64), (usize, HashRequest)> = BTreeMap::new();
    let mut guilty = Vec::new();
    for key in 0..kinds.len() {
        fetch.add_peer(now, key, key as u8);
    }
    let mut waiting = vec![0; kinds.len()];
    for number in 0.. {
        while let Some(output) = fetch.poll() {
            match output {
                Output::Request { peer, request } => {
                    waiting[peer] += 1;
                    assert!(kinds[peer] == Kind::Silent || waiting[peer] <= OUTSTANDING, "seed {seed}");
                    let delay = match kinds[peer] {
                        Kind::Slow => rng.random_range(5000..20_000),
                        _ => rng.random_range(20..200),
                    };
                    let at = now + Duration::from_millis(delay);
                    answers.insert((at, rng.random()), (peer, request));
                }
                Output::Guilty(who) => guilty.push(who),
                Output::Done(layers) => {
                    let mut edit = Edit::from_info(whole.info_bytes()).unwrap();
                    edit.set_piece_layers(layers.iter());
                    assert_eq!(fetch.next_timeout(now), None);
                    return (Some(Torrent::parse(&edit.finish().unwrap()).unwrap()), guilty, now);
                }
            }
        }
        let answered = answers.keys().next().map(|(at, _)| *at);
        let next = [answered, fetch.next_timeout(now)].into_iter().flatten().min();
        let Some(next) = next.filter(|next| *next < end) else { break };
        assert!(number < 100_000, "seed {seed}: no end");
        now = next;
        if answered != Some(next) {
            fetch.handle_timeout(now);
            continue;
        }
        let (_, (peer, request)) = answers.pop_first().unwrap();
        waiting[peer] -= usize::from(kinds[peer] != Kind::Slow);
        let mut hashes = answer(&whole, &request);
        match kinds[peer] {
            Kind::Silent => continue,
            Kind::Rejecting => {
                fetch.handle_reject(now, peer, &request);
                continue;
            }
            Kind::Lying => {
                let at = rng.random_range(0..hashes.len());
                hashes[at][rng.random_range(0..32)] ^= 1 << rng.random_range(0..8);
            }
            Kind::Short => _ = hashes.pop(),
            Kind::Leaving => {
                fetch.remove_peer(now, peer);
                continue;
            }
            Kind::Honest => {}
            Kind::Slow => waiting[peer] = 0,
        }
        fetch.handle_hashes(now, peer, &request, &hashes).unwrap();
    }
    (None, guilty, now)
}

#[test]
fn one_honest_peer_is_enough_whoever_else_is_there() {
    use Kind::*;
    let cases: [(&[Kind], u64); 6] = [
        (&[Honest], 5),
        (&[Honest, Honest, Honest], 5),
        (&[Honest, Silent, Silent], 20),
        (&[Rejecting, Honest, Short, Rejecting], 10),
        (&[Lying, Leaving, Honest, Lying, Short, Silent], 20),
        (&[Slow], 300),
    ];
    for (seed, (kinds, seconds)) in cases.into_iter().enumerate() {
        let (torrent, guilty, at) = run(seed as u64, kinds);
        assert!(torrent.is_some_and(|torrent| torrent.has_piece_layers()), "{kinds:?}");
        assert!(at < Time::from_secs(1 + seconds), "{kinds:?} took until {at:?}");
        assert!(guilty.iter().all(|who| kinds[usize::from(*who)] == Lying), "{kinds:?}: {guilty:?}");
    }
}

#[test]
fn a_liar_is_found_by_its_first_answer_and_nobody_else_is() {
    for seed in 0..20 {
        let (torrent, guilty, _) = run(seed, &[Kind::Lying, Kind::Honest, Kind::Lying]);
        assert!(torrent.is_some());
        assert!(guilty == [0, 2] || guilty == [2, 0], "seed {seed}: {guilty:?}");
        let (torrent, guilty, _) = run(seed, &[Kind::Lying]);
        assert!(torrent.is_none());
        assert_eq!(guilty, [0]);
    }
}

#[test]
fn what_nobody_asked_for_is_bounded() {
    let whole = whole();
    let mut fetch = Fetch::new(bare(&whole).lacking_layers()).unwrap();
    let now = Time::from_secs(1);
    fetch.add_peer(now, 1, 1);
    let Some(Output::Request { request, .. }) = fetch.poll() else { panic!() };
    let other = HashRequest { index: 1 << 20, ..request };
    let hashes = vec![[1; 32]; 512];
    let most = MOST_UNASKED / (512 * 32);
    let until = (0..2 * most).find(|_| fetch.handle_hashes(now, 1, &other, &hashes) == Err(Flood));
    assert!(until.is_some_and(|until| until <= most));
    assert_eq!(fetch.handle_hashes(now, 1, &request, &answer(&whole, &request)), Ok(()));
    assert_eq!(fetch.progress().have, 1);
}

#[test]
fn what_a_peer_rejected_is_asked_of_it_again_after_a_while() {
    let whole = whole();
    let mut fetch = Fetch::new(bare(&whole).lacking_layers()).unwrap();
    let mut now = Time::from_secs(1);
    fetch.add_peer(now, 1, 1);
    let mut rejected = None;
    for _ in 0..100 {
        while let Some(output) = fetch.poll() {
            match output {
                Output::Request { request, .. } if rejected.is_none() => {
                    rejected = Some(request);
                    fetch.handle_reject(now, 1, &request);
                }
                Output::Request { request, .. } => {
                    fetch.handle_hashes(now, 1, &request, &answer(&whole, &request)).unwrap();
                }
                Output::Done(_) => return assert!(now >= Time::from_secs(11)),
                Output::Guilty(_) => panic!(),
            }
        }
        now = fetch.next_timeout(now).unwrap();
        fetch.handle_timeout(now);
    }
    panic!("it does not end");
}

#[test]
fn nothing_lacks_nothing_is_asked() {
    let mut fetch = Fetch::<u8, u8>::new(Vec::new()).unwrap();
    assert!(matches!(fetch.poll(), Some(Output::Done(_))));
    assert_eq!(super::cost(&whole().lacking_layers()), 0);
}
