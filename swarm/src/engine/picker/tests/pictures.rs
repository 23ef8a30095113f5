//! Each case is a picture of availability, have, priority and partial pieces, and what a peer should be asked.

use super::super::*;
use super::fixture::*;

const SEEDS: std::ops::Range<u64> = 0..20;

/// available, have, priority, partial, the peer has, expected: one of these pieces, name
type Case<'a> = (&'a str, &'a str, &'a str, &'a str, &'a str, &'a [u32], &'a str);

#[test]
fn the_first_piece_is_chosen_by_this_table() {
    let cases: &[Case<'_>] = &[
        ("2213223", "       ", "nnnnnnn", "0000000", "*******", &[2], "the rarest"),
        (
            "2213223",
            "       ",
            "nnnnnnn",
            "0000000",
            "** ****",
            &[0, 1, 4, 5],
            "the rarest that the peer has",
        ),
        ("2213223", "  *    ", "nnnnnnn", "0000000", "*******", &[0, 1, 4, 5], "the rarest that we lack"),
        ("2213223", "       ", "nn.nnnn", "0000000", "*******", &[0, 1, 4, 5], "never a skipped one"),
        ("2213223", "       ", "nnnhnnn", "0000000", "*******", &[3], "high priority before rare"),
        ("2213223", "       ", "lllnlll", "0000000", "*******", &[3], "low priority last"),
        ("2213223", "       ", "nnnnnnn", "0000001", "*******", &[6], "partial before rare"),
        ("2213223", "       ", "nnnnnnn", "0130000", "*******", &[2], "the partial that ends soonest"),
        ("2213223", "       ", "nnnnnnn", "0130000", "** ****", &[1], "a partial that the peer has"),
        ("2213223", "       ", "nnnhnnn", "0130000", "*******", &[3], "high priority before partial"),
        ("2213223", "       ", "n.nnnnn", "0300000", "*******", &[2], "no skipped partial"),
        ("2222222", "       ", "nnnnnnn", "000r000", "*******", &[3], "joins what another is asked for"),
        ("2222222", "       ", "nnnnnnn", "RRRRR0R", "*******", &[5], "not what is asked for in full"),
    ];
    for &(available, have, priority, partial, has, expected, name) in cases {
        for seed in SEEDS {
            let mut f = picture(available, have, priority, partial, seed);
            let picked = f.pick(has, Manner::Share, 1);
            assert_eq!(picked.len(), 1, "{name}, seed {seed}");
            let piece = picked[0].piece().get();
            assert!(expected.contains(&piece), "{name}: piece {piece}, seed {seed}");
        }
    }
}

#[test]
fn nothing_is_picked_from_a_peer_without_what_we_want() {
    let cases = [
        ("1111", "    ", "nnnn", "    ", "it has nothing"),
        ("1111", "*** ", "nnnn", "*** ", "we have it all"),
        ("1111", "    ", "...n", "*** ", "it is skipped"),
    ];
    for (available, have, priority, has, name) in cases {
        let mut f = picture(available, have, priority, "0000", 1);
        let bits = bits(has);
        assert!(!f.picker.interesting(Have::Some(&bits)), "{name}");
        assert_eq!(f.picker.count_wanted(Have::Some(&bits)), 0, "{name}");
        assert_eq!(f.pick(has, Manner::Share, 9), [], "{name}");
    }
}

#[test]
fn equals_are_chosen_at_random() {
    let mut chosen = [0; 8];
    for seed in 0..400 {
        let mut f = picture("11111111", "        ", "nnnnnnnn", "00000000", seed);
        chosen[f.pick("********", Manner::Share, 1)[0].piece().as_usize()] += 1;
    }
    assert!(chosen.iter().all(|n| (25..80).contains(n)), "{chosen:?}");
}

#[test]
fn the_first_pieces_are_chosen_at_random() {
    let mut chosen = [0; 4];
    for seed in 0..200 {
        let mut f = picture("1999", "    ", "nnnn", "0000", seed);
        f.picker.config.random_first = 4;
        chosen[f.pick("****", Manner::Share, 1)[0].piece().as_usize()] += 1;
    }
    assert!(chosen.iter().all(|n| (25..80).contains(n)), "{chosen:?}");
}

#[test]
fn a_fast_peer_takes_whole_pieces_in_order() {
    let mut f = picture("12", "  ", "nn", "00", 1);
    let picked = f.pick("**", Manner::Whole, 6);
    assert_eq!(numbers(&picked), [(0, 0), (0, 1), (0, 2), (0, 3), (1, 0), (1, 1)]);
}

#[test]
fn a_piece_with_an_owner_is_not_joined_but_helped_from_its_end() {
    let mut f = picture("111", "   ", "nnn", "000", 1);
    let mut cursor = Cursor::new();
    let first = f.pick_as(PeerKey(5), "*  ", Manner::Whole, 1, &mut cursor);
    assert_eq!(numbers(&first), [(0, 0)]);
    assert_eq!(pieces(&f.pick("** ", Manner::Share, 4)), [1]);
    assert_eq!(numbers(&f.pick("** ", Manner::Share, 2)), [(0, 2), (0, 3)], "nothing else is left");
    let rest = f.pick_as(PeerKey(5), "*  ", Manner::Whole, 4, &mut cursor);
    assert_eq!(numbers(&rest), [(0, 1)]);
}

#[test]
fn a_piece_is_free_again_when_its_owner_has_no_requests() {
    let mut f = picture("11", "  ", "nn", "00", 1);
    let mut cursor = Cursor::new();
    let first = f.pick_as(PeerKey(5), "* ", Manner::Whole, 1, &mut cursor);
    f.picker.received(first[0], PeerKey(5));
    f.picker.check_invariant();
    let joined = f.pick("* ", Manner::Whole, 1);
    assert_eq!(numbers(&joined), [(0, 1)]);
    assert_eq!(f.picker.partials().next().unwrap().owner(), Some(ME));
}

#[test]
fn a_fast_peer_leaves_pieces_to_slow_ones_that_are_at_work_in_them() {
    let mut f = picture("1111", "    ", "nnnn", "r000", 1);
    assert_ne!(pieces(&f.pick("****", Manner::Whole, 1)), [0]);
    let mut f = picture("1111", "    ", "nnnn", "rRRR", 1);
    assert_eq!(pieces(&f.pick("****", Manner::Whole, 1)), [0], "unless nothing else is left");
    let mut f = picture("1111", "    ", "nnnn", "r000", 1);
    f.picker.set_target(0);
    assert_eq!(pieces(&f.pick("****", Manner::Whole, 1)), [0], "or too many pieces are in progress");
}

#[test]
fn a_suspect_works_alone() {
    let mut f = picture("111", "   ", "nnn", "1r0", 1);
    let picked = f.pick("***", Manner::Alone, 8);
    assert_eq!(pieces(&picked), [2]);
    assert_eq!(f.pick_as(PeerKey(7), "  *", Manner::Share, 4, &mut Cursor::new()), []);
}

#[test]
fn a_suspect_that_is_cleared_sees_shared_pieces_again() {
    let mut f = picture("11", "  ", "nn", "10", 1);
    let mut cursor = Cursor::new();
    assert_eq!(f.pick_as(ME, "* ", Manner::Alone, 1, &mut cursor), []);
    assert_eq!(numbers(&f.pick_as(ME, "* ", Manner::Share, 1, &mut cursor)), [(0, 1)]);
}

#[test]
fn sequential_goes_from_the_first_to_the_last_but_for_high_priority() {
    for seed in SEEDS {
        let mut f = picture("5432111", "*      ", "nnnnhn.", "0000000", seed);
        f.picker.set_order(Order::Sequential);
        let mut cursor = Cursor::new();
        let picked = f.pick_as(ME, "**  ****".get(..7).unwrap(), Manner::Whole, 12, &mut cursor);
        assert_eq!(pieces(&picked), [4, 1, 5], "seed {seed}");
        assert_eq!(pieces(&f.pick("*******", Manner::Whole, 99)), [2, 3]);
    }
}

#[test]
fn the_ends_of_files_come_first_if_so_set() {
    let mut f = picture("1119111", "       ", "nnnn.nn", "0000000", 1);
    let all: Vec<_> = f.picker.geometry().pieces().collect();
    f.picker.prefer_ends([all[3]..=all[4], all[4]..=all[6]]);
    let picked = f.pick("*******", Manner::Whole, 8);
    assert_eq!(pieces(&picked), [6, 3]);
    assert_eq!(f.picker.priority(all[4]), Priority::Skip);
}

#[test]
fn while_choked_only_allowed_pieces_are_picked() {
    let mut f = picture("1111", "    ", "nn.n", "0000", 1);
    let allowed: Vec<_> = f.picker.geometry().pieces().skip(1).collect();
    let bits = bits("*** ");
    let view = PeerView {
        have: Have::Some(&bits),
        allowed: Some(&allowed),
        suggested: &[],
        avoid: &[],
        manner: Manner::Share,
    };
    let mut out = Vec::new();
    f.picker.pick(ME, view, &mut Cursor::new(), 99, &mut f.rng, &mut out);
    assert_eq!(pieces(&out), [1]);
}

#[test]
fn suggested_pieces_are_begun_first_of_those_that_are_as_rare() {
    let mut f = picture("1111", "    ", "nn.n", "0000", 1);
    let suggested: Vec<_> = f.picker.geometry().pieces().rev().collect();
    let bits = bits("*** ");
    let view = PeerView {
        have: Have::Some(&bits),
        allowed: None,
        suggested: &suggested,
        avoid: &[],
        manner: Manner::Share,
    };
    let mut out = Vec::new();
    f.picker.pick(ME, view, &mut Cursor::new(), 1, &mut f.rng, &mut out);
    assert_eq!(pieces(&out), [1]);
    // The pieces behind the second are rarer.
    for (availability, chosen) in [("3311", 3), ("3312", 2), ("1111", 1)] {
        let mut f = picture(availability, "    ", "nnnn", "0000", 1);
        let piece = |index| f.picker.geometry().piece(index).unwrap();
        let suggested = [piece(1), piece(3)];
        let view = PeerView {
            have: Have::All,
            allowed: None,
            suggested: &suggested,
            avoid: &[],
            manner: Manner::Share,
        };
        let mut out = Vec::new();
        f.picker.pick(ME, view, &mut Cursor::new(), 1, &mut f.rng, &mut out);
        assert_eq!(pieces(&out), [chosen], "{availability}");
    }
}

#[test]
fn what_only_seeds_have_comes_before_what_others_have_too() {
    let mut f = picture("101", "   ", "nnn", "000", 1);
    f.picker.add_seed();
    let view = PeerView { have: Have::All, allowed: None, suggested: &[], avoid: &[], manner: Manner::Whole };
    let mut out = Vec::new();
    f.picker.pick(ME, view, &mut Cursor::new(), 4, &mut f.rng, &mut out);
    assert_eq!(pieces(&out), [1]);
    assert_eq!(f.picker.distributed_copies(), (1, 666));
    f.picker.remove_seed();
    assert_eq!(f.picker.distributed_copies(), (0, 666));
}

#[test]
fn a_failed_piece_is_fetched_again_before_new_ones() {
    let mut f = picture("111", "   ", "nnn", "000", 1);
    let picked = f.pick("***", Manner::Whole, 4);
    for &block in &picked {
        f.picker.received(block, ME);
        f.picker.written(block);
    }
    let piece = picked[0].piece();
    assert_eq!(f.picker.partial_bytes(), 4 * 16384);
    f.picker.piece_failed(piece);
    f.picker.check_invariant();
    assert_eq!((f.picker.partial_bytes(), f.picker.has(piece)), (0, false));
    assert_eq!(f.pick_as(PeerKey(8), "***", Manner::Whole, 4, &mut Cursor::new()), picked);
}

#[test]
fn the_longest_gap_is_claimed_for_a_range_source() {
    let source = PeerKey(77);
    let mut f = picture("1111111111", "*         ", "nnnnnnn.nn", "0001000000", 1);
    let run = f.picker.claim_range(source, 2).unwrap();
    assert_eq!((run.first.get(), run.count), (4, 2));
    f.picker.check_invariant();
    let run = f.picker.claim_range(source, 9).unwrap();
    assert_eq!((run.first.get(), run.count), (1, 2), "the next longest, from the start");
    assert!(matches!(f.picker.received(f.block(1, 0), source), Received::First { .. }));
    f.picker.unclaim(source, run);
    f.picker.check_invariant();
    assert_eq!(f.picker.block_state(f.block(1, 0)), BlockState::Received);
    assert_eq!(f.picker.block_state(f.block(1, 1)), BlockState::Free);
    let again = f.picker.claim_range(source, 9).unwrap();
    assert_eq!((again.first.get(), again.count), (8, 2), "piece 1 is begun, piece 7 is skipped");
}

#[test]
fn what_is_avoided_is_not_picked_until_the_cursor_is_reset() {
    for manner in [Manner::Share, Manner::Whole, Manner::Several, Manner::Alone] {
        let mut f = picture("1111", "    ", "nnnn", "    ", 3);
        let avoid: Vec<_> = f.picker.geometry().pieces().take(2).collect();
        let mut cursor = Cursor::new();
        let pick = |f: &mut Fixture, avoid: &[metainfo::PieceIndex], cursor: &mut Cursor| {
            let view = PeerView { have: Have::All, allowed: None, suggested: &[], avoid, manner };
            let mut out = Vec::new();
            f.picker.pick(ME, view, cursor, 100, &mut f.rng, &mut out);
            f.picker.check_invariant();
            let mut found = pieces(&out);
            found.sort_unstable();
            found.dedup();
            found
        };
        assert_eq!(pick(&mut f, &avoid, &mut cursor), [2, 3], "{manner:?}");
        assert_eq!(pick(&mut f, &avoid, &mut cursor), [0; 0]);
        cursor.reset();
        assert_eq!(pick(&mut f, &[], &mut cursor), [0, 1]);
    }
}
