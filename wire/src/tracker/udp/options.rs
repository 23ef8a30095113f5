//! Options behind an announce request (BEP 41).

use alloc::borrow::Cow;
use alloc::vec::Vec;

const END: u8 = 0;
const NOP: u8 = 1;
const URL_DATA: u8 = 2;

/// The path and query of a tracker's URL, which is what goes into the URL data option. Empty if the URL has neither.
pub fn url_data(url: &str) -> &str {
    let url = url.split('#').next().unwrap_or_default();
    let authority = url.split_once("://").map_or(url, |(_, rest)| rest);
    authority.find(['/', '?']).and_then(|at| authority.get(at..)).unwrap_or_default()
}

/// Appends URL data, in as many options as it takes. Nothing is appended for none.
pub(super) fn write(url_data: &[u8], out: &mut Vec<u8>) {
    for part in url_data.chunks(255) {
        out.push(URL_DATA);
        out.push(u8::try_from(part.len()).unwrap_or(u8::MAX));
        out.extend_from_slice(part);
    }
}

/// The URL data among options. Options that are cut short end the list.
pub(super) fn read(mut options: &[u8]) -> Cow<'_, [u8]> {
    let mut data = Cow::Borrowed(&[][..]);
    while let Some((kind, rest)) = options.split_first() {
        options = rest;
        match *kind {
            END => break,
            NOP => continue,
            _ => {}
        }
        let Some((len, rest)) = options.split_first() else { break };
        let Some((part, rest)) = rest.split_at_checked(usize::from(*len)) else { break };
        options = rest;
        match (*kind, data.is_empty()) {
            (URL_DATA, true) => data = Cow::Borrowed(part),
            (URL_DATA, false) => data.to_mut().extend_from_slice(part),
            _ => {}
        }
    }
    data
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_examples_of_bep_41_are_read() {
        assert_eq!(&*read(b"\x02\x0c/dir?a=b&c=d"), b"/dir?a=b&c=d");
        assert_eq!(&*read(b"\x02\x0c/dir?a=b&c=d\x01\x01\x00"), b"/dir?a=b&c=d");
        assert_eq!(&*read(b"\x02\x00"), b"");
    }

    #[test]
    fn unknown_options_are_skipped_and_cut_ones_end_the_list() {
        assert_eq!(&*read(b"\x07\x02xx\x02\x01a\x02\x01b\x00\x02\x01c"), b"ab");
        assert_eq!(&*read(b"\x02\x01a\x02\x09b"), b"a");
        assert_eq!(&*read(b"\x02"), b"");
    }

    #[test]
    fn long_urls_take_several_options() {
        let long: Vec<u8> = (0..600).map(|i| b'a' + (i % 26) as u8).collect();
        let mut out = Vec::new();
        write(&long, &mut out);
        assert_eq!(out.len(), 600 + 2 * 3);
        assert_eq!(&*read(&out), long);
    }

    #[test]
    fn path_and_query_are_cut_from_a_url() {
        for (url, data) in [
            ("udp://tracker.example.com:80/dir?a=b&c=d", "/dir?a=b&c=d"),
            ("udp://tracker.example.com:80", ""),
            ("udp://tracker.example.com:80/", "/"),
            ("udp://tracker.example.com:80?k=v#f", "?k=v"),
            ("", ""),
        ] {
            assert_eq!(url_data(url), data, "{url}");
        }
    }
}
