//! URL queries, byte by byte: info-hashes are no text.

use alloc::borrow::Cow;
use alloc::string::String;
use alloc::vec::Vec;

const HEX: &[u8; 16] = b"0123456789ABCDEF";

/// Appends `bytes`, escaped unless they are unreserved characters of a URL (RFC 3986).
pub(super) fn escape(bytes: &[u8], out: &mut String) {
    for byte in bytes {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(byte) {
            out.push(char::from(*byte));
        } else {
            out.push('%');
            for nibble in [byte >> 4, byte & 15] {
                out.push(HEX.get(usize::from(nibble)).copied().map_or('0', char::from));
            }
        }
    }
}

/// The bytes that were escaped. A `+` is a space; a `%` before anything but two hex digits stands for itself.
pub(super) fn unescape(text: &[u8]) -> Cow<'_, [u8]> {
    if !text.iter().any(|c| matches!(c, b'%' | b'+')) {
        return Cow::Borrowed(text);
    }
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((first, after)) = rest.split_first() {
        let (byte, after) = match (first, after) {
            (b'%', [high, low, after @ ..]) if hex(*high).is_some() && hex(*low).is_some() => {
                (hex(*high).unwrap_or(0) << 4 | hex(*low).unwrap_or(0), after)
            }
            (b'+', after) => (b' ', after),
            (other, after) => (*other, after),
        };
        out.push(byte);
        rest = after;
    }
    Cow::Owned(out)
}

/// The keys and values of a query, unescaped. A `?` in front is skipped.
pub(super) fn pairs(query: &[u8]) -> impl Iterator<Item = (Cow<'_, [u8]>, Cow<'_, [u8]>)> {
    let query = query.strip_prefix(b"?").unwrap_or(query);
    query.split(|c| *c == b'&').filter(|pair| !pair.is_empty()).map(|pair| {
        let mut halves = pair.splitn(2, |c| *c == b'=');
        (unescape(halves.next().unwrap_or_default()), unescape(halves.next().unwrap_or_default()))
    })
}

/// Starts a query after `url`, or goes on with the one that it has. A fragment is dropped: it is never sent.
pub(super) fn start_query(url: &str) -> String {
    let url = url.split('#').next().unwrap_or_default();
    let mut out = String::with_capacity(url.len() + 320);
    out.push_str(url);
    if !url.contains('?') {
        out.push('?');
    } else if !url.ends_with(['?', '&']) {
        out.push('&');
    }
    out
}

fn hex(c: u8) -> Option<u8> {
    match c {
        b'0'..=b'9' => Some(c - b'0'),
        b'A'..=b'F' => Some(c - b'A' + 10),
        b'a'..=b'f' => Some(c - b'a' + 10),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_byte_comes_back() {
        let all: Vec<u8> = (0..=255).collect();
        let mut text = String::new();
        escape(&all, &mut text);
        assert_eq!(unescape(text.as_bytes()), all);
        assert!(text.bytes().all(|c| c.is_ascii_alphanumeric() || b"-._~%".contains(&c)));
    }

    #[test]
    fn broken_escapes_stand_for_themselves() {
        for (text, bytes) in
            [("%", "%"), ("%4", "%4"), ("%zz", "%zz"), ("a+b", "a b"), ("%2", "%2"), ("%e9%", "\u{e9}%")]
        {
            let expected: Vec<u8> = bytes.chars().map(|c| c as u8).collect();
            assert_eq!(unescape(text.as_bytes()), expected, "{text}");
        }
    }
}
