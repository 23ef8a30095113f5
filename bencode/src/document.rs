use alloc::vec::Vec;

use crate::error::Forgiven;
use crate::token::Token;
use crate::value::Value;

/// A decoded value: the tape, and the input that it points into.
///
/// The tape holds 16 bytes per value or key. Nothing of the input is copied, and dropping a document is freeing one
/// vector, however deep it nests.
#[derive(Clone)]
pub struct Document<'a> {
    input: &'a [u8],
    tape: Vec<Token>,
    forgiven: Vec<Forgiven>,
}

impl<'a> Document<'a> {
    /// The most lapses that are listed. Later ones are forgiven as well, and not listed.
    pub const MAX_FORGIVEN: usize = 256;

    pub(crate) fn new(input: &'a [u8], tape: Vec<Token>, forgiven: Vec<Forgiven>) -> Self {
        Self { input, tape, forgiven }
    }

    /// The outermost value.
    pub fn root(&self) -> Value<'_, 'a> {
        Value::new(self, 0)
    }

    /// What lenient mode let pass, ordered by offset, at most [`Document::MAX_FORGIVEN`]. Empty means canonical.
    pub fn forgiven(&self) -> &[Forgiven] {
        &self.forgiven
    }

    /// How many values and keys there are.
    pub fn tokens(&self) -> usize {
        self.tape.len()
    }

    /// The token at an index that came from the tape itself. Were it ever out of range, the value would read as an empty
    /// string.
    #[inline]
    pub(crate) fn token(&self, index: usize) -> Token {
        self.tape.get(index).copied().unwrap_or(Token::EMPTY)
    }

    #[inline]
    pub(crate) fn slice(&self, start: usize, end: usize) -> &'a [u8] {
        self.input.get(start..end).unwrap_or_default()
    }
}
