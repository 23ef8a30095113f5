//! The canonical encoder.

use bencode::{EncodeError, Encoder, encode};

#[test]
fn keys_come_out_sorted_at_every_level() {
    let out = encode(|e| {
        e.dict(|d| {
            d.bytes("zz", b"last");
            d.dict("b", |d| {
                d.list("y", |l| {
                    l.int(-1);
                    l.bytes(b"x");
                    l.dict(|d| {
                        d.int("2", 2);
                        d.int("1", 1);
                    });
                    l.list(|_| {});
                });
                d.raw("x", b"i7e");
            });
            d.int("", i64::MIN);
            d.int("a", u32::MAX);
        });
    });
    let expected =
        b"d0:i-9223372036854775808e1:ai4294967295e1:bd1:xi7e1:yli-1e1:xd1:1i1e1:2i2eeleee2:zz4:laste";
    assert_eq!(out.unwrap(), expected);
}

#[test]
fn a_key_given_twice_is_an_error_and_leaves_the_vector_as_it_was() {
    for keys in [["a", "a", "b"], ["a", "b", "a"], ["b", "a", "b"]] {
        let mut out = b"before".to_vec();
        let mut encoder = Encoder::new(&mut out);
        encoder.list(|l| l.dict(|d| keys.iter().for_each(|key| d.int(key, 1))));
        let twice = if keys[0] == "b" { "b" } else { "a" };
        assert_eq!(encoder.finish(), Err(EncodeError::DuplicateKey(twice.into())));
        assert_eq!(out, b"before");
    }
}

#[test]
fn the_same_key_in_two_dictionaries_is_fine() {
    let out = encode(|e| e.dict(|d| d.dict("a", |d| d.int("a", 1))));
    assert_eq!(out.unwrap(), b"d1:ad1:ai1eee");
}

#[test]
fn integers_that_decoders_refuse_are_refused() {
    assert_eq!(encode(|e| e.int(i64::MAX)).unwrap(), b"i9223372036854775807e");
    let refused = encode(|e| e.list(|l| l.int(u64::MAX)));
    assert_eq!(refused, Err(EncodeError::IntegerOverflow(u64::MAX.into())));
}

#[test]
fn one_outermost_value_is_written_behind_what_is_there() {
    let mut out = b"head".to_vec();
    let mut encoder = Encoder::new(&mut out);
    encoder.bytes("x");
    assert_eq!(encoder.finish(), Ok(()));
    assert_eq!(out, b"head1:x");
    assert_eq!(encode(|_| {}), Err(EncodeError::NotOneValue(0)));
    let two = encode(|e| {
        e.int(1);
        e.raw("i2e");
    });
    assert_eq!(two, Err(EncodeError::NotOneValue(2)));
}
