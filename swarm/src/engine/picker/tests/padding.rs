//! Padding (BEP 47): asked of nobody, counted nowhere.

use super::super::*;
use super::fixture::{ME, numbers};
use metainfo::BLOCK;
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use storage::Pads;

const B: u64 = BLOCK as u64;

/// Six pieces of four blocks each: data and padding, then a piece of padding only, then data without any.
fn picker() -> Picker {
    let geometry = Geometry::contiguous(4 * B, 24 * B).unwrap();
    // Piece 0 has its first block and a bit of the second; piece 1 has its second block; piece 2 has nothing.
    let pads = Pads::new([B + 100..5 * B, 6 * B..12 * B]);
    Picker::with_pads(geometry, pads, Config { random_first: 0, ..Config::default() })
}

fn pick(picker: &mut Picker, peer: PeerKey, manner: Manner, count: usize) -> Vec<metainfo::Block> {
    let view = PeerView { have: Have::All, allowed: None, suggested: &[], avoid: &[], manner };
    let mut out = Vec::new();
    let rng = &mut ChaCha8Rng::seed_from_u64(1);
    picker.pick(peer, view, &mut Cursor::new(), count, rng, &mut out);
    picker.check_invariant();
    out
}

fn index(picker: &Picker, piece: u32) -> PieceIndex {
    picker.geometry().piece(piece).unwrap()
}

#[test]
fn only_blocks_with_data_are_asked_for() {
    for manner in [Manner::Share, Manner::Whole, Manner::Several, Manner::Alone] {
        let mut picker = picker();
        picker.add_seed();
        let mut asked = numbers(&pick(&mut picker, ME, manner, 1000));
        asked.sort_unstable();
        let whole = (3..6).flat_map(|piece| (0..4).map(move |block| (piece, block)));
        let expected: Vec<_> = [(0, 0), (0, 1), (1, 1)].into_iter().chain(whole).collect();
        assert_eq!(asked, expected, "{manner:?}");
        assert!(picker.endgame());
    }
}

#[test]
fn a_claim_of_a_range_leaves_padding_out() {
    let mut picker = picker();
    let run = picker.claim_range(ME, 100).unwrap();
    assert_eq!((run.first.get(), run.count), (3, 3), "a piece of padding is in nobody's run");
    let run = picker.claim_range(ME, 100).unwrap();
    assert_eq!((run.first.get(), run.count), (0, 2));
    let asked: Vec<u32> = picker.partials().filter(|p| p.piece().get() < 2).map(|p| p.asked()).collect();
    assert_eq!(asked, [2, 1]);
    picker.check_invariant();
    picker.unclaim(ME, run);
    picker.check_invariant();
    assert!(!picker.is_partial(index(&picker, 0)), "given back, it is as if it had not begun");
}

#[test]
fn bytes_are_those_of_the_files() {
    let mut picker = picker();
    let payload = B + 100 + B + 12 * B;
    assert_eq!((picker.wanted_bytes(), picker.missing_bytes(), picker.wanted_left()), (payload, payload, 5));
    let block = |picker: &Picker, at| picker.geometry().block(index(picker, 0), at).unwrap();
    let (first, second, padding) = (block(&picker, 0), block(&picker, 1), block(&picker, 2));
    assert_eq!(picker.block_state(padding), BlockState::Written);
    assert_eq!(picker.accept(padding, ME), Received::Duplicate, "nothing is begun by it");
    assert!(matches!(picker.accept(second, ME), Received::First { .. }));
    assert_eq!(picker.partial_bytes(), 100, "the rest of the block is padding");
    assert!(matches!(picker.accept(first, ME), Received::First { .. }));
    assert_eq!(picker.partial_bytes(), B + 100);
    picker.check_invariant();
    picker.written(first);
    picker.write_failed(second);
    assert_eq!(picker.partial_bytes(), B);
    picker.check_invariant();
    assert!(matches!(picker.accept(second, ME), Received::First { .. }));
    picker.written(second);
    assert!(picker.partials().all(|partial| partial.is_written() && partial.written() == 2));
    picker.piece_failed(first.piece());
    picker.check_invariant();
    assert_eq!(picker.partial_bytes(), 0);
    assert_eq!(picker.partials().map(|partial| partial.free()).sum::<u32>(), 2, "what is padding stays");
    picker.piece_passed(first.piece());
    assert_eq!((picker.have_bytes(), picker.wanted_bytes()), (B + 100, payload - B - 100));
    picker.lost(first.piece());
    assert_eq!((picker.have_bytes(), picker.wanted_bytes()), (0, payload));
    picker.check_invariant();
}

#[test]
fn a_piece_of_padding_is_never_wanted() {
    let mut picker = picker();
    let padding = index(&picker, 2);
    picker.set_priority(padding, Priority::High);
    let all: Vec<_> = picker.geometry().pieces().map(|piece| (piece, Priority::High)).collect();
    picker.set_priorities(all);
    picker.check_invariant();
    assert!(!picker.is_wanted(padding));
    assert_eq!(picker.priority(padding), Priority::Skip);
    for piece in [0, 1, 3, 4, 5] {
        picker.have(index(&picker, piece));
    }
    assert!(picker.finished() && !picker.complete());
    assert_eq!(picker.missing_bytes(), 0);
    picker.have(padding);
    assert!(picker.complete());
    picker.check_invariant();
}

#[test]
fn what_an_earlier_run_wrote_is_taken_up_beside_padding() {
    let mut picker = picker();
    let piece = index(&picker, 0);
    picker.adopt(piece, &[0, 2, 3]);
    picker.check_invariant();
    assert_eq!(picker.partial_bytes(), B);
    let asked = pick(&mut picker, ME, Manner::Share, 1);
    assert_eq!(numbers(&asked), [(0, 1)]);
    picker.adopt(index(&picker, 1), &[0, 2]);
    assert!(!picker.is_partial(index(&picker, 1)), "padding alone is no progress");
    picker.check_invariant();
}
