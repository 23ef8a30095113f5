//! Where items are stored, and what is signed (BEP 44).

use alloc::vec::Vec;

use sha1::{Digest, Sha1};

use super::Id;

/// Where an immutable item is stored: the SHA-1 of its value as it is bencoded.
pub fn immutable_target(value: &[u8]) -> Id {
    Sha1::digest(value).into()
}

/// Where a mutable item is stored: the SHA-1 of its key and salt.
pub fn mutable_target(key: &[u8; 32], salt: &[u8]) -> Id {
    Sha1::new().chain_update(key).chain_update(salt).finalize().into()
}

/// What the signature of a mutable item signs. `value` is the item as it is bencoded; an empty salt is none.
pub fn signed_text(salt: &[u8], seq: i64, value: &[u8]) -> Vec<u8> {
    let mut text = Vec::with_capacity(salt.len().saturating_add(value.len()).saturating_add(48));
    if !salt.is_empty() {
        text.extend_from_slice(alloc::format!("4:salt{}:", salt.len()).as_bytes());
        text.extend_from_slice(salt);
    }
    text.extend_from_slice(alloc::format!("3:seqi{seq}e1:v").as_bytes());
    text.extend_from_slice(value);
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &[u8; 32] = b"\x77\xff\x84\x90\x5a\x91\x93\x63\x67\xc0\x13\x60\x80\x31\x04\xf9\
        \x24\x32\xfc\xd9\x04\xa4\x35\x11\x87\x6d\xf5\xcd\xf3\xe7\xe5\x48";
    const VALUE: &[u8] = b"12:Hello World!";

    #[test]
    fn the_vectors_of_bep_44_hold() {
        assert_eq!(hex(mutable_target(KEY, b"")), "4a533d47ec9c7d95b1ad75f576cffc641853b750");
        assert_eq!(hex(mutable_target(KEY, b"foobar")), "411eba73b6f087ca51a3795d9c8c938d365e32c1");
        assert_eq!(hex(immutable_target(VALUE)), "e5f96f6f38320f0f33959cb4d3d656452117aadb");
        assert_eq!(signed_text(b"", 1, VALUE), b"3:seqi1e1:v12:Hello World!");
        assert_eq!(signed_text(b"foobar", 1, VALUE), b"4:salt6:foobar3:seqi1e1:v12:Hello World!");
    }

    fn hex(id: Id) -> alloc::string::String {
        id.iter().map(|byte| alloc::format!("{byte:02x}")).collect()
    }
}
