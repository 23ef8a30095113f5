//! Hostile sizes: depth, number of values, bytes.

use std::thread;

use bencode::{Error, Forgiven, Lapse, Mode, Options, decode};

/// Runs on a stack that one frame per level would overflow at a few hundred levels.
fn on_a_small_stack(test: impl FnOnce() + Send + 'static) {
    thread::Builder::new().stack_size(64 << 10).spawn(test).unwrap().join().unwrap();
}

#[test]
fn deep_nesting_is_refused_at_the_limit() {
    on_a_small_stack(|| {
        for levels in [15_000, 100_000, 1_000_000] {
            for (unit, offset) in [("l", 100), ("d1:a", 400), ("ld0:", 200), ("lllld1:a", 160)] {
                let input = unit.repeat(levels);
                for options in [Options::strict(), Options::lenient()] {
                    let error = Error::TooDeep { offset, limit: 100 };
                    assert_eq!(options.decode(input.as_bytes()).unwrap_err(), error, "{unit} x {levels}");
                }
            }
        }
    });
}

#[test]
fn a_hundred_levels_are_read_and_one_more_is_not() {
    let nested = |levels: usize| [vec![b'l'; levels], vec![b'e'; levels]].concat();
    assert!(decode(&nested(100)).is_ok());
    assert_eq!(decode(&nested(101)).unwrap_err(), Error::TooDeep { offset: 100, limit: 100 });
    let flat = Options { max_depth: 0, ..Options::strict() };
    assert!(flat.decode(b"i1e").is_ok());
    assert_eq!(flat.decode(b"le").unwrap_err(), Error::TooDeep { offset: 0, limit: 0 });
}

#[test]
fn a_million_levels_that_are_allowed_cost_no_stack_to_read_print_and_drop() {
    on_a_small_stack(|| {
        let levels = 1_000_000;
        let input = [b"d1:a".repeat(levels), b"i7e".to_vec(), b"e".repeat(levels)].concat();
        let document = Options { max_depth: usize::MAX, ..Options::strict() }.decode(&input).unwrap();
        let shown = format!("{document:?}");
        assert_eq!(shown.len(), levels * r#"{"a": }"#.len() + 1);
        assert_eq!(document.tokens(), 2 * levels + 1);
        let inner = document.root().as_dict().and_then(|dict| dict.dict("a")).unwrap();
        assert_eq!(inner.value().span(), 4..input.len() - 1);
        drop(document.clone());
    });
}

#[test]
fn values_and_keys_are_counted() {
    let options = |max_tokens| Options { max_tokens, ..Options::strict() };
    assert!(options(4).decode(b"d1:al1:xee").is_ok());
    assert_eq!(options(3).decode(b"d1:al1:xee").unwrap_err(), Error::TooManyTokens { offset: 5, limit: 3 });
    assert_eq!(options(0).decode(b"i1e").unwrap_err(), Error::TooManyTokens { offset: 0, limit: 0 });
    let many = [&b"l"[..], &b"0:".repeat(2_500_000), b"e"].concat();
    let error = Error::TooManyTokens { offset: many.len() - 3, limit: 2_500_000 };
    assert_eq!(decode(&many).unwrap_err(), error);
    assert!(options(2_500_001).decode(&many).is_ok());
}

#[test]
fn the_input_size_is_limited() {
    let options = Options { max_size: 5, ..Options::strict() };
    assert!(options.decode(b"3:abc").is_ok());
    assert_eq!(options.decode(b"4:abcd").unwrap_err(), Error::TooLarge { size: 6, limit: 5 });
    assert_eq!(options.decode_prefix(b"i1e...").unwrap_err(), Error::TooLarge { size: 6, limit: 5 });
    assert_eq!(Options::default().max_size, 64 << 20);
    let huge = vec![b'0'; (64 << 20) + 1];
    assert_eq!(decode(&huge).unwrap_err(), Error::TooLarge { size: huge.len(), limit: 64 << 20 });
}

#[test]
fn the_list_of_forgiven_lapses_is_bounded() {
    let input = [&b"l"[..], &b"i-0e".repeat(1_000), b"e"].concat();
    let document = Options::lenient().decode(&input).unwrap();
    assert_eq!(document.root().as_list().unwrap().len(), 1_000);
    assert_eq!(document.forgiven().len(), bencode::Document::MAX_FORGIVEN);
    assert_eq!(document.forgiven()[1], Forgiven { offset: 6, lapse: Lapse::NegativeZero });
}

#[test]
fn a_number_may_have_any_number_of_zeros_when_lenient() {
    let zeros = "0".repeat(1 << 20);
    let options = Options { mode: Mode::Lenient, ..Options::default() };
    let input = format!("li{zeros}5e{zeros}1:xe");
    assert_eq!(options.decode(input.as_bytes()).unwrap().root().to_string(), r#"[5, "x"]"#);
}
