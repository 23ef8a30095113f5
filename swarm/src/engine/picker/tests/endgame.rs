//! Duplicates: in the endgame, and of stale requests.

use super::super::*;
use super::fixture::*;
use metainfo::Block;
use std::time::Duration;

#[test]
fn there_is_no_endgame_while_a_block_is_free() {
    let mut f = picture("11", "  ", "nn", "Rr", 1);
    assert!(!f.picker.endgame());
    assert_eq!(f.pick("* ", Manner::Share, 4), []);
    f.pick_as(PeerKey(3), " *", Manner::Share, 3, &mut Cursor::new());
    assert!(f.picker.endgame());
    assert_eq!(f.pick("* ", Manner::Share, 4).len(), 1, "one block a call");
}

#[test]
fn skipped_pieces_do_not_hold_the_endgame_up() {
    let f = picture("111", "*  ", "nn.", "0R1", 1);
    assert!(f.picker.endgame());
}

#[test]
fn the_least_asked_block_is_duplicated_and_none_more_than_twice() {
    let mut f = picture("1", " ", "n", "R", 1);
    for (peer, expected) in [(1, 2), (2, 3)] {
        let peer = PeerKey(peer);
        let mut blocks: Vec<_> = (0..4)
            .map(|_| f.pick_as(peer, "*", Manner::Whole, 9, &mut Cursor::new()))
            .map(|p| p[0])
            .collect();
        for &block in &blocks {
            assert_eq!(f.picker.block_state(block), BlockState::Asked(expected), "spread evenly");
        }
        blocks.sort();
        blocks.dedup();
        assert_eq!(blocks.len(), 4);
        assert_eq!(f.pick_as(peer, "*", Manner::Whole, 9, &mut Cursor::new()), [], "never twice of one peer");
    }
    assert_eq!(f.pick_as(PeerKey(3), "*", Manner::Whole, 9, &mut Cursor::new()), []);
}

#[test]
fn the_block_that_gains_most_is_duplicated_and_none_that_gains_nothing() {
    let mut f = picture("1", " ", "n", "R", 1);
    let bits = bits("*");
    let view = PeerView {
        have: Have::Some(&bits),
        allowed: None,
        suggested: &[],
        avoid: &[],
        manner: Manner::Share,
    };
    let mut pick = |gain: fn(u32) -> Option<u64>| {
        let mut out = Vec::new();
        let gain = |block: Block, other| {
            assert_eq!(other, OTHER);
            gain(block.index()).map(Duration::from_millis)
        };
        f.picker.pick_worth(ME, view, &mut Cursor::new(), 4, &mut f.rng, &mut out, gain);
        f.picker.check_invariant();
        out.iter().map(|block| block.index()).collect::<Vec<_>>()
    };
    assert_eq!(pick(|_| None), [0; 0]);
    assert_eq!(pick(|index| (index != 3).then_some(u64::from(index))), [2]);
    assert_eq!(pick(|index| (index == 3).then_some(0)), [3]);
    assert_eq!(pick(|index| (index >= 2).then_some(9)), [0; 0], "never twice of one peer");
}

#[test]
fn the_losers_are_named_when_a_block_comes() {
    let mut f = picture("1", " ", "n", "R", 1);
    let block = f.pick("*", Manner::Share, 1)[0];
    let Received::First { others } = f.picker.received(block, ME) else { panic!("first") };
    assert_eq!(others.as_slice(), [OTHER]);
    assert_eq!(f.picker.received(block, OTHER), Received::Duplicate);
    assert!(!f.picker.release(block, OTHER), "already forgotten");
    f.picker.check_invariant();
}

#[test]
fn a_block_stays_asked_until_the_last_peer_releases_it() {
    for first in [ME, OTHER] {
        let second = if first == ME { OTHER } else { ME };
        let mut f = picture("1", " ", "n", "R", 1);
        let block = f.pick("*", Manner::Share, 1)[0];
        assert!(f.picker.release(block, first));
        assert_eq!(f.picker.block_state(block), BlockState::Asked(1));
        assert_eq!(f.picker.received(block, first), Received::NotRequested);
        assert!(f.picker.release(block, second));
        assert_eq!(f.picker.block_state(block), BlockState::Free);
        f.picker.check_invariant();
    }
}

#[test]
fn a_stale_request_is_duplicated_outside_of_the_endgame() {
    let mut f = picture("111", "   ", "nnn", "000", 1);
    let mut mine = Cursor::new();
    let slow = f.pick_as(PeerKey(5), "*  ", Manner::Whole, 4, &mut Cursor::new());
    assert_eq!(f.pick_as(ME, "*  ", Manner::Share, 9, &mut mine), []);
    assert!(f.picker.stale(slow[2]));
    f.picker.check_invariant();
    assert_eq!(
        f.pick_as(ME, "*  ", Manner::Share, 9, &mut mine),
        [slow[2]],
        "though it found nothing before"
    );
    assert_eq!(f.pick_as(PeerKey(6), "*  ", Manner::Share, 9, &mut Cursor::new()), [], "once");
    assert!(
        matches!(f.picker.received(slow[2], PeerKey(5)), Received::First { others } if others.as_slice() == [ME])
    );
}

#[test]
fn an_unrequested_block_is_refused_and_a_late_one_accepted() {
    let mut f = picture("11", "  ", "nn", "R0", 1);
    for block in [f.block(0, 0), f.block(1, 0)] {
        assert_eq!(f.picker.received(block, ME), Received::NotRequested);
        assert!(matches!(f.picker.accept(block, ME), Received::First { .. }));
        assert_eq!(f.picker.received(block, ME), Received::Duplicate);
        f.picker.check_invariant();
    }
}

#[test]
fn what_could_not_be_written_is_missing_again() {
    let mut f = picture("1", " ", "n", "0", 1);
    let blocks = f.pick("*", Manner::Whole, 4);
    f.picker.received(blocks[0], ME);
    f.picker.received(blocks[1], ME);
    f.picker.written(blocks[0]);
    f.picker.write_failed(blocks[0]);
    f.picker.write_failed(blocks[1]);
    f.picker.write_failed(blocks[2]);
    f.picker.check_invariant();
    assert_eq!(f.picker.block_state(blocks[0]), BlockState::Free);
    assert_eq!(f.picker.block_state(blocks[2]), BlockState::Asked(1));
    assert_eq!(f.pick("*", Manner::Whole, 4), blocks[..2]);
}

#[test]
fn a_stale_request_that_is_given_back_is_open_for_those_who_looked_before() {
    // The second piece is at nobody's, so it is not the endgame.
    let mut f = picture("11", "  ", "nn", "R ", 1);
    let block =
        f.picker.geometry().pieces().next().and_then(|piece| f.picker.geometry().block(piece, 2)).unwrap();
    for peer in [1, 2] {
        assert!(f.picker.stale(block));
        assert_eq!(f.pick_as(PeerKey(peer), "* ", Manner::Share, 4, &mut Cursor::new()), [block]);
    }
    assert!(f.picker.stale(block));
    let mut cursor = Cursor::new();
    assert_eq!(f.pick_as(PeerKey(3), "* ", Manner::Share, 4, &mut cursor), [], "three were asked");
    assert!(f.picker.release(block, PeerKey(1)));
    assert_eq!(f.pick_as(PeerKey(3), "* ", Manner::Share, 4, &mut cursor), [block]);
}
