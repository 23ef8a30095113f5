//! The two leaves of the grammar that need more than one byte to read: integers and string lengths.

use nom::character::complete::char;
use nom::combinator::opt;
use nom::error::{ErrorKind, ParseError};
use nom::sequence::{delimited, terminated};
use nom::{IResult, Parser};

use crate::error::{Expected, Lapse};

/// A number as written: its value and what was wrong with the way it is written.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Number<T> {
    pub(crate) value: T,
    pub(crate) lapse: Option<Lapse>,
}

/// Where a leaf went wrong, told by the bytes left there, for a parser does not know how many came before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Fault {
    pub(crate) left: usize,
    /// `None`: the number is too large.
    pub(crate) expected: Option<Expected>,
}

type Leaf<'a, T> = IResult<&'a [u8], Number<T>, Fault>;

/// `i`, an optional sign, digits, `e`.
#[inline]
pub(crate) fn integer(input: &[u8]) -> Leaf<'_, i64> {
    let (rest, (minus, digits)) =
        delimited(char('i'), (opt(char('-')), digits), char('e')).parse_complete(input)?;
    let value = match (minus, digits.value) {
        (None, Some(n)) => i64::try_from(n).ok(),
        (Some(_), Some(n)) => 0i64.checked_sub_unsigned(n),
        (_, None) => None,
    };
    let Some(value) = value else { return Err(overflow(input.len() - 1)) };
    let lapse = match digits.lapse() {
        None if minus.is_some() && value == 0 => Some(Lapse::NegativeZero),
        lapse => lapse,
    };
    Ok((rest, Number { value, lapse }))
}

/// Digits and `:`, the start of a string.
#[inline]
pub(crate) fn length(input: &[u8]) -> Leaf<'_, u64> {
    let (rest, digits) = terminated(digits, char(':')).parse_complete(input)?;
    let Some(value) = digits.value else { return Err(overflow(input.len())) };
    Ok((rest, Number { value, lapse: digits.lapse() }))
}

struct Digits {
    /// `None`: more than 64 bits.
    value: Option<u64>,
    zero_first: bool,
    count: usize,
}

impl Digits {
    #[inline]
    fn lapse(&self) -> Option<Lapse> {
        (self.zero_first && self.count > 1).then_some(Lapse::LeadingZero)
    }
}

/// One digit or more, in one pass: most numbers have one or two.
#[inline]
fn digits(input: &[u8]) -> IResult<&[u8], Digits, Fault> {
    let (mut value, mut count, mut rest) = (0u64, 0usize, input);
    while let [byte @ b'0'..=b'9', after @ ..] = rest {
        value = value.wrapping_mul(10).wrapping_add(u64::from(byte & 15));
        count += 1;
        rest = after;
    }
    if count == 0 {
        return Err(nom::Err::Error(Fault::from_error_kind(input, ErrorKind::Digit)));
    }
    // 19 digits always fit. More are leading zeros, or close to the edge.
    let value = if count <= 19 { Some(value) } else { checked(input.get(..count).unwrap_or_default()) };
    Ok((rest, Digits { value, zero_first: input.first() == Some(&b'0'), count }))
}

#[cold]
fn checked(digits: &[u8]) -> Option<u64> {
    digits.iter().try_fold(0u64, |n, digit| n.checked_mul(10)?.checked_add(u64::from(digit & 15)))
}

fn overflow(left: usize) -> nom::Err<Fault> {
    nom::Err::Failure(Fault { left, expected: None })
}

impl ParseError<&[u8]> for Fault {
    fn from_error_kind(input: &[u8], _: ErrorKind) -> Self {
        Self { left: input.len(), expected: Some(Expected::Digit) }
    }

    fn append(_: &[u8], _: ErrorKind, other: Self) -> Self {
        other
    }

    fn from_char(input: &[u8], wanted: char) -> Self {
        let expected = if wanted == ':' { Expected::DigitOrColon } else { Expected::DigitOrEnd };
        Self { left: input.len(), expected: Some(expected) }
    }
}

impl From<nom::Err<Fault>> for Fault {
    fn from(error: nom::Err<Fault>) -> Self {
        match error {
            nom::Err::Error(fault) | nom::Err::Failure(fault) => fault,
            nom::Err::Incomplete(_) => Self { left: 0, expected: Some(Expected::Digit) },
        }
    }
}
