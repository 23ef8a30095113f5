use alloc::borrow::Cow;
use alloc::string::String;

use bencode::{DictEncoder, Value};

use crate::lenient;

/// Numbers of the errors that nodes give (BEP 5, 44).
pub mod code {
    /// Something else.
    pub const GENERIC: u16 = 201;
    /// The node could not do it.
    pub const SERVER: u16 = 202;
    /// A malformed packet, wrong arguments or a wrong token.
    pub const PROTOCOL: u16 = 203;
    /// A method that the node does not know.
    pub const METHOD_UNKNOWN: u16 = 204;
    /// The item is longer than 1000 bytes.
    pub const VALUE_TOO_BIG: u16 = 205;
    /// The item's signature is wrong.
    pub const BAD_SIGNATURE: u16 = 206;
    /// The item's salt is longer than 64 bytes.
    pub const SALT_TOO_BIG: u16 = 207;
    /// The item is not the one that `cas` expects to replace.
    pub const CAS_MISMATCH: u16 = 301;
    /// The stored item has this sequence number or a higher one.
    pub const SEQUENCE_TOO_LOW: u16 = 302;
}

/// Characters kept of a message.
const MAX_TEXT: usize = 200;

/// An error that a node answers with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal<'a> {
    /// One of [`code`], or another.
    pub code: u16,
    /// What is wrong, printable and at most 200 characters long.
    pub message: Cow<'a, str>,
}

impl<'a> Refusal<'a> {
    /// An error with a message of the program's own.
    pub const fn new(code: u16, message: &'a str) -> Self {
        Self { code, message: Cow::Borrowed(message) }
    }

    pub(super) fn read(value: Option<Value<'_, 'a>>) -> Self {
        let list = value.and_then(|value| value.as_list());
        let code = list.and_then(|list| u16::try_from(list.get(0)?.as_int()?).ok());
        let message = list.and_then(|list| list.get(1)?.as_bytes()).unwrap_or_default();
        Self { code: code.unwrap_or(code::GENERIC), message: text(message) }
    }

    pub(super) fn write(&self, packet: &mut DictEncoder<'_, '_>) {
        packet.list("e", |list| {
            list.int(self.code);
            list.bytes(self.message.as_bytes());
        });
    }
}

fn text(bytes: &[u8]) -> Cow<'_, str> {
    let kept: String = lenient::text(bytes, MAX_TEXT);
    match core::str::from_utf8(bytes) {
        Ok(same) if same == kept => Cow::Borrowed(same),
        _ => Cow::Owned(kept),
    }
}
