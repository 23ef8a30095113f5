use crate::decode::Decoder;
use crate::document::Document;
use crate::error::{Error, Lapse};

/// What to do with bencode that can be read but is not canonical.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Mode {
    /// Refuse it: the accepted input is the only spelling of its value.
    Strict,
    /// Read it, and list each [`Lapse`] in [`Document::forgiven`].
    Lenient,
}

/// How to decode: the mode and the limits. The defaults are those of [`Options::strict`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Options {
    /// Strict or lenient.
    pub mode: Mode,
    /// Lists and dictionaries that may be open at once. A lone integer or string has depth 0.
    pub max_depth: usize,
    /// Integers, strings (keys included), lists and dictionaries in the whole input. A token costs 16 bytes of memory.
    pub max_tokens: usize,
    /// Bytes of input. Values over [`Options::SIZE_CEILING`] count as the ceiling.
    pub max_size: usize,
}

impl Options {
    /// The largest input that offsets on the tape can describe, in bytes (512 MiB - 1).
    pub const SIZE_CEILING: usize = (1 << 29) - 1;

    /// Canonical input only; 100 levels, 2,500,000 tokens, 64 MiB.
    pub const fn strict() -> Self {
        Self { mode: Mode::Strict, max_depth: 100, max_tokens: 2_500_000, max_size: 64 << 20 }
    }

    /// The limits of [`Options::strict`], with lapses from the canonical form forgiven and reported.
    pub const fn lenient() -> Self {
        Self { mode: Mode::Lenient, ..Self::strict() }
    }

    /// Decodes one value that fills the whole input.
    ///
    /// # Errors
    /// The first fault in reading order: not bencode, an integer outside `i64`, an end too early, or a limit. In strict mode also
    /// each [`Lapse`], as [`Error::NotCanonical`].
    pub fn decode<'a>(&self, input: &'a [u8]) -> Result<Document<'a>, Error> {
        let mut decoder = Decoder::new(self, input)?;
        let consumed = decoder.run()?;
        if consumed < input.len() {
            decoder.lapse(consumed, Lapse::TrailingBytes)?;
        }
        Ok(decoder.finish())
    }

    /// Decodes the value at the start of the input and says how many bytes it took; what follows is the caller's and is
    /// neither read nor a lapse. `max_size` limits the input as given.
    ///
    /// # Errors
    /// As [`Options::decode`].
    pub fn decode_prefix<'a>(&self, input: &'a [u8]) -> Result<(Document<'a>, usize), Error> {
        let mut decoder = Decoder::new(self, input)?;
        let consumed = decoder.run()?;
        Ok((decoder.finish(), consumed))
    }
}

impl Default for Options {
    fn default() -> Self {
        Self::strict()
    }
}
