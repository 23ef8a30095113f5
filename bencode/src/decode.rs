//! The loop that turns bytes into a tape.
//!
//! It never recurses. Its stack is threaded through the tape: the token of an open container holds the index of the container around it, and the
//! state of that one, until `e` replaces them by what readers want to know. So depth costs no memory of its own.

use alloc::vec::Vec;
use core::cmp::Ordering;

use crate::document::Document;
use crate::error::{Error, Expected, Forgiven, Found, Lapse};
use crate::leaf::{self, Fault};
use crate::options::{Mode, Options};
use crate::token::{Kind, Token};

/// Tokens reserved before anything is known about the input. Enough for a message or a small torrent, and with 1 KiB still a
/// size that allocators keep at hand.
const FIRST_RESERVE: usize = 64;

pub(crate) struct Decoder<'a> {
    input: &'a [u8],
    lenient: bool,
    max_depth: usize,
    max_tokens: usize,
    tape: Vec<Token>,
    /// Tokens the tape may hold before it must grow.
    room: usize,
    /// Containers that are open.
    depth: usize,
    forgiven: Vec<Forgiven>,
}

/// The innermost list or dictionary whose `e` has not been read.
struct Open<'a> {
    token: usize,
    count: u32,
    dict: bool,
    sorted: bool,
    last_key: &'a [u8],
}

impl<'a> Decoder<'a> {
    pub(crate) fn new(options: &Options, input: &'a [u8]) -> Result<Self, Error> {
        let limit = options.max_size.min(Options::SIZE_CEILING);
        if input.len() > limit {
            return Err(Error::TooLarge { size: input.len(), limit });
        }
        // No token is shorter than two bytes, and few inputs are denser than one in six.
        let reserve = (input.len() / 6 + 2).min(FIRST_RESERVE).min(options.max_tokens);
        Ok(Self {
            input,
            lenient: options.mode == Mode::Lenient,
            max_depth: options.max_depth,
            max_tokens: options.max_tokens,
            tape: Vec::with_capacity(reserve),
            room: reserve,
            depth: 0,
            forgiven: Vec::new(),
        })
    }

    /// Reads one value and returns the bytes it took.
    pub(crate) fn run(&mut self) -> Result<usize, Error> {
        let mut rest = self.input;
        let mut open: Option<Open<'a>> = None;
        loop {
            if let Some(inner) = &mut open {
                if let [b'e', after @ ..] = rest {
                    rest = after;
                    open = self.close(inner, rest);
                    if open.is_none() {
                        return Ok(self.offset(rest));
                    }
                    continue;
                }
                inner.count = inner.count.saturating_add(1);
                if inner.dict {
                    rest = self.key(inner, rest)?;
                }
            }
            match rest {
                [b'0'..=b'9', ..] => rest = self.string(rest)?.1,
                [b'i', ..] => rest = self.integer(rest)?,
                [byte @ (b'l' | b'd'), after @ ..] => {
                    open = Some(self.open(*byte == b'd', open.as_ref(), rest)?);
                    rest = after;
                    continue;
                }
                _ => {
                    let in_list = open.is_some_and(|open| !open.dict);
                    let expected = if in_list { Expected::ValueOrEnd } else { Expected::Value };
                    return Err(self.unexpected(self.offset(rest), expected));
                }
            }
            if open.is_none() {
                return Ok(self.offset(rest));
            }
        }
    }

    /// Refuses a departure from the canonical form, or notes it.
    #[cold]
    pub(crate) fn lapse(&mut self, offset: usize, lapse: Lapse) -> Result<(), Error> {
        if !self.lenient {
            return Err(Error::NotCanonical { offset, lapse });
        }
        if self.forgiven.len() < Document::MAX_FORGIVEN {
            self.forgiven.push(Forgiven { offset, lapse });
        }
        Ok(())
    }

    pub(crate) fn finish(mut self) -> Document<'a> {
        // Duplicates in an unsorted dictionary are found when it closes, behind the lapses of its children.
        if self.forgiven.len() > 1 {
            self.forgiven.sort_unstable();
            self.forgiven.dedup();
        }
        Document::new(self.input, self.tape, self.forgiven)
    }

    #[inline]
    fn integer(&mut self, input: &'a [u8]) -> Result<&'a [u8], Error> {
        let (rest, number) = leaf::integer(input).map_err(|fault| self.fault(fault.into()))?;
        let start = self.offset(input);
        if let Some(lapse) = number.lapse {
            self.lapse(start + 1, lapse)?;
        }
        self.push(Token::int(narrow(start), narrow(self.offset(rest)), number.value), start)?;
        Ok(rest)
    }

    /// Reads a string, and returns it and what follows it.
    #[inline(always)]
    fn string(&mut self, input: &'a [u8]) -> Result<(&'a [u8], &'a [u8]), Error> {
        let (body, length) = leaf::length(input).map_err(|fault| self.fault(fault.into()))?;
        let start = self.offset(input);
        if let Some(lapse) = length.lapse {
            self.lapse(start, lapse)?;
        }
        let split = usize::try_from(length.value).ok().and_then(|length| body.split_at_checked(length));
        let Some((bytes, rest)) = split else {
            return Err(Error::StringTooLong { offset: start, length: length.value, available: body.len() });
        };
        let token = Token::bytes(narrow(start), narrow(self.offset(body)), narrow(self.offset(rest)));
        self.push(token, start)?;
        Ok((bytes, rest))
    }

    #[inline]
    fn key(&mut self, dict: &mut Open<'a>, input: &'a [u8]) -> Result<&'a [u8], Error> {
        if !matches!(input, [b'0'..=b'9', ..]) {
            return Err(self.unexpected(self.offset(input), Expected::KeyOrEnd));
        }
        let (key, rest) = self.string(input)?;
        // Most neighbours differ in their first byte, which is cheaper to see here than in a comparison of slices.
        let last = dict.last_key;
        if dict.count > 1 && last.first() >= key.first() {
            match last.cmp(key) {
                Ordering::Less => {}
                Ordering::Equal => self.lapse(self.offset(input), Lapse::DuplicateKey)?,
                Ordering::Greater => {
                    self.lapse(self.offset(input), Lapse::UnsortedKey)?;
                    dict.sorted = false;
                }
            }
        }
        dict.last_key = key;
        Ok(rest)
    }

    #[inline]
    fn open(&mut self, dict: bool, outer: Option<&Open<'a>>, input: &[u8]) -> Result<Open<'a>, Error> {
        let offset = self.offset(input);
        if self.depth >= self.max_depth {
            return Err(Error::TooDeep { offset, limit: self.max_depth });
        }
        self.depth += 1;
        if let Some(outer) = outer
            && let Some(token) = self.tape.get_mut(outer.token)
        {
            token.suspend(outer.count, outer.sorted);
        }
        let token = self.tape.len();
        self.push(Token::open(narrow(offset), dict, outer.map(|outer| narrow(outer.token))), offset)?;
        Ok(Open { token, count: 0, dict, sorted: true, last_key: &[] })
    }

    /// Ends a container and takes up the one around it.
    #[inline]
    fn close(&mut self, open: &Open<'a>, rest: &[u8]) -> Option<Open<'a>> {
        self.depth = self.depth.saturating_sub(1);
        if !open.sorted {
            self.note_duplicates(open.token);
        }
        let (end, next) = (narrow(self.offset(rest)), narrow(self.tape.len()));
        let outer = self.tape.get_mut(open.token)?.close(end, next, open.count, open.sorted)?;
        let token = *self.tape.get(outer)?;
        let dict = token.kind() == Kind::Dict;
        // In a dictionary, the container that just ended is the value of the key before it.
        let key = if dict { *self.tape.get(open.token.wrapping_sub(1))? } else { Token::EMPTY };
        let last_key = self.input.get(key.body()..key.end())?;
        Some(Open { token: outer, count: token.count_so_far(), dict, sorted: token.is_sorted(), last_key })
    }

    /// Notes the keys that an unsorted dictionary has more than once; only a comparison of all finds them.
    #[cold]
    fn note_duplicates(&mut self, dict: usize) {
        let mut keys = Vec::new();
        let mut index = dict + 1;
        while let (Some(key), Some(value)) = (self.tape.get(index), self.tape.get(index + 1)) {
            keys.push((self.input.get(key.body()..key.end()).unwrap_or_default(), key.start()));
            index = value.next(index + 1);
        }
        keys.sort_unstable();
        for pair in keys.windows(2) {
            if let [(first, _), (second, offset)] = pair
                && first == second
                && self.forgiven.len() < Document::MAX_FORGIVEN
            {
                self.forgiven.push(Forgiven { offset: *offset, lapse: Lapse::DuplicateKey });
            }
        }
    }

    #[inline]
    fn push(&mut self, token: Token, offset: usize) -> Result<(), Error> {
        if self.tape.len() >= self.room {
            self.grow(offset)?;
        }
        self.tape.push(token);
        Ok(())
    }

    /// Makes room for the tokens that the input will have if it goes on as dense as it was up to `offset`.
    #[cold]
    fn grow(&mut self, offset: usize) -> Result<(), Error> {
        let so_far = self.tape.len();
        let left = self.max_tokens.saturating_sub(so_far);
        if left == 0 {
            return Err(Error::TooManyTokens { offset, limit: self.max_tokens });
        }
        let foreseen = so_far.saturating_mul(self.input.len()) / offset.max(1);
        let more = foreseen.saturating_sub(so_far) / 16 * 17;
        self.tape.reserve_exact(more.max(so_far).clamp(1, left));
        self.room = self.tape.capacity().min(self.max_tokens);
        Ok(())
    }

    /// Bytes of the input before `rest`.
    #[inline]
    fn offset(&self, rest: &[u8]) -> usize {
        self.input.len() - rest.len()
    }

    #[cold]
    fn fault(&self, fault: Fault) -> Error {
        let offset = self.input.len() - fault.left;
        match fault.expected {
            Some(expected) => self.unexpected(offset, expected),
            None => Error::Overflow { offset },
        }
    }

    #[cold]
    fn unexpected(&self, offset: usize, expected: Expected) -> Error {
        let found = self.input.get(offset).map_or(Found::End, |byte| Found::Byte(*byte));
        Error::Unexpected { offset, expected, found }
    }
}

/// Sizes are capped at 29 bits before the first token, and tokens are fewer than bytes.
#[inline]
fn narrow(n: usize) -> u32 {
    u32::try_from(n).unwrap_or(u32::MAX)
}
