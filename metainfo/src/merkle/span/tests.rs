//! Answers and proofs against a tree that is written out layer by layer.

use super::{Hash, Height, Span, parent};
use crate::geometry::BLOCK;
use crate::merkle::crown::{self, Crowned};
use crate::merkle::{leaf, zero_root};
use alloc::vec::Vec;
use proptest::prelude::*;

/// All layers from one of so many hashes up, padded; `height` is that of the lowest.
fn whole(hashes: &[Hash], height: u32) -> Vec<Vec<Hash>> {
    let mut lowest = hashes.to_vec();
    lowest.resize(hashes.len().next_power_of_two(), zero_root(height));
    let mut layers = Vec::from([lowest]);
    while layers.last().unwrap().len() > 1 {
        let above = layers.last().unwrap().chunks(2).map(|pair| parent(&pair[0], &pair[1])).collect();
        layers.push(above);
    }
    layers
}

fn hashes(n: usize) -> Vec<Hash> {
    (0..n).map(|i| leaf(&i.to_be_bytes())).collect()
}

/// The tree of a file of so many pieces of `2^height` blocks.
fn tree(pieces: usize, height: u32) -> Height {
    Height::of_file((pieces as u64 * u64::from(BLOCK)) << height)
}

/// A layer as it is kept.
struct Kept {
    layer: Vec<Hash>,
    crown: Vec<Hash>,
    root: Hash,
    height: u32,
}

impl Kept {
    fn of(pieces: usize, height: u32) -> Self {
        let (layer, mut crown) = (hashes(pieces), Vec::new());
        let root = crown::build(&layer, height, &mut crown);
        Self { layer, crown, root, height }
    }

    fn answer(&self, span: &Span) -> Option<Vec<Hash>> {
        Crowned { layer: &self.layer, crown: &self.crown, height: self.height }.answer(span)
    }
}

/// What BEP 52 says is to be sent.
fn plain_answer(layers: &[Vec<Hash>], height: u32, span: &Span) -> Vec<Hash> {
    let base = (span.base() - height) as usize;
    let (index, length) = (span.index() as usize, span.length() as usize);
    let mut answer = layers[base][index..index + length].to_vec();
    let mut at = index;
    for layer in 0..span.proof_layers() as usize {
        at >>= 1;
        // The first log2(length) - 1 proof layers are left out.
        if layer + 1 >= length.ilog2() as usize && length > 1 {
            answer.push(layers[base + layer + 1][at ^ 1]);
        }
    }
    answer
}

#[test]
fn every_answer_of_small_trees_is_as_defined() {
    for (pieces, height) in (2..=40).flat_map(|pieces| [(pieces, 0), (pieces, 3)]) {
        let (kept, layers) = (Kept::of(pieces, height), whole(&hashes(pieces), height));
        assert_eq!(kept.root, layers.last().unwrap()[0], "{pieces} pieces");
        assert_eq!(kept.crown.len(), crown::len(pieces), "{pieces} pieces");
        let above = layers.len() as u32 - 1;
        for base in 0..above {
            let width = 1 << (above - base);
            for length in (1..=6).map(|n| 1 << n) {
                for (index, proofs) in (0..width)
                    .step_by(length)
                    .flat_map(|at| (0..above - base).map(move |proofs| (at, proofs)))
                {
                    let span = Span::new(tree(pieces, height), height + base, index, length as u32, proofs);
                    let is_legal = index as usize + length <= width as usize;
                    assert_eq!(span.is_some(), is_legal, "{pieces} {base} {index} {length} {proofs}");
                    let Some(span) = span else { continue };
                    let answer = kept.answer(&span).unwrap();
                    assert_eq!(answer, plain_answer(&layers, height, &span), "{pieces} {span:?}");
                    let is_proof = proofs == above - base - 1 || length == width as usize;
                    assert_eq!(span.proves(&answer, &kept.root), is_proof, "{pieces} {span:?}");
                }
            }
        }
    }
}

#[test]
fn what_lies_outside_of_the_tree_is_no_range() {
    let tree = tree(600, 2);
    assert_eq!(tree.get(), 12);
    let cases = [
        ("nothing", 2, 0, 0, 1),
        ("no power of two", 2, 0, 3, 1),
        ("too many", 2, 0, 1024, 1),
        ("index between", 2, 2, 4, 1),
        ("past the end", 2, 1024, 2, 1),
        ("far past the end", 2, u32::MAX - 1, 2, 1),
        ("the root", 12, 0, 1, 0),
        ("above the root", 13, 0, 2, 0),
        ("far above the root", u32::MAX, 0, 2, 0),
        ("more proofs than layers", 2, 0, 512, 10),
        ("no end of proofs", 2, 0, 512, u32::MAX),
    ];
    for (what, base, index, length, proofs) in cases {
        assert_eq!(Span::new(tree, base, index, length, proofs), None, "{what}");
    }
    assert!(Span::new(tree, 2, 1022, 2, 9).is_some());
    assert_eq!(Span::proven(tree, 2, 512, 512), Span::new(tree, 2, 512, 512, 9));
}

#[test]
fn hashes_below_the_pieces_are_not_there() {
    let kept = Kept::of(20, 2);
    let span = Span::new(tree(20, 2), 1, 0, 2, 5).unwrap();
    assert_eq!(kept.answer(&span), None);
}

#[test]
fn one_hash_is_proven_from_its_own_sibling_on() {
    let kept = Kept::of(513, 0);
    let span = Span::proven(tree(513, 0), 0, 512, 1).unwrap();
    let answer = kept.answer(&span).unwrap();
    assert_eq!(answer.len(), 1 + 10);
    assert_eq!(answer[1], [0; 32]);
    assert!(span.proves(&answer, &kept.root));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn a_proof_holds_and_breaks_with_any_bit(
        pieces in 2usize..6000,
        height in 0u32..5,
        length in 1u32..10,
        at: prop::sample::Index,
        flipped: prop::sample::Index,
        bit in 0u8..8,
    ) {
        let (kept, tree) = (Kept::of(pieces, height), tree(pieces, height));
        let length = (1u32 << length).min(1 << (tree.get() - height));
        let index = at.index(pieces.div_ceil(length as usize)) as u32 * length;
        let span = Span::proven(tree, height, index, length).unwrap();
        let mut answer = kept.answer(&span).unwrap();
        prop_assert_eq!(&answer[..], &plain_answer(&whole(&kept.layer, height), height, &span)[..]);
        prop_assert!(span.proves(&answer, &kept.root));
        prop_assert!(!span.proves(&answer[1..], &kept.root));
        let flipped = flipped.index(answer.len() * 32);
        answer[flipped / 32][flipped % 32] ^= 1 << bit;
        prop_assert!(!span.proves(&answer, &kept.root));
    }
}
