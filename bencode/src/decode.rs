//! The loop that turns bytes into a tape. It keeps its own stack, so that depth costs heap and never call frames.

use alloc::vec::Vec;
use core::cmp::Ordering;

use crate::document::Document;
use crate::error::{Error, Expected, Forgiven, Found, Lapse};
use crate::leaf::{self, Fault};
use crate::options::{Mode, Options};
use crate::token::Token;

/// Tokens reserved before anything is known about the input; enough for a small torrent, and 16 KiB.
const FIRST_RESERVE: usize = 1024;

pub(crate) struct Decoder<'a> {
    input: &'a [u8],
    lenient: bool,
    max_depth: usize,
    max_tokens: usize,
    tape: Vec<Token>,
    /// The containers around the innermost open one.
    outer: Vec<Open<'a>>,
    forgiven: Vec<Forgiven>,
}

/// A list or dictionary whose `e` has not been read.
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
            outer: Vec::new(),
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
                    self.close(inner, rest);
                    open = self.outer.pop();
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
                    let inner = self.open(*byte == b'd', rest)?;
                    if let Some(outer) = open.replace(inner) {
                        self.outer.push(outer);
                    }
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
        self.forgiven.sort_unstable();
        self.forgiven.dedup();
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
    #[inline]
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
        if dict.count > 1 {
            match dict.last_key.cmp(key) {
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
    fn open(&mut self, dict: bool, input: &[u8]) -> Result<Open<'a>, Error> {
        let offset = self.offset(input);
        // The open container that encloses this one is not on `outer` yet; a first one has none.
        let depth = self.outer.len() + usize::from(!self.tape.is_empty());
        if depth >= self.max_depth {
            return Err(Error::TooDeep { offset, limit: self.max_depth });
        }
        let token = self.tape.len();
        self.push(Token::open(narrow(offset), dict), offset)?;
        Ok(Open { token, count: 0, dict, sorted: true, last_key: &[] })
    }

    #[inline]
    fn close(&mut self, open: &Open<'a>, rest: &[u8]) {
        let (end, next) = (narrow(self.offset(rest)), narrow(self.tape.len()));
        if let Some(token) = self.tape.get_mut(open.token) {
            token.close(end, next, open.count, open.sorted);
        }
        if !open.sorted {
            self.note_duplicates(open.token);
        }
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
        if self.tape.len() == self.tape.capacity() {
            self.grow(offset);
        }
        if self.tape.len() >= self.max_tokens {
            return Err(Error::TooManyTokens { offset, limit: self.max_tokens });
        }
        self.tape.push(token);
        Ok(())
    }

    /// Makes room for the tokens that the input will have if it goes on as dense as it was up to `offset`.
    #[cold]
    fn grow(&mut self, offset: usize) {
        let so_far = self.tape.len();
        let foreseen = so_far.saturating_mul(self.input.len()) / offset.max(1);
        let more = (foreseen - so_far.min(foreseen)) / 16 * 17;
        let room = self.max_tokens.saturating_sub(so_far);
        self.tape.reserve_exact(more.max(so_far).min(room));
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
