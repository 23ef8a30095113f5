//! What holds for all values and for all bytes.

use proptest::collection::{btree_map, vec};
use proptest::prelude::*;

use crate::targets::{self, Tree};

fn any_tree() -> impl Strategy<Value = Tree> {
    let leaf = prop_oneof![
        any::<i64>().prop_map(Tree::Int),
        (-20i64..20).prop_map(Tree::Int),
        vec(any::<u8>(), 0..40).prop_map(Tree::Bytes),
        vec(any::<u8>(), 95..105).prop_map(Tree::Bytes),
    ];
    leaf.prop_recursive(8, 200, 20, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..20).prop_map(Tree::List),
            btree_map(vec(0u8..4, 0..5), inner, 0..20).prop_map(Tree::Dict),
        ]
    })
}

/// Bytes that often get past the first few: made of the grammar's own pieces.
fn almost_bencode() -> impl Strategy<Value = Vec<u8>> {
    let pieces = vec![
        "i", "e", "l", "d", "0:", "1:a", "1:b", "2:aa", "01:a", "3:x", "i0e", "i-0e", "i-1e", "i09e", "-",
        "7", ":",
    ];
    vec(prop::sample::select(pieces), 0..24).prop_map(|pieces| pieces.concat().into_bytes())
}

/// Complete values with lapses only a lenient reader accepts.
fn sloppy() -> impl Strategy<Value = Vec<u8>> {
    let leaf = prop::sample::select(vec!["i0e", "i-0e", "i007e", "0:", "02:ab", "1:c", "le", "de"])
        .prop_map(String::from);
    let value = leaf.prop_recursive(4, 40, 6, |inner| {
        let key = prop::sample::select(vec!["0:", "1:a", "01:a", "1:b", "2:ab"]);
        prop_oneof![
            vec(inner.clone(), 0..6).prop_map(|items| format!("l{}e", items.concat())),
            vec((key, inner), 0..6).prop_map(|entries| {
                let entries: String =
                    entries.into_iter().flat_map(|(key, value)| [key.to_owned(), value]).collect();
                format!("d{entries}e")
            }),
        ]
    });
    value.prop_map(String::into_bytes)
}

proptest! {
    #[test]
    fn a_value_survives_encoding_and_decoding(tree in any_tree()) {
        targets::check_roundtrip(&tree);
    }

    #[test]
    fn a_script_of_any_bytes_builds_a_value_that_survives(script in vec(any::<u8>(), 0..400)) {
        targets::encode_roundtrip(&script);
    }

    #[test]
    fn any_bytes_get_consistent_verdicts(bytes in vec(any::<u8>(), 0..60)) {
        targets::decode(&bytes);
    }

    #[test]
    fn bytes_close_to_bencode_get_consistent_verdicts(bytes in almost_bencode()) {
        targets::decode(&bytes);
    }

    #[test]
    fn lenient_reads_what_is_only_sloppy(bytes in sloppy()) {
        prop_assert!(bencode::Options::lenient().decode(&bytes).is_ok());
        targets::decode(&bytes);
    }
}
