//! Looking at Rust sources: which names stand in the code, as opposed to comments, literals and tests.

use std::fs;
use std::path::{Path, PathBuf};

/// The Rust files below a folder, in order.
pub(super) fn sources(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("an entry").path()) {
        if entry.is_dir() && !entry.ends_with("target") {
            found.extend(sources(&entry));
        } else if entry.extension().is_some_and(|extension| extension == "rs") {
            found.push(entry);
        }
    }
    found.sort();
    found
}

/// What comes before the tests, which stand last in a file.
pub(super) fn outside_tests(code: &str) -> &str {
    let tests = code.match_indices("#[cfg(test)]").find(|(at, attribute)| {
        let item = code[at + attribute.len()..].trim_start();
        item.starts_with("mod tests {")
    });
    tests.map_or(code, |(at, _)| &code[..at])
}

/// The numbers of the lines, from 1, in which a word or path stands. Also sees `use std::{fs}`.
pub(super) fn lines_with(code: &str, word: &str) -> Vec<usize> {
    let is_name = |c: char| c.is_alphanumeric() || c == '_';
    let stands = |line: &str, word: &str| {
        line.match_indices(word)
            .any(|(at, _)| !line[..at].ends_with(is_name) && !line[at + word.len()..].starts_with(is_name))
    };
    let grouped = word.split_once("::").map(|(first, last)| (format!("use {first}::{{"), last));
    let names = |line: &str| {
        let in_group = |(group, last): &(String, &str)| line.contains(group.as_str()) && stands(line, last);
        stands(line, word) || grouped.as_ref().is_some_and(in_group)
    };
    (1..).zip(code.lines()).filter(|(_, line)| names(line)).map(|(number, _)| number).collect()
}

/// A source with its comments and literals blanked out; lines stay where they are.
pub(super) fn code(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let skipped = comment(rest).or_else(|| literal(rest));
        let len = skipped.unwrap_or(first.len_utf8());
        match skipped {
            Some(_) => out.extend(rest[..len].chars().map(|c| if c == '\n' { c } else { ' ' })),
            None => out.push(first),
        }
        rest = &rest[len..];
        // The rest of a word, so that the r of `for` begins no raw string.
        if skipped.is_none() && first.is_alphanumeric() {
            let word = rest.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(rest.len());
            if !rest[word..].starts_with(['"', '#']) {
                out.push_str(&rest[..word]);
                rest = &rest[word..];
            }
        }
    }
    out
}

/// The length of the comment that the text begins with.
fn comment(text: &str) -> Option<usize> {
    if text.starts_with("//") {
        return Some(text.find('\n').unwrap_or(text.len()));
    }
    let mut depth = 0;
    let mut at = 0;
    while text.starts_with("/*") {
        depth += usize::from(text[at..].starts_with("/*"));
        if text[at..].starts_with("*/") {
            depth -= 1;
            if depth == 0 {
                return Some(at + 2);
            }
        }
        at += text[at..].chars().next().map_or(text.len(), char::len_utf8);
        if at >= text.len() {
            return Some(text.len());
        }
    }
    None
}

/// The length of the string or character that the text begins with.
fn literal(text: &str) -> Option<usize> {
    let raw = text.strip_prefix('r').map(|raw| raw.trim_start_matches('#'));
    if let Some(body) = raw.filter(|raw| raw.starts_with('"')) {
        let hashes = "#".repeat(text.len() - 1 - body.len());
        let start = text.len() - body.len() + 1;
        let end = text[start..].find(&format!("\"{hashes}"));
        return Some(end.map_or(text.len(), |end| start + end + 1 + hashes.len()));
    }
    let quote = text.chars().next().filter(|quote| ['"', '\''].contains(quote))?;
    let mut escaped = false;
    for (at, c) in text.char_indices().skip(1) {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            _ if c == quote => return Some(at + 1),
            // A lifetime, not a character.
            _ if quote == '\'' && at > 1 && !text.starts_with("'\\") => return None,
            _ => {}
        }
    }
    Some(text.len())
}

#[test]
fn comments_strings_and_tests_do_not_count_and_code_does() {
    let text = r##"
        // tokio in a comment, "and a quote
        const A: &str = "tokio in \" a string"; /* tokio /* nested */ tokio */
        const B: &str = r#"tokio " raw"#; const C: char = '"'; fn d<'a>(e: &'a str) {}
        use tokio::net;
        fn not_tokio_at_all() { mod_tokio(); std::thread::spawn(f) }
        use std::{io, thread};
        #[cfg(test)]
        mod tests { use tokio::time; }
    "##;
    let bare = outside_tests(&code(text)).to_owned();
    assert_eq!(lines_with(&bare, "tokio"), [5]);
    assert_eq!(lines_with(&bare, "std::thread"), [6, 7]);
    assert_eq!(lines_with(&bare, "std::fs"), [0; 0]);
}
