//! The grammar's rules, one table per idea.

use bencode::{Error, Expected, Found, Lapse, Options, decode};

fn unexpected(offset: usize, expected: Expected, found: Option<u8>) -> Error {
    Error::Unexpected { offset, expected, found: found.map_or(Found::End, Found::Byte) }
}

/// What `Debug` shows of a document.
fn shown(input: &[u8]) -> String {
    format!("{:?}", decode(input).unwrap())
}

#[test]
fn canonical_values_are_read() {
    for (input, expected) in [
        ("i0e", "0"),
        ("i-1e", "-1"),
        ("i9223372036854775807e", "9223372036854775807"),
        ("i-9223372036854775808e", "-9223372036854775808"),
        ("0:", r#""""#),
        ("4:spam", r#""spam""#),
        ("le", "[]"),
        ("de", "{}"),
        ("li1e0:lledeei2ee", r#"[1, "", [[], {}], 2]"#),
        ("d0:i1e1:ad1:bl1:xee1:bi2ee", r#"{"": 1, "a": {"b": ["x"]}, "b": 2}"#),
    ] {
        assert_eq!(shown(input.as_bytes()), expected, "{input}");
    }
}

#[test]
fn what_is_not_bencode_is_refused_where_it_stops_making_sense() {
    use Expected::{Digit, DigitOrColon, DigitOrEnd, KeyOrEnd, Value, ValueOrEnd};
    for (input, offset, expected, found) in [
        ("", 0, Value, None),
        ("x", 0, Value, Some(b'x')),
        ("e", 0, Value, Some(b'e')),
        ("-1:", 0, Value, Some(b'-')),
        ("i", 1, Digit, None),
        ("ie", 1, Digit, Some(b'e')),
        ("i-e", 2, Digit, Some(b'e')),
        ("i+1e", 1, Digit, Some(b'+')),
        ("i 1e", 1, Digit, Some(b' ')),
        ("i1", 2, DigitOrEnd, None),
        ("i1.5e", 2, DigitOrEnd, Some(b'.')),
        ("i1-e", 2, DigitOrEnd, Some(b'-')),
        ("12", 2, DigitOrColon, None),
        ("1 :a", 1, DigitOrColon, Some(b' ')),
        ("l", 1, ValueOrEnd, None),
        ("li1e", 4, ValueOrEnd, None),
        ("lx", 1, ValueOrEnd, Some(b'x')),
        ("d", 1, KeyOrEnd, None),
        ("di1ei2ee", 1, KeyOrEnd, Some(b'i')),
        ("d1:ae", 4, Value, Some(b'e')),
        ("d1:a", 4, Value, None),
        ("d1:a1:b", 7, KeyOrEnd, None),
        ("lde", 3, ValueOrEnd, None),
    ] {
        let error = unexpected(offset, expected, found);
        assert_eq!(decode(input.as_bytes()).unwrap_err(), error, "strict {input}");
        assert_eq!(Options::lenient().decode(input.as_bytes()).unwrap_err(), error, "lenient {input}");
    }
}

#[test]
fn a_string_may_not_promise_more_than_there_is() {
    let error = |length, available| Error::StringTooLong { offset: 1, length, available };
    assert_eq!(decode(b"l5:abc").unwrap_err(), error(5, 3));
    assert_eq!(decode(b"l99999999999999999:e").unwrap_err(), error(99_999_999_999_999_999, 1));
    assert_eq!(decode(b"l18446744073709551615:e").unwrap_err(), error(u64::MAX, 1));
    assert_eq!(decode(b"l18446744073709551616:e").unwrap_err(), Error::Overflow { offset: 1 });
}

#[test]
fn integers_outside_i64_are_refused_in_both_modes() {
    for digits in ["9223372036854775808", "-9223372036854775809", "18446744073709551616", &"9".repeat(400)] {
        let input = format!("d12:piece lengthi{digits}ee");
        for options in [Options::strict(), Options::lenient()] {
            assert_eq!(
                options.decode(input.as_bytes()).unwrap_err(),
                Error::Overflow { offset: 17 },
                "{digits}"
            );
        }
    }
}

#[test]
fn a_lapse_is_refused_when_strict_and_reported_when_lenient() {
    for (input, offset, lapse, shown) in [
        ("i01e", 1, Lapse::LeadingZero, "1"),
        ("i00e", 1, Lapse::LeadingZero, "0"),
        ("i-07e", 1, Lapse::LeadingZero, "-7"),
        ("i00000000000000000000000000009e", 1, Lapse::LeadingZero, "9"),
        ("i-0e", 1, Lapse::NegativeZero, "0"),
        ("l02:abe", 1, Lapse::LeadingZero, r#"["ab"]"#),
        ("d1:bi1e1:ai2ee", 7, Lapse::UnsortedKey, r#"{"b": 1, "a": 2}"#),
        ("d1:ai1e1:ai2ee", 7, Lapse::DuplicateKey, r#"{"a": 1, "a": 2}"#),
        ("i1ei2e", 3, Lapse::TrailingBytes, "1"),
        ("i1e\n", 3, Lapse::TrailingBytes, "1"),
    ] {
        let bytes = input.as_bytes();
        assert_eq!(decode(bytes).unwrap_err(), Error::NotCanonical { offset, lapse }, "{input}");
        let document = Options::lenient().decode(bytes).unwrap();
        assert_eq!(document.forgiven(), [bencode::Forgiven { offset, lapse }], "{input}");
        assert_eq!(document.root().to_string(), shown, "{input}");
    }
}
