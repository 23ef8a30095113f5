//! What must hold for any bytes. The fuzz targets run these, and so do the crate's own tests on the corpus and on generated input.

use std::collections::BTreeMap;

use bencode::{DictEncoder, Document, Encoder, ListEncoder, Mode, Options, Value};

/// A value that is not tied to any spelling.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Tree {
    /// An integer.
    Int(i64),
    /// A string.
    Bytes(Vec<u8>),
    /// A list.
    List(Vec<Tree>),
    /// A dictionary.
    Dict(BTreeMap<Vec<u8>, Tree>),
}

/// Decodes arbitrary bytes in each mode and compares the verdicts.
pub fn decode(data: &[u8]) {
    let strict = Options::strict().decode(data);
    let lenient = Options::lenient().decode(data);
    match (&strict, &lenient) {
        (Ok(strict), Ok(lenient)) => {
            assert_eq!(lenient.forgiven(), [], "strict accepts, lenient forgives");
            assert_eq!(format!("{strict:?}"), format!("{lenient:?}"));
            assert_eq!(encode(&Tree::read(strict.root())), data, "what strict accepts is canonical");
        }
        (Ok(_), Err(error)) => panic!("strict accepts, lenient says: {error}"),
        (Err(_), Ok(lenient)) => {
            assert!(!lenient.forgiven().is_empty(), "strict refuses, lenient forgives nothing");
        }
        (Err(strict), Err(lenient)) => {
            assert!(strict.offset() <= lenient.offset() && lenient.offset() <= data.len());
        }
    }
    if let Ok(document) = &lenient {
        check_views(document);
        let canonical = encode(&Tree::read(document.root()));
        assert!(bencode::decode(&canonical).is_ok(), "the canonical form is accepted");
    }
    for mode in [Mode::Strict, Mode::Lenient] {
        let options = Options { mode, max_depth: 3, max_tokens: 12, max_size: 4096 };
        if let Ok((document, consumed)) = options.decode_prefix(data) {
            assert!(document.tokens() <= 12);
            assert_eq!(document.root().span(), 0..consumed);
            assert!(options.decode(&data[..consumed]).is_ok(), "a prefix stands alone");
        }
    }
}

/// Takes the bytes for instructions to build a value, encodes it and reads it back.
pub fn encode_roundtrip(data: &[u8]) {
    let mut script = data.iter().copied();
    let tree = Tree::build(&mut script, 0);
    check_roundtrip(&tree);
}

/// Encodes a value and reads it back.
pub fn check_roundtrip(tree: &Tree) {
    let encoded = encode(tree);
    let document = bencode::decode(&encoded).unwrap_or_else(|error| panic!("{tree:?}: {error}"));
    assert_eq!(&Tree::read(document.root()), tree);
    check_views(&document);
}

/// Each value spells itself and lies behind the one before it; each key finds its first entry.
fn check_views(document: &Document<'_>) {
    let mut values = vec![document.root()];
    let mut budget = 200;
    while let Some(value) = values.pop() {
        budget -= 1;
        if budget == 0 {
            return;
        }
        let (alone, consumed) = Options::lenient().decode_prefix(value.raw()).unwrap();
        assert_eq!((consumed, alone.root().kind()), (value.raw().len(), value.kind()));
        let mut at = value.span().start;
        let mut behind = |inner: &Value<'_, '_>| {
            assert!(at < inner.span().start && inner.span().end < value.span().end);
            at = inner.span().end - 1;
        };
        if let Some(list) = value.as_list() {
            assert_eq!(list.iter().count(), list.len());
            for (index, item) in list.iter().enumerate() {
                behind(&item);
                assert_eq!(list.get(index).map(|item| item.span()), Some(item.span()));
                values.push(item);
            }
            assert!(list.get(list.len()).is_none());
        }
        if let Some(dict) = value.as_dict() {
            assert_eq!(dict.iter().count(), dict.len());
            for (key, item) in dict.iter().take(200) {
                behind(&item);
                let first = dict.iter().find(|(other, _)| *other == key).map(|(_, item)| item.span());
                assert_eq!(dict.get(key).map(|item| item.span()), first);
                values.push(item);
            }
        }
    }
}

fn encode(tree: &Tree) -> Vec<u8> {
    bencode::encode(|encoder| tree.write(encoder)).unwrap()
}

impl Tree {
    /// The value as a tree. Of keys given twice the first counts.
    fn read(value: Value<'_, '_>) -> Self {
        if let Some(list) = value.as_list() {
            return Self::List(list.iter().map(Self::read).collect());
        }
        if let Some(dict) = value.as_dict() {
            let mut entries = BTreeMap::new();
            for (key, value) in dict {
                entries.entry(key.to_vec()).or_insert_with(|| Self::read(value));
            }
            return Self::Dict(entries);
        }
        match (value.as_int(), value.as_bytes()) {
            (Some(int), _) => Self::Int(int),
            (_, bytes) => Self::Bytes(bytes.unwrap().to_vec()),
        }
    }

    fn build(script: &mut impl Iterator<Item = u8>, depth: usize) -> Self {
        let (what, size) = script.next().map_or((0, 0), |byte| (byte % 4, usize::from(byte / 4)));
        match what {
            2 if depth < 90 => Self::List((0..size % 16).map(|_| Self::build(script, depth + 1)).collect()),
            3 if depth < 90 => {
                let entry = |_| {
                    let length = usize::from(script.next().unwrap_or(0) % 8);
                    (script.by_ref().take(length).collect(), Self::build(script, depth + 1))
                };
                Self::Dict((0..size % 16).map(entry).collect())
            }
            1 => Self::Bytes(script.by_ref().take(size).collect()),
            _ => {
                let mut bytes = [0; 8];
                bytes.iter_mut().take(size % 9).for_each(|byte| *byte = script.next().unwrap_or(0));
                Self::Int(i64::from_le_bytes(bytes).wrapping_mul(if size > 31 { -1 } else { 1 }))
            }
        }
    }

    fn write(&self, out: &mut Encoder<'_>) {
        match self {
            Self::Int(int) => out.int(*int),
            Self::Bytes(bytes) => out.bytes(bytes),
            Self::List(items) => out.list(|list| Self::write_items(items, list)),
            Self::Dict(entries) => out.dict(|dict| Self::write_entries(entries, dict)),
        }
    }

    fn write_items(items: &[Self], out: &mut ListEncoder<'_, '_>) {
        for item in items {
            match item {
                Self::Int(int) => out.int(*int),
                Self::Bytes(bytes) => out.bytes(bytes),
                Self::List(items) => out.list(|list| Self::write_items(items, list)),
                Self::Dict(entries) => out.dict(|dict| Self::write_entries(entries, dict)),
            }
        }
    }

    /// Odd keys last, so that the encoder has to sort.
    fn write_entries(entries: &BTreeMap<Vec<u8>, Self>, out: &mut DictEncoder<'_, '_>) {
        let (even, odd): (Vec<_>, Vec<_>) = entries.iter().partition(|(key, _)| key.len() % 2 == 0);
        for (key, value) in even.into_iter().chain(odd) {
            match value {
                Self::Int(int) => out.int(key, *int),
                Self::Bytes(bytes) => out.bytes(key, bytes),
                Self::List(items) => out.list(key, |list| Self::write_items(items, list)),
                Self::Dict(entries) => out.dict(key, |dict| Self::write_entries(entries, dict)),
            }
        }
    }
}
