//! Looking at decoded values.

use bencode::{Forgiven, Kind, Lapse, Options, decode};

#[test]
fn a_value_answers_only_to_its_own_kind() {
    let document = decode(b"li-5e2:hid1:a0:elee").unwrap();
    let list = document.root().as_list().unwrap();
    let kinds: Vec<_> = list.iter().map(|value| value.kind()).collect();
    assert_eq!(kinds, [Kind::Int, Kind::Bytes, Kind::Dict, Kind::List]);
    for (at, value) in list.iter().enumerate() {
        assert_eq!(value.as_int().is_some(), at == 0);
        assert_eq!(value.as_bytes().is_some(), at == 1);
        assert_eq!(value.as_str().is_some(), at == 1);
        assert_eq!(value.as_dict().is_some(), at == 2);
        assert_eq!(value.as_list().is_some(), at == 3);
    }
    assert_eq!(list.get(0).unwrap().as_int(), Some(-5));
    assert_eq!(list.get(2).unwrap().raw(), b"d1:a0:e");
    assert_eq!(list.get(3).unwrap().span(), 16..18);
    assert!(list.get(4).is_none());
}

#[test]
fn a_string_that_is_not_utf8_has_bytes_and_no_text() {
    let document = decode(b"2:\xff\xfe").unwrap();
    assert_eq!(document.root().as_bytes(), Some(&b"\xff\xfe"[..]));
    assert_eq!(document.root().as_str(), None);
    assert_eq!(document.root().to_string(), "0xfffe");
}

#[test]
fn views_outlive_the_document_where_they_borrow_the_input() {
    let input = b"d1:k4:texte".to_vec();
    let (text, raw) = {
        let document = decode(&input).unwrap();
        let dict = document.root().as_dict().unwrap();
        (dict.str("k"), dict.get("k").unwrap().raw())
    };
    assert_eq!((text, raw), (Some("text"), &b"4:text"[..]));
}

#[test]
fn keys_are_found_in_dictionaries_of_every_size_and_shape() {
    for count in [0, 1, 7, 8, 9, 10, 100, 1_000] {
        for nested in [false, true] {
            let encoded = bencode::encode(|e| {
                e.dict(|dict| {
                    for n in 0..count {
                        let key = format!("{:05}", 2 * n);
                        if nested && n % 3 == 0 {
                            dict.list(key, |list| list.int(n));
                        } else {
                            dict.int(key, n);
                        }
                    }
                });
            })
            .unwrap();
            let document = decode(&encoded).unwrap();
            let dict = document.root().as_dict().unwrap();
            assert_eq!((dict.len(), dict.is_empty()), (usize::try_from(count).unwrap(), count == 0));
            for n in 0..count {
                let value = dict.get(format!("{:05}", 2 * n)).unwrap();
                let int = value.as_int().or_else(|| value.as_list()?.get(0)?.as_int());
                assert_eq!(int, Some(i64::from(n)));
            }
            for n in -1..=count {
                assert!(dict.get(format!("{:05}", 2 * n + 1)).is_none());
            }
        }
    }
}

#[test]
fn of_a_key_given_twice_the_first_counts() {
    let sorted = b"d1:ai1e1:ai2e1:bi3ee";
    let unsorted = b"d1:bi3e1:ai1e1:bi4e1:ai2ee";
    for input in [&sorted[..], unsorted] {
        let document = Options::lenient().decode(input).unwrap();
        let dict = document.root().as_dict().unwrap();
        assert_eq!((dict.int("a"), dict.int("b")), (Some(1), Some(3)));
    }
    let document = Options::lenient().decode(unsorted).unwrap();
    let forgiven = |offset, lapse| Forgiven { offset, lapse };
    let expected = [
        forgiven(7, Lapse::UnsortedKey),
        forgiven(13, Lapse::DuplicateKey),
        forgiven(19, Lapse::UnsortedKey),
        forgiven(19, Lapse::DuplicateKey),
    ];
    assert_eq!(document.forgiven(), expected);
    assert_eq!(document.root().as_dict().unwrap().len(), 4);
}

#[test]
fn of_many_equal_keys_the_first_counts_also_when_searched_by_halves() {
    let input = [&b"d"[..], b"1:ai0e", &b"1:bi1e".repeat(9), b"1:bi2e1:ci3ee"].concat();
    let document = Options::lenient().decode(&input).unwrap();
    let dict = document.root().as_dict().unwrap();
    assert_eq!(dict.get("b").unwrap().span(), 10..13);
}

#[test]
fn keys_after_a_nested_container_are_still_compared() {
    for (input, offset) in
        [("d1:ble1:ai1ee", 6), ("d1:bd1:xleelee", 11), ("d1:bdeX", 6), ("d1:ad1:zlee1:ai1ee", 11)]
    {
        assert_eq!(decode(input.as_bytes()).unwrap_err().offset(), offset, "{input}");
    }
}

#[test]
fn a_prefix_says_what_it_took() {
    for options in [Options::strict(), Options::lenient()] {
        let (document, consumed) = options.decode_prefix(b"d8:msg_typei1eeBLOCK").unwrap();
        assert_eq!(document.root().as_dict().unwrap().int("msg_type"), Some(1));
        assert_eq!((consumed, document.forgiven()), (15, &[][..]));
    }
}

#[test]
fn an_input_cut_anywhere_is_known_as_truncated() {
    let whole = b"d1:ai-12e1:bl3:xyzdeee";
    for cut in 0..whole.len() {
        assert!(decode(&whole[..cut]).unwrap_err().is_truncated(), "{cut}");
    }
    assert!(!decode(b"x").unwrap_err().is_truncated());
}

#[test]
fn long_strings_are_cut_when_printed() {
    let text = format!("300:{}", "é".repeat(150));
    let shown = decode(text.as_bytes()).unwrap().root().to_string();
    assert_eq!(shown, format!("\"{}\"... (300 bytes)", "é".repeat(128)));
    let binary = [&b"40:"[..], &[0xab; 40]].concat();
    let shown = decode(&binary).unwrap().root().to_string();
    assert_eq!(shown, format!("0x{}... (40 bytes)", "ab".repeat(32)));
}

#[test]
fn errors_say_what_was_expected_and_what_came() {
    for (input, text) in [
        ("d1:ae", "byte 4: expected a value, found 'e'"),
        ("i1\n", "byte 2: expected a digit or 'e', found '\\n'"),
        ("l", "byte 1: expected a value or 'e', found the end of the input"),
        ("9:abc", "byte 0: expected a string of 9 bytes, found 3 bytes"),
        ("i-0e", "byte 1: expected canonical bencode, found a negative zero"),
    ] {
        assert_eq!(decode(input.as_bytes()).unwrap_err().to_string(), text);
    }
}
