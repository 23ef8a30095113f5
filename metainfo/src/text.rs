//! Text as torrents and magnets carry it: bytes of an unknown encoding, percent escapes, base32, hex.
#![cfg_attr(
    not(test),
    deny(clippy::indexing_slicing, clippy::unwrap_used, clippy::expect_used, clippy::as_conversions)
)]

use alloc::string::String;
use alloc::vec::Vec;

/// The text of `bytes`: UTF-8 if it is valid, else each byte as the Latin-1 character of that number.
///
/// The fallback loses nothing: different bytes give different text. Names in other legacy encodings
/// look wrong but stay distinct.
pub(crate) fn decode(bytes: &[u8]) -> String {
    match core::str::from_utf8(bytes) {
        Ok(text) => String::from(text),
        Err(_) => bytes.iter().copied().map(char::from).collect(),
    }
}

/// In which encoding text without a UTF-8 twin is, as the torrent claims.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Charset {
    #[cfg(feature = "encodings")]
    encoding: Option<&'static encoding_rs::Encoding>,
}

impl Charset {
    /// The one with this name. Unknown ones, and those in which ASCII is something else, count as none.
    #[cfg(feature = "encodings")]
    pub(crate) fn named(name: Option<&[u8]>) -> Self {
        let by_code_page = |name: &[u8]| match name.to_ascii_lowercase().as_slice() {
            b"cp932" => Some(encoding_rs::SHIFT_JIS),
            b"cp936" => Some(encoding_rs::GBK),
            b"cp949" => Some(encoding_rs::EUC_KR),
            b"cp950" => Some(encoding_rs::BIG5),
            _ => None,
        };
        let known =
            |name| encoding_rs::Encoding::for_label_no_replacement(name).or_else(|| by_code_page(name));
        Self { encoding: name.and_then(known).filter(|encoding| encoding.is_ascii_compatible()) }
    }

    /// Without the feature `encodings` none is known.
    #[cfg(not(feature = "encodings"))]
    pub(crate) fn named(_: Option<&[u8]>) -> Self {
        Self {}
    }

    /// The text of `bytes`: UTF-8 if it is valid, whatever is claimed; else in this encoding, if all of it can be; else
    /// as [`decode`] has it.
    pub(crate) fn decode(self, bytes: &[u8]) -> String {
        #[cfg(feature = "encodings")]
        if let Some(encoding) = self.encoding
            && core::str::from_utf8(bytes).is_err()
            && let Some(text) = encoding.decode_without_bom_handling_and_without_replacement(bytes)
        {
            return text.into_owned();
        }
        decode(bytes)
    }
}

/// Appends `text` with everything but RFC 3986 unreserved characters percent-encoded.
pub(crate) fn escape(text: &str, out: &mut String) {
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~') {
            out.push(char::from(byte));
        } else {
            push_escape(byte, out);
        }
    }
}

/// URLs longer than this, in bytes, are not used.
const MAX_URL: usize = 8192;

/// The tidied text if it looks like a URL: a scheme and something behind it.
pub(crate) fn checked_url(text: &str) -> Option<String> {
    if text.len() > MAX_URL {
        return None;
    }
    let url = tidy_url(text);
    let (scheme, rest) = url.split_once("://")?;
    let named =
        !scheme.is_empty() && scheme.bytes().all(|b| b.is_ascii_alphanumeric() || b"+-.".contains(&b));
    (named && !rest.is_empty()).then_some(url)
}

/// A URL in which spaces, control characters and bytes beyond ASCII are percent-encoded; what is already a
/// URL stays as it is.
fn tidy_url(url: &str) -> String {
    let mut out = String::with_capacity(url.len());
    for byte in url.trim().bytes() {
        if byte.is_ascii_graphic() {
            out.push(char::from(byte));
        } else {
            push_escape(byte, &mut out);
        }
    }
    out
}

fn push_escape(byte: u8, out: &mut String) {
    const HEX: [char; 16] = ['0', '1', '2', '3', '4', '5', '6', '7', '8', '9', 'A', 'B', 'C', 'D', 'E', 'F'];
    out.push('%');
    for digit in [byte >> 4, byte & 15] {
        out.extend(HEX.get(usize::from(digit)));
    }
}

/// The bytes of percent-encoded text; `None` when an escape is broken.
pub(crate) fn unescape(text: &str) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        if byte == b'%' {
            let high = hex_digit(bytes.next()?)?;
            let low = hex_digit(bytes.next()?)?;
            out.push(high << 4 | low);
        } else {
            out.push(byte);
        }
    }
    Some(out)
}

fn hex_digit(byte: u8) -> Option<u8> {
    match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        b'A'..=b'F' => Some(byte - b'A' + 10),
        _ => None,
    }
}

/// The 20 bytes of 32 base32 digits (RFC 4648, either case, no padding).
pub(crate) fn base32_20(text: &str) -> Option<[u8; 20]> {
    if text.len() != 32 {
        return None;
    }
    let mut out = [0; 20];
    for (bytes, digits) in out.chunks_exact_mut(5).zip(text.as_bytes().chunks_exact(8)) {
        let mut group = 0u64;
        for &digit in digits {
            let value = match digit {
                b'A'..=b'Z' => digit - b'A',
                b'a'..=b'z' => digit - b'a',
                b'2'..=b'7' => digit - b'2' + 26,
                _ => return None,
            };
            group = group << 5 | u64::from(value);
        }
        let [_, _, _, five @ ..] = group.to_be_bytes();
        bytes.copy_from_slice(&five);
    }
    Some(out)
}

/// `value` in decimal digits.
pub(crate) fn decimal(mut value: u64, digits: &mut [u8; 20]) -> &str {
    let mut at = digits.len();
    for slot in digits.iter_mut().rev() {
        *slot = b'0' + u8::try_from(value % 10).unwrap_or(0);
        value /= 10;
        at -= 1;
        if value == 0 {
            break;
        }
    }
    digits.get(at..).and_then(|d| core::str::from_utf8(d).ok()).unwrap_or("")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_that_are_no_utf8_become_latin_1() {
        assert_eq!(decode("gr\u{fc}n".as_bytes()), "gr\u{fc}n");
        assert_eq!(decode(b"gr\xfcn"), "gr\u{fc}n");
    }

    #[cfg(feature = "encodings")]
    #[test]
    fn text_is_in_the_encoding_that_is_claimed_if_it_can_be() {
        let table: [(&str, &[u8], &str); 10] = [
            ("GBK", b"\xce\xc4\xd7\xd6.txt", "\u{6587}\u{5b57}.txt"),
            ("gb2312", b"\xce\xc4", "\u{6587}"),
            ("CP936", b"\xce\xc4", "\u{6587}"),
            ("Big5", b"\xa4\xe5", "\u{6587}"),
            ("Shift_JIS", b"\x95\x5c", "\u{8868}"),
            ("EUC-KR", b"\xc7\xd1", "\u{d55c}"),
            ("windows-1251", b"\xe6", "\u{436}"),
            ("GBK", "\u{6587}".as_bytes(), "\u{6587}"),
            ("GBK", b"\xce\xff", "\u{ce}\u{ff}"),
            ("UTF-16", b"gr\xfcn", "gr\u{fc}n"),
        ];
        for (name, bytes, text) in table {
            assert_eq!(Charset::named(Some(name.as_bytes())).decode(bytes), text, "{name}");
        }
        assert_eq!(Charset::named(Some(b"nonsense")).decode(b"\xfc"), "\u{fc}");
        assert_eq!(Charset::named(None).decode(b"\xfc"), "\u{fc}");
    }

    #[test]
    fn escapes_go_both_ways() {
        let mut out = String::new();
        escape("a b/\u{fc}~%", &mut out);
        assert_eq!(out, "a%20b%2F%C3%BC~%25");
        assert_eq!(unescape(&out).unwrap(), "a b/\u{fc}~%".as_bytes());
        for broken in ["%", "%1", "%zz", "a%2"] {
            assert_eq!(unescape(broken), None);
        }
    }

    #[test]
    fn urls_are_tidied_once() {
        let url = tidy_url("\t http://host/a b/\u{e9}?x=%20 \n");
        assert_eq!(url, "http://host/a%20b/%C3%A9?x=%20");
        assert_eq!(tidy_url(&url), url);
    }

    #[test]
    fn base32_decodes_20_bytes() {
        assert_eq!(base32_20(&"A".repeat(32)), Some([0; 20]));
        assert_eq!(base32_20(&"7".repeat(32)), Some([255; 20]));
        assert_eq!(base32_20("AAAQEAYEAUDAOCAJBIFQYDIOB4IBCEQT"), Some(core::array::from_fn(|i| i as u8)));
        assert_eq!(base32_20(&"1".repeat(32)), None);
        assert_eq!(base32_20("AAAA"), None);
    }

    #[test]
    fn numbers_are_written_in_decimal() {
        for n in [0, 7, 10, 16384, u64::MAX] {
            assert_eq!(decimal(n, &mut [0; 20]), alloc::format!("{n}"));
        }
    }
}
