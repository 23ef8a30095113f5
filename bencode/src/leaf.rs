//! The two leaves of the grammar that need more than one byte to read: integers and string lengths.

use nom::bytes::complete::take_while1;
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
    let number = magnitude(digits);
    let value = match (minus, number) {
        (None, Some(n)) => i64::try_from(n).ok(),
        (Some(_), Some(n)) => 0i64.checked_sub_unsigned(n),
        (_, None) => None,
    };
    let Some(value) = value else { return Err(overflow(input.len() - 1)) };
    let lapse = match digits {
        [b'0', _, ..] => Some(Lapse::LeadingZero),
        [b'0'] if minus.is_some() => Some(Lapse::NegativeZero),
        _ => None,
    };
    Ok((rest, Number { value, lapse }))
}

/// Digits and `:`, the start of a string.
#[inline]
pub(crate) fn length(input: &[u8]) -> Leaf<'_, u64> {
    let (rest, digits) = terminated(digits, char(':')).parse_complete(input)?;
    let Some(value) = magnitude(digits) else { return Err(overflow(input.len())) };
    let lapse = matches!(digits, [b'0', _, ..]).then_some(Lapse::LeadingZero);
    Ok((rest, Number { value, lapse }))
}

#[inline]
fn digits(input: &[u8]) -> IResult<&[u8], &[u8], Fault> {
    take_while1(|byte: u8| byte.is_ascii_digit()).parse_complete(input)
}

#[inline]
fn magnitude(digits: &[u8]) -> Option<u64> {
    // 19 digits always fit; more are leading zeros or close to overflow.
    if digits.len() <= 19 {
        return Some(
            digits.iter().fold(0, |n: u64, digit| n.wrapping_mul(10).wrapping_add(u64::from(digit & 15))),
        );
    }
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
