//! Readable output of values, written in one pass over the tape with a stack of its own.

use alloc::vec::Vec;
use core::fmt::{self, Write};

use crate::dict::Dict;
use crate::document::Document;
use crate::list::List;
use crate::token::Kind;
use crate::value::Value;

/// Longer strings are cut; binary ones are shown as their first bytes in hexadecimal.
const MAX_TEXT: usize = 256;
const MAX_BINARY: usize = 32;

fn print(root: &Value<'_, '_>, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let mut open: Vec<(Kind, usize)> = Vec::new();
    let mut index = root.index();
    let end = root.next();
    // Whether the next token is a key, and whether it is the first of its container.
    let (mut key, mut first) = (false, true);
    while index < end || !open.is_empty() {
        if let Some((kind, next)) = open.last().copied() {
            if index == next {
                f.write_char(if kind == Kind::Dict { '}' } else { ']' })?;
                open.pop();
                key = open.last().is_some_and(|(kind, _)| *kind == Kind::Dict);
                first = false;
                continue;
            }
            if !first && (key || kind == Kind::List) {
                f.write_str(", ")?;
            }
        }
        let value = Value::new(root.doc(), index);
        index += 1;
        match value.kind() {
            Kind::Int => write!(f, "{}", value.token().value())?,
            Kind::Bytes => print_bytes(value.body(), f)?,
            kind @ (Kind::List | Kind::Dict) => {
                f.write_char(if kind == Kind::Dict { '{' } else { '[' })?;
                open.push((kind, value.next()));
                key = kind == Kind::Dict;
                first = true;
                continue;
            }
        }
        first = false;
        if key {
            f.write_str(": ")?;
            key = false;
        } else {
            key = open.last().is_some_and(|(kind, _)| *kind == Kind::Dict);
        }
    }
    Ok(())
}

fn print_bytes(bytes: &[u8], f: &mut fmt::Formatter<'_>) -> fmt::Result {
    match core::str::from_utf8(bytes) {
        Ok(text) if text.len() <= MAX_TEXT => write!(f, "{text:?}"),
        Ok(text) => {
            let cut = text.get(..text.floor_char_boundary(MAX_TEXT)).unwrap_or_default();
            write!(f, "{cut:?}... ({} bytes)", bytes.len())
        }
        Err(_) => {
            f.write_str("0x")?;
            for byte in bytes.iter().take(MAX_BINARY) {
                write!(f, "{byte:02x}")?;
            }
            if bytes.len() > MAX_BINARY {
                write!(f, "... ({} bytes)", bytes.len())?;
            }
            Ok(())
        }
    }
}

impl fmt::Display for Value<'_, '_> {
    /// As JSON would show it: strings quoted if they are UTF-8 and in hexadecimal if not, long ones cut.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        print(self, f)
    }
}

impl fmt::Debug for Value<'_, '_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        print(self, f)
    }
}

impl fmt::Debug for Dict<'_, '_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        print(&self.value(), f)
    }
}

impl fmt::Debug for List<'_, '_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        print(&self.value(), f)
    }
}

impl fmt::Debug for Document<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        print(&self.root(), f)?;
        if !self.forgiven().is_empty() {
            write!(f, " forgiven {:?}", self.forgiven())?;
        }
        Ok(())
    }
}
