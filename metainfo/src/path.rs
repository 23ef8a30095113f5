//! Names from outside made safe to use as names of files, by one rule on all systems.
//!
//! A part of a path may come from anyone, so it is cleaned before anything else sees it: what could leave the
//! folder, hide, or mean something else on another system does not survive. The rule is the same everywhere,
//! so that a torrent has the same file names on every machine. Characters that only Windows forbids and that
//! are harmless elsewhere (`< > : " | ? *`) are kept, except the colon of a drive letter.
#![cfg_attr(
    not(test),
    deny(clippy::indexing_slicing, clippy::unwrap_used, clippy::expect_used, clippy::as_conversions)
)]

use crate::text;
use alloc::borrow::ToOwned;
use alloc::string::String;

/// The longest part of a path, in bytes: the limit of every common file system.
pub const MAX_PART: usize = 255;

/// The deepest path, in parts.
pub const MAX_DEPTH: usize = 100;

/// Extensions longer than this, dot included, are not kept when a long name is cut.
const MAX_EXTENSION: usize = 20;

/// One part of a path, cleaned; `None` when nothing usable is left.
///
/// - bytes that are no UTF-8 are read as Latin-1;
/// - slashes, backslashes, bidi marks and invisible characters are dropped;
/// - control characters become `_`, and so does the colon of a drive letter;
/// - dots and spaces at the end are dropped, which leaves nothing of `.` and `..`;
/// - a name that Windows reserves (`CON`, `nul.txt` ...) gets a `_` in front;
/// - what is longer than 255 bytes is cut, keeping the extension.
///
/// The result is never empty, holds no separator and is not `.` or `..`; cleaning it again changes nothing.
pub fn clean_part(raw: &[u8]) -> Option<String> {
    clean_text(&text::decode(raw))
}

/// As [`clean_part`], for text that was decoded.
pub(crate) fn clean_text(text: &str) -> Option<String> {
    let mut part = String::with_capacity(text.len());
    for c in text.chars() {
        if is_dropped(c) {
            continue;
        }
        part.push(if c.is_control() { '_' } else { c });
    }
    trim_end(&mut part);
    if has_drive_letter(&part) {
        part.replace_range(1..2, "_");
    }
    if is_reserved(&part) {
        part.insert(0, '_');
    }
    if part.len() > MAX_PART {
        part = cut(&part, MAX_PART);
    }
    if part.is_empty() { None } else { Some(part) }
}

/// As [`clean_part`], with `_` standing for a part of which nothing is left.
pub fn clean_part_or_underscore(raw: &[u8]) -> String {
    clean_part(raw).unwrap_or_else(|| "_".to_owned())
}

/// `name` with `.number` put before its extension, cut to [`MAX_PART`] bytes: `bar.txt` gives `bar.1.txt`.
pub(crate) fn numbered(name: &str, number: u32) -> String {
    let (stem, extension) = split_extension(name);
    let (stem, extension) = if extension.len() <= MAX_EXTENSION { (stem, extension) } else { (name, "") };
    let mut tail = String::from(".");
    tail.push_str(text::decimal(u64::from(number), &mut [0; 20]));
    tail.push_str(extension);
    let mut out = head(stem, MAX_PART.saturating_sub(tail.len())).to_owned();
    out.push_str(&tail);
    out
}

fn trim_end(part: &mut String) {
    part.truncate(part.trim_end_matches(['.', ' ']).len());
}

fn cut(part: &str, max: usize) -> String {
    let (stem, extension) = split_extension(part);
    let extension = if extension.len() <= MAX_EXTENSION { extension } else { "" };
    let whole = if extension.is_empty() { part } else { stem };
    let mut out = head(whole, max.saturating_sub(extension.len())).to_owned();
    trim_end(&mut out);
    out.push_str(extension);
    out
}

/// Splits before the last dot; a dot in front makes no extension.
fn split_extension(name: &str) -> (&str, &str) {
    match name.rfind('.') {
        Some(at) if at > 0 => name.split_at(at),
        _ => (name, ""),
    }
}

/// The longest start of `text` of at most `max` bytes that ends between characters.
fn head(text: &str, max: usize) -> &str {
    text.get(..text.floor_char_boundary(max)).unwrap_or(text)
}

fn has_drive_letter(part: &str) -> bool {
    matches!(part.as_bytes(), [letter, b':', ..] if letter.is_ascii_alphabetic())
}

/// Device names of Windows, alone or before an extension, in any case.
fn is_reserved(part: &str) -> bool {
    const PLAIN: [&str; 7] = ["con", "prn", "aux", "nul", "clock$", "conin$", "conout$"];
    let stem = part.split('.').next().unwrap_or(part).trim_end_matches(' ');
    if PLAIN.iter().any(|name| stem.eq_ignore_ascii_case(name)) {
        return true;
    }
    let (device, number) = stem.split_at(stem.floor_char_boundary(3));
    let mut digits = number.chars();
    let one_digit =
        matches!((digits.next(), digits.next()), (Some('0'..='9' | '\u{b9}' | '\u{b2}' | '\u{b3}'), None));
    one_digit && (device.eq_ignore_ascii_case("com") || device.eq_ignore_ascii_case("lpt"))
}

/// Separators, and the characters that are invisible or turn the writing direction: they make one name look
/// like another.
fn is_dropped(c: char) -> bool {
    matches!(c,
        '/' | '\\'
        | '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}'
        | '\u{180b}'..='\u{180f}'
        | '\u{200b}'..='\u{200f}'
        | '\u{2028}'..='\u{202e}'
        | '\u{2060}'..='\u{206f}'
        | '\u{3164}' | '\u{feff}' | '\u{ffa0}'
        | '\u{fff9}'..='\u{fffb}'
        | '\u{1d173}'..='\u{1d17a}'
        | '\u{e0000}'..='\u{e00ff}')
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec::Vec;

    #[test]
    fn parts_are_cleaned() {
        let table: &[(&[u8], &str)] = &[
            (b"plain.txt", "plain.txt"),
            (b"", "_"),
            (b".", "_"),
            (b"..", "_"),
            (b"...", "_"),
            (b" . . ", "_"),
            (b"/", "_"),
            (b"\\", "_"),
            (b"//\\", "_"),
            (b"/..", "_"),
            (b"../../etc/passwd", "....etcpasswd"),
            (b"..\\..\\windows", "....windows"),
            (b"/etc/passwd", "etcpasswd"),
            (b"a\0b", "a_b"),
            (b"\x08", "_"),
            (b"\x1b[31mred", "_[31mred"),
            (b"foo\x7fbar", "foo_bar"),
            (b"foo\xc2\x80bar", "foo_bar"),
            (b"c:", "c_"),
            (b"C:\\x", "C_x"),
            (b"dev:", "dev:"),
            (b"a: b", "a_ b"),
            (b"CON", "_CON"),
            (b"nul.txt", "_nul.txt"),
            (b"Com1.tar.gz", "_Com1.tar.gz"),
            (b"LPT9 .x", "_LPT9 .x"),
            ("com\u{b9}".as_bytes(), "_com\u{b9}"),
            (b"com10", "com10"),
            (b"console", "console"),
            (b"conout$", "_conout$"),
            (b"abc...", "abc"),
            (b"abc   ", "abc"),
            (b"a. . .", "a"),
            (b"a...b", "a...b"),
            (b".hidden", ".hidden"),
            (b" lead", " lead"),
            (b"gr\xfcn", "gr\u{fc}n"),
            (b"filename\xc0\xae", "filename\u{c0}\u{ae}"),
            (b"\x82est/MB", "_estMB"),
            ("foo\u{202e}gpj.exe".as_bytes(), "foogpj.exe"),
            ("foo\u{200b}bar\u{feff}".as_bytes(), "foobar"),
            ("foo\u{2066}bar\u{2069}".as_bytes(), "foobar"),
            ("..\u{200b}".as_bytes(), "_"),
            ("\u{200e}".as_bytes(), "_"),
            ("caf\u{e9} \u{1f600}".as_bytes(), "caf\u{e9} \u{1f600}"),
        ];
        for &(raw, clean) in table {
            assert_eq!(clean_part_or_underscore(raw), clean, "{:?}", raw.escape_ascii());
        }
    }

    #[test]
    fn long_names_keep_their_extension() {
        let long = "x".repeat(300);
        assert_eq!(clean_part_or_underscore(long.as_bytes()), "x".repeat(255));
        let named = clean_part_or_underscore(alloc::format!("{long}.tar").as_bytes());
        assert_eq!(named, "x".repeat(251) + ".tar");
        let wide = clean_part_or_underscore(alloc::format!("{}.jpg", "\u{2014}".repeat(100)).as_bytes());
        assert_eq!(wide, "\u{2014}".repeat(83) + ".jpg");
        let odd = clean_part_or_underscore(alloc::format!("{}. {long}", "y".repeat(254)).as_bytes());
        assert_eq!(odd, "y".repeat(254));
    }

    #[test]
    fn numbers_go_before_the_extension() {
        assert_eq!(numbered("bar.txt", 1), "bar.1.txt");
        assert_eq!(numbered("bar", 12), "bar.12");
        assert_eq!(numbered(".rc", 1), ".rc.1");
        let long = numbered(&("x".repeat(251) + ".txt"), 7);
        assert_eq!(long, "x".repeat(249) + ".7.txt");
        let odd = numbered(&("x.".to_owned() + &"y".repeat(253)), 7);
        assert_eq!(odd, "x.".to_owned() + &"y".repeat(251) + ".7");
    }

    proptest::proptest! {
        #[test]
        fn a_clean_part_is_one_safe_name(raw: Vec<u8>) {
            let part = clean_part_or_underscore(&raw);
            check_safe(&part);
        }

        #[test]
        fn a_clean_text_is_one_safe_name(raw in "[\\PC\\x00-\\x20./\\\\:\u{200b}]{0,400}") {
            let part = clean_part_or_underscore(raw.as_bytes());
            check_safe(&part);
        }
    }

    fn check_safe(part: &str) {
        assert!(!part.is_empty() && part.len() <= MAX_PART && part != "." && part != "..");
        assert!(!part.contains(['/', '\\', '\0']) && !part.chars().any(char::is_control));
        assert_eq!(clean_part_or_underscore(part.as_bytes()), part, "cleaning twice");
    }
}
