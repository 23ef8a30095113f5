//! Messages that are no messages (cases 8 to 12 of the list of hostile behaviours).

use std::time::{Duration, Instant};

use swarm::engine::Close;
use swarm::sim::Heard;
use wire::peer::Message;

use super::arena::{Arena, PIECES, bytes, frame};

#[test]
fn an_absurd_length_ends_the_connection_before_its_body_is_held() {
    for (seed, len) in [u32::MAX, 1 << 31, 64 << 20, (128 << 10) + 10].into_iter().enumerate() {
        for id in [5, 7, 20, 22, 99] {
            let mut arena = Arena::new(seed as u64);
            let log = arena.says([frame(len, id, &[]), vec![0; 1 << 20]].concat());
            arena.run(2);
            assert!(matches!(arena.reasons()[..], [Close::Wire(_)]), "{len} {id}: {:?}", arena.reasons());
            assert_eq!(log.borrow().open(), 0);
            assert!(arena.held() < 64 << 10, "{} bytes held", arena.held());
            arena.finish();
        }
    }
}

#[test]
fn millions_of_keep_alives_cost_next_to_nothing() {
    let mut arena = Arena::new(1);
    let log = arena.says(vec![0; 4 * 1_000_000]);
    let began = Instant::now();
    arena.finish();
    // Generous: a debug build on a busy machine, the honest ones included. Five million cost under a second in release.
    assert!(began.elapsed() < Duration::from_secs(20), "{:?}", began.elapsed());
    assert_eq!(log.borrow().open(), 1, "it is no crime");
    assert!(arena.held() < 1 << 20, "{} bytes held", arena.held());
}

#[test]
fn unknown_messages_are_skipped_up_to_64_kib_and_no_further() {
    for (len, survives) in [(1, true), (1000, true), (64 << 10, true), ((64 << 10) + 1, false)] {
        let mut arena = Arena::new(2);
        let log = arena.says(frame(len + 1, 99, &vec![7; len as usize]));
        arena.finish();
        assert_eq!(log.borrow().open() == 1, survives, "{len} bytes: {:?}", arena.reasons());
        assert!(arena.held() < 1 << 20);
    }
}

#[test]
fn a_body_that_is_too_short_or_padded_ends_the_connection() {
    // Id and right length, without prefix.
    let sizes = [(0, 1), (1, 1), (2, 1), (3, 1), (4, 5), (6, 13), (8, 13), (9, 3), (13, 5)];
    let fast = [(14, 1), (15, 1), (16, 13), (17, 5), (21, 49), (23, 49)];
    for (id, right) in sizes.into_iter().chain(fast) {
        for len in [right - 1, right + 1] {
            if len == 0 {
                continue;
            }
            let mut arena = Arena::new(u64::from(id));
            let log = arena.says(frame(len, id, &vec![0; len as usize - 1]));
            arena.run(1);
            assert!(matches!(arena.reasons()[..], [Close::Wire(_)]), "{id} {len}: {:?}", arena.reasons());
            assert_eq!(log.borrow().open(), 0);
        }
    }
    let mut arena = Arena::new(3);
    for (id, len) in [(7, 8), (20, 1), (22, 48), (22, 50)] {
        arena.says(frame(len, id, &vec![0; len as usize - 1]));
    }
    arena.finish();
    assert_eq!(arena.reasons().len(), 4, "{:?}", arena.reasons());
}

#[test]
fn a_stream_split_at_any_byte_means_the_same() {
    let request = wire::peer::Request { index: 1, begin: 0, len: 16384 };
    let words = [
        bytes(Message::Bitfield(&[0xff, 0, 0, 0])),
        bytes(Message::Extended { id: 0, payload: b"d4:reqqi77ee" }),
        bytes(Message::Interested),
        bytes(Message::Unknown { id: 99, payload: &[1; 100] }),
        bytes(Message::Have(PIECES - 1)),
        bytes(Message::Request(request)),
        bytes(Message::KeepAlive),
        bytes(Message::Have(PIECES - 2)),
    ]
    .concat();
    for split in (0..words.len()).step_by(3) {
        let mut arena = Arena::new(4);
        let words = words.clone();
        let log = arena.caller(move |line, heard| match heard {
            Heard::Open => {
                line.raw(&words[..split]);
                line.wake_in(Duration::from_millis(50));
            }
            Heard::Wake => line.raw(&words[split..]),
            _ => {}
        });
        arena.run(1);
        assert_eq!(arena.reasons(), [], "split at {split}");
        let node = arena.world.node(arena.victim);
        let peers = node.engine.peers(arena.world.now, node.torrent);
        assert_eq!(peers.len(), 1);
        assert_eq!((peers[0].progress * PIECES as f32) as u32, 10, "split at {split}");
        assert!(peers[0].peer_interested && peers[0].am_interested);
        assert_eq!(log.borrow().payload, 16384, "split at {split}");
    }
}
