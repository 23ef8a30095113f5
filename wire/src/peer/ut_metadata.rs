use alloc::vec::Vec;
use core::fmt;

use bencode::{Encoder, Options};

/// The dictionary has three small numbers; others may add to it, but not much.
const OPTIONS: Options =
    Options { max_depth: 10, max_tokens: 200, max_size: MetadataMessage::MAX_LEN, ..Options::lenient() };

/// A message of `ut_metadata`, by which peers fetch a torrent's info dictionary (BEP 9). It is cut into pieces of
/// [`PIECE`](Self::PIECE) bytes; the last one may be shorter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MetadataMessage<'a> {
    /// Asks for a piece.
    Request {
        /// Which one.
        piece: u32,
    },
    /// A piece. Nothing says that it belongs to the torrent before the whole dictionary was hashed.
    Data {
        /// Which one.
        piece: u32,
        /// Bytes of the whole dictionary, as claimed, if the sender says so.
        total_size: Option<u64>,
        /// Its bytes.
        data: &'a [u8],
    },
    /// The sender does not have the piece, or gives no more for now.
    Reject {
        /// Which one.
        piece: u32,
    },
}

/// Why bytes are no message of `ut_metadata`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MetadataError {
    /// They do not begin with bencode.
    Bencode(bencode::Error),
    /// They do not begin with a dictionary that has a type and a piece.
    Incomplete,
}

impl<'a> MetadataMessage<'a> {
    /// Bytes of a piece of the info dictionary; the last one may have fewer.
    pub const PIECE: usize = 16 << 10;

    /// Bytes of the longest message that is read.
    pub const MAX_LEN: usize = 64 << 10;

    /// Reads the payload of an extension message. `None` is a type of message that is not known, which is to be ignored.
    ///
    /// # Errors
    /// When it does not begin with a bencoded dictionary that says what it is, or is too long.
    pub fn parse(payload: &'a [u8]) -> Result<Option<Self>, MetadataError> {
        let (document, consumed) = OPTIONS.decode_prefix(payload).map_err(MetadataError::Bencode)?;
        let dict = document.root().as_dict().ok_or(MetadataError::Incomplete)?;
        let kind = dict.int("msg_type").ok_or(MetadataError::Incomplete)?;
        let piece = dict.int("piece").and_then(|piece| u32::try_from(piece).ok());
        let piece = piece.ok_or(MetadataError::Incomplete)?;
        Ok(match kind {
            0 => Some(Self::Request { piece }),
            1 => Some(Self::Data {
                piece,
                total_size: dict.int("total_size").and_then(|size| u64::try_from(size).ok()),
                data: payload.get(consumed..).unwrap_or_default(),
            }),
            2 => Some(Self::Reject { piece }),
            _ => None,
        })
    }

    /// Appends the payload of an extension message.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let (kind, piece, total, data) = match *self {
            Self::Request { piece } => (0u8, piece, None, &[][..]),
            Self::Data { piece, total_size, data } => (1, piece, total_size, data),
            Self::Reject { piece } => (2, piece, None, &[][..]),
        };
        let mut encoder = Encoder::new(out);
        encoder.dict(|d| {
            d.int("msg_type", kind);
            d.int("piece", piece);
            if let Some(total) = total.and_then(|total| i64::try_from(total).ok()) {
                d.int("total_size", total);
            }
        });
        // The keys differ and all numbers fit, so there is nothing to fail.
        let _ = encoder.finish();
        out.extend_from_slice(data);
    }
}

impl fmt::Display for MetadataError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bencode(error) => write!(f, "expected a bencoded metadata message: {error}"),
            Self::Incomplete => {
                f.write_str("expected a dictionary with msg_type and piece, got something else")
            }
        }
    }
}

impl core::error::Error for MetadataError {
    fn source(&self) -> Option<&(dyn core::error::Error + 'static)> {
        match self {
            Self::Bencode(error) => Some(error),
            Self::Incomplete => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_examples_of_bep_9_are_read_and_written() {
        let cases: [(&[u8], MetadataMessage<'_>); 3] = [
            (b"d8:msg_typei0e5:piecei0ee", MetadataMessage::Request { piece: 0 }),
            (
                b"d8:msg_typei1e5:piecei0e10:total_sizei34256eexxx",
                MetadataMessage::Data { piece: 0, total_size: Some(34256), data: b"xxx" },
            ),
            (b"d8:msg_typei2e5:piecei0ee", MetadataMessage::Reject { piece: 0 }),
        ];
        for (bytes, message) in cases {
            assert_eq!(MetadataMessage::parse(bytes), Ok(Some(message)));
            let mut out = Vec::new();
            message.encode(&mut out);
            assert_eq!(out, bytes);
        }
    }

    #[test]
    fn unknown_types_are_ignored_and_careless_dictionaries_forgiven() {
        assert_eq!(MetadataMessage::parse(b"d8:msg_typei3e5:piecei0ee"), Ok(None));
        let unsorted = b"d5:piecei1e8:msg_typei1e1:xlee\x00\x01";
        assert_eq!(
            MetadataMessage::parse(unsorted),
            Ok(Some(MetadataMessage::Data { piece: 1, total_size: None, data: &[0, 1] }))
        );
        let negative = b"d8:msg_typei1e5:piecei0e10:total_sizei-5ee";
        assert_eq!(
            MetadataMessage::parse(negative),
            Ok(Some(MetadataMessage::Data { piece: 0, total_size: None, data: &[] }))
        );
    }

    #[test]
    fn what_says_nothing_is_an_error() {
        for bytes in [
            &b"de"[..],
            b"le",
            b"i5e",
            b"d8:msg_typei0ee",
            b"d8:msg_typei0e5:piecei-1ee",
            b"d8:msg_typei0e5:piecei4294967296ee",
            b"d5:piecei0ee",
        ] {
            assert_eq!(MetadataMessage::parse(bytes), Err(MetadataError::Incomplete));
        }
        let deep = alloc::format!("{}{}", "l".repeat(50), "e".repeat(50));
        let long = alloc::vec![b'x'; MetadataMessage::MAX_LEN + 1];
        for bytes in [&b""[..], b"x", b"d8:msg_type", deep.as_bytes(), &long] {
            assert!(matches!(MetadataMessage::parse(bytes), Err(MetadataError::Bencode(_))));
        }
    }

    proptest! {
        #[test]
        fn any_message_goes_both_ways(
            piece in any::<u32>(),
            total_size in proptest::option::of(0..=i64::MAX as u64),
            data in proptest::collection::vec(any::<u8>(), 0..100),
        ) {
            let data = &data[..];
            for message in [
                MetadataMessage::Request { piece },
                MetadataMessage::Data { piece, total_size, data },
                MetadataMessage::Reject { piece },
            ] {
                let mut out = Vec::new();
                message.encode(&mut out);
                prop_assert_eq!(MetadataMessage::parse(&out), Ok(Some(message)));
            }
        }
    }
}
