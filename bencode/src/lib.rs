#![doc = include_str!("../README.md")]
#![no_std]
#![forbid(unsafe_code)]
#![cfg_attr(
    not(test),
    deny(
        clippy::as_conversions,
        clippy::expect_used,
        clippy::indexing_slicing,
        clippy::panic,
        clippy::string_slice,
        clippy::unwrap_used
    )
)]

extern crate alloc;

mod decode;
mod dict;
mod document;
mod encode;
mod error;
mod leaf;
mod list;
mod options;
mod print;
mod token;
mod value;

pub use dict::{Dict, DictIter};
pub use document::Document;
pub use encode::{DictEncoder, EncodeError, Encoder, ListEncoder, encode};
pub use error::{Error, Expected, Forgiven, Found, Lapse};
pub use list::{List, ListIter};
pub use options::{Mode, Options};
pub use token::Kind;
pub use value::Value;

/// Decodes one value that fills the whole input, in canonical form, within the default limits.
///
/// The same as `Options::strict().decode(input)`.
///
/// # Errors
/// See [`Options::decode`].
pub fn decode(input: &[u8]) -> Result<Document<'_>, Error> {
    Options::strict().decode(input)
}
