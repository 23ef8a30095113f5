//! Reading values of peers and trackers that were written with little care.

use alloc::string::String;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use bencode::Value;

/// At most `max` characters of text, with what is no UTF-8 or no printable character replaced: the text of a stranger
/// may end up on a terminal.
pub(crate) fn text(bytes: &[u8], max: usize) -> String {
    // A character is at most 4 bytes, so this much holds all that is kept.
    let bytes = bytes.get(..max.saturating_mul(4)).unwrap_or(bytes);
    let printable =
        |c: char| if c.is_control() || is_directional(c) { char::REPLACEMENT_CHARACTER } else { c };
    String::from_utf8_lossy(bytes).chars().take(max).map(printable).collect()
}

/// Characters that reorder the text around them.
fn is_directional(c: char) -> bool {
    matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// A number that cannot be negative, also when it was written as a string. Larger ones count as the largest.
pub(crate) fn count(value: Value<'_, '_>) -> Option<u32> {
    let number = value.as_int().or_else(|| value.as_str()?.trim().parse().ok())?;
    (number >= 0).then(|| u32::try_from(number).unwrap_or(u32::MAX))
}

/// A port that can be reached.
pub(crate) fn port(value: Value<'_, '_>) -> Option<u16> {
    u16::try_from(value.as_int()?).ok().filter(|port| *port != 0)
}

/// An address as 4 or 16 bytes.
pub(crate) fn address(bytes: &[u8]) -> Option<IpAddr> {
    ipv4(bytes).map(IpAddr::V4).or_else(|| ipv6(bytes).map(IpAddr::V6))
}

/// An address as 4 bytes.
pub(crate) fn ipv4(bytes: &[u8]) -> Option<Ipv4Addr> {
    <[u8; 4]>::try_from(bytes).ok().map(Ipv4Addr::from)
}

/// An address as 16 bytes.
pub(crate) fn ipv6(bytes: &[u8]) -> Option<Ipv6Addr> {
    <[u8; 16]>::try_from(bytes).ok().map(Ipv6Addr::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_short_and_printable() {
        assert_eq!(text(b"plain", 100), "plain");
        assert_eq!(text("größer".as_bytes(), 3), "grö");
        assert_eq!(text(b"\x1b[31mred\xff", 100), "\u{fffd}[31mred\u{fffd}");
        assert_eq!(text("a\u{202e}b".as_bytes(), 100), "a\u{fffd}b");
    }

    #[test]
    fn numbers_may_be_strings_but_not_negative() {
        let read = |input: &[u8]| count(bencode::decode(input).unwrap().root());
        assert_eq!(read(b"i5e"), Some(5));
        assert_eq!(read(b"1:5"), Some(5));
        assert_eq!(read(b"i-1e"), None);
        assert_eq!(read(b"i4611686018427387904e"), Some(u32::MAX));
        assert_eq!(read(b"5:never"), None);
        assert_eq!(read(b"le"), None);
    }
}
