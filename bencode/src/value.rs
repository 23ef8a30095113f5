use core::ops::Range;

use crate::dict::Dict;
use crate::document::Document;
use crate::list::List;
use crate::token::{Kind, Token};

/// One value of a [`Document`]: `'d` is the document, `'a` its input.
#[derive(Clone, Copy)]
pub struct Value<'d, 'a> {
    doc: &'d Document<'a>,
    index: usize,
    token: Token,
}

impl<'d, 'a> Value<'d, 'a> {
    #[inline]
    pub(crate) fn new(doc: &'d Document<'a>, index: usize) -> Self {
        Self { doc, index, token: doc.token(index) }
    }

    /// What it is.
    #[inline]
    pub fn kind(&self) -> Kind {
        self.token.kind()
    }

    /// The value of an integer.
    #[inline]
    pub fn as_int(&self) -> Option<i64> {
        (self.kind() == Kind::Int).then(|| self.token.value())
    }

    /// The bytes of a string, without their length.
    #[inline]
    pub fn as_bytes(&self) -> Option<&'a [u8]> {
        (self.kind() == Kind::Bytes).then(|| self.body())
    }

    /// The bytes of a string that is valid UTF-8.
    #[inline]
    pub fn as_str(&self) -> Option<&'a str> {
        self.as_bytes().and_then(|bytes| core::str::from_utf8(bytes).ok())
    }

    /// The items of a list.
    #[inline]
    pub fn as_list(&self) -> Option<List<'d, 'a>> {
        (self.kind() == Kind::List).then_some(List::new(*self))
    }

    /// The entries of a dictionary.
    #[inline]
    pub fn as_dict(&self) -> Option<Dict<'d, 'a>> {
        (self.kind() == Kind::Dict).then_some(Dict::new(*self))
    }

    /// The bytes of the input that spell this value, from its first byte to its last. Hash these, never a re-encoding.
    #[inline]
    pub fn raw(&self) -> &'a [u8] {
        self.doc.slice(self.token.start(), self.token.end())
    }

    /// Where [`Value::raw`] is in the input.
    #[inline]
    pub fn span(&self) -> Range<usize> {
        self.token.start()..self.token.end()
    }

    #[inline]
    pub(crate) fn body(&self) -> &'a [u8] {
        self.doc.slice(self.token.body(), self.token.end())
    }

    #[inline]
    pub(crate) fn token(&self) -> Token {
        self.token
    }

    /// Its tape index.
    pub(crate) fn index(&self) -> usize {
        self.index
    }

    /// The tape index of its first child.
    #[inline]
    pub(crate) fn first(&self) -> usize {
        self.index.saturating_add(1)
    }

    /// The tape index behind it and its children.
    #[inline]
    pub(crate) fn next(&self) -> usize {
        self.token.next(self.index)
    }

    #[inline]
    pub(crate) fn doc(&self) -> &'d Document<'a> {
        self.doc
    }
}
