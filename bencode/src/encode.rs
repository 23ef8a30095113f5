use alloc::vec::Vec;
use core::fmt::{self, Write};
use core::ops::Range;

/// Encodes the one value that `write` writes.
///
/// # Errors
/// See [`Encoder::finish`].
pub fn encode(write: impl FnOnce(&mut Encoder<'_>)) -> Result<Vec<u8>, EncodeError> {
    let mut out = Vec::new();
    let mut encoder = Encoder::new(&mut out);
    write(&mut encoder);
    encoder.finish()?;
    Ok(out)
}

/// Why nothing was encoded.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum EncodeError {
    /// A dictionary was given this key more than once.
    DuplicateKey(Vec<u8>),
    /// An integer outside `i64`, which decoders refuse.
    IntegerOverflow(i128),
    /// Expected one outermost value, found this number of them.
    NotOneValue(usize),
}

/// Appends one value to a vector, in canonical form.
///
/// The outermost value is written by one call of [`Encoder::int`], [`Encoder::bytes`], [`Encoder::raw`], [`Encoder::list`] or [`Encoder::dict`]; then
/// [`Encoder::finish`] says whether all went well. Keys may come in any order; those that come sorted cost nothing more.
#[must_use = "finish() tells whether the value could be encoded"]
pub struct Encoder<'o> {
    sink: Sink<'o>,
    base: usize,
    values: usize,
}

impl<'o> Encoder<'o> {
    /// An encoder that appends to `out`.
    pub fn new(out: &'o mut Vec<u8>) -> Self {
        let base = out.len();
        Self { sink: Sink { out, entries: Vec::new(), error: None }, base, values: 0 }
    }

    /// Writes an integer, which must fit an `i64`.
    pub fn int(&mut self, value: impl Into<i128>) {
        self.values += 1;
        self.sink.int(value.into());
    }

    /// Writes a string.
    pub fn bytes(&mut self, value: impl AsRef<[u8]>) {
        self.values += 1;
        self.sink.bytes(value.as_ref());
    }

    /// Writes one value that is encoded already, such as [`Value::raw`](crate::Value::raw). It is not looked at.
    pub fn raw(&mut self, value: impl AsRef<[u8]>) {
        self.values += 1;
        self.sink.out.extend_from_slice(value.as_ref());
    }

    /// Writes a list of what `write` writes.
    pub fn list(&mut self, write: impl FnOnce(&mut ListEncoder<'_, 'o>)) {
        self.values += 1;
        self.sink.list(write);
    }

    /// Writes a dictionary of what `write` writes.
    pub fn dict(&mut self, write: impl FnOnce(&mut DictEncoder<'_, 'o>)) {
        self.values += 1;
        self.sink.dict(write);
    }

    /// Ends the encoding. On an error the vector is as it was at the start.
    ///
    /// # Errors
    /// The first of: a key given twice, an integer outside `i64`; then a number of outermost values other than one.
    pub fn finish(self) -> Result<(), EncodeError> {
        let error = self.sink.error.or((self.values != 1).then_some(EncodeError::NotOneValue(self.values)));
        match error {
            None => Ok(()),
            Some(error) => {
                self.sink.out.truncate(self.base);
                Err(error)
            }
        }
    }
}

/// Writes the items of a list, in the order of the calls.
pub struct ListEncoder<'e, 'o> {
    sink: &'e mut Sink<'o>,
}

impl<'o> ListEncoder<'_, 'o> {
    /// Adds an integer, which must fit an `i64`.
    pub fn int(&mut self, value: impl Into<i128>) {
        self.sink.int(value.into());
    }

    /// Adds a string.
    pub fn bytes(&mut self, value: impl AsRef<[u8]>) {
        self.sink.bytes(value.as_ref());
    }

    /// Adds one value that is encoded already. It is not looked at.
    pub fn raw(&mut self, value: impl AsRef<[u8]>) {
        self.sink.out.extend_from_slice(value.as_ref());
    }

    /// Adds a list of what `write` writes.
    pub fn list(&mut self, write: impl FnOnce(&mut ListEncoder<'_, 'o>)) {
        self.sink.list(write);
    }

    /// Adds a dictionary of what `write` writes.
    pub fn dict(&mut self, write: impl FnOnce(&mut DictEncoder<'_, 'o>)) {
        self.sink.dict(write);
    }
}

/// Writes the entries of a dictionary, whose keys may come in any order.
pub struct DictEncoder<'e, 'o> {
    sink: &'e mut Sink<'o>,
}

impl<'o> DictEncoder<'_, 'o> {
    /// Adds an integer, which must fit an `i64`.
    pub fn int(&mut self, key: impl AsRef<[u8]>, value: impl Into<i128>) {
        self.sink.key(key.as_ref());
        self.sink.int(value.into());
    }

    /// Adds a string.
    pub fn bytes(&mut self, key: impl AsRef<[u8]>, value: impl AsRef<[u8]>) {
        self.sink.key(key.as_ref());
        self.sink.bytes(value.as_ref());
    }

    /// Adds one value that is encoded already. It is not looked at.
    pub fn raw(&mut self, key: impl AsRef<[u8]>, value: impl AsRef<[u8]>) {
        self.sink.key(key.as_ref());
        self.sink.out.extend_from_slice(value.as_ref());
    }

    /// Adds a list of what `write` writes.
    pub fn list(&mut self, key: impl AsRef<[u8]>, write: impl FnOnce(&mut ListEncoder<'_, 'o>)) {
        self.sink.key(key.as_ref());
        self.sink.list(write);
    }

    /// Adds a dictionary of what `write` writes.
    pub fn dict(&mut self, key: impl AsRef<[u8]>, write: impl FnOnce(&mut DictEncoder<'_, 'o>)) {
        self.sink.key(key.as_ref());
        self.sink.dict(write);
    }
}

struct Sink<'o> {
    out: &'o mut Vec<u8>,
    /// The entries of all open dictionaries, the innermost last.
    entries: Vec<Entry>,
    error: Option<EncodeError>,
}

/// Places in `out`. An entry ends where the next one, or its dictionary, does.
#[derive(Clone)]
struct Entry {
    start: usize,
    key: Range<usize>,
}

impl<'o> Sink<'o> {
    fn int(&mut self, value: i128) {
        match i64::try_from(value) {
            Ok(value) => self.text(format_args!("i{value}e")),
            Err(_) => self.fail(EncodeError::IntegerOverflow(value)),
        }
    }

    fn bytes(&mut self, value: &[u8]) {
        self.text(format_args!("{}:", value.len()));
        self.out.extend_from_slice(value);
    }

    fn key(&mut self, key: &[u8]) {
        let start = self.out.len();
        self.bytes(key);
        let end = self.out.len();
        self.entries.push(Entry { start, key: end - key.len()..end });
    }

    fn list(&mut self, write: impl FnOnce(&mut ListEncoder<'_, 'o>)) {
        self.out.push(b'l');
        write(&mut ListEncoder { sink: self });
        self.out.push(b'e');
    }

    fn dict(&mut self, write: impl FnOnce(&mut DictEncoder<'_, 'o>)) {
        self.out.push(b'd');
        let (start, first) = (self.out.len(), self.entries.len());
        write(&mut DictEncoder { sink: self });
        self.sort(start, first);
        self.entries.truncate(first);
        self.out.push(b'e');
    }

    /// Puts the entries from `first` on, which fill `out` from `start` on, in the order of their keys.
    fn sort(&mut self, start: usize, first: usize) {
        let out = &*self.out;
        let entries = self.entries.get(first..).unwrap_or_default();
        if entries.is_sorted_by(|a, b| key_of(out, a) < key_of(out, b)) {
            return;
        }
        let ends = entries.iter().skip(1).map(|entry| entry.start).chain([out.len()]);
        let mut order: Vec<(&[u8], Range<usize>)> =
            entries.iter().zip(ends).map(|(entry, end)| (key_of(out, entry), entry.start..end)).collect();
        order.sort_by(|a, b| a.0.cmp(b.0));
        if let Some([(key, _), _]) = order.array_windows().find(|[a, b]| a.0 == b.0) {
            let error = EncodeError::DuplicateKey(key.to_vec());
            return self.fail(error);
        }
        let mut sorted = Vec::with_capacity(out.len() - start);
        for (_, range) in order {
            sorted.extend_from_slice(out.get(range).unwrap_or_default());
        }
        self.out.truncate(start);
        self.out.extend_from_slice(&sorted);
    }

    fn text(&mut self, text: fmt::Arguments<'_>) {
        // Writing to a vector cannot fail.
        let _ = Text(self.out).write_fmt(text);
    }

    fn fail(&mut self, error: EncodeError) {
        self.error.get_or_insert(error);
    }
}

fn key_of<'o>(out: &'o [u8], entry: &Entry) -> &'o [u8] {
    out.get(entry.key.clone()).unwrap_or_default()
}

struct Text<'o>(&'o mut Vec<u8>);

impl Write for Text<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.0.extend_from_slice(text.as_bytes());
        Ok(())
    }
}

impl fmt::Display for EncodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::DuplicateKey(key) => {
                write!(f, "expected each key once, found \"{}\" again", key.escape_ascii())
            }
            Self::IntegerOverflow(value) => write!(f, "expected an integer of 64 bits, found {value}"),
            Self::NotOneValue(count) => write!(f, "expected one outermost value, found {count}"),
        }
    }
}

impl core::error::Error for EncodeError {}
