use core::cmp::Ordering;
use core::iter::FusedIterator;

use crate::document::Document;
use crate::list::List;
use crate::value::Value;

/// The entries of a dictionary, in the order of the input.
#[derive(Clone, Copy)]
pub struct Dict<'d, 'a> {
    value: Value<'d, 'a>,
}

impl<'d, 'a> Dict<'d, 'a> {
    #[inline]
    pub(crate) fn new(value: Value<'d, 'a>) -> Self {
        Self { value }
    }

    /// The dictionary as a value.
    pub fn value(&self) -> Value<'d, 'a> {
        self.value
    }

    /// How many entries there are, duplicates counted. Constant time.
    #[inline]
    pub fn len(&self) -> usize {
        self.value.token().count()
    }

    /// Whether there are none.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The value of a key; of the first entry when lenient mode forgave a duplicate.
    ///
    /// A dictionary of integers and strings only is searched by halves. Others are scanned entry by entry, nested values skipped in one step,
    /// and only as far as the key can be when the keys are sorted; to visit all keys use [`Dict::iter`].
    pub fn get(&self, key: impl AsRef<[u8]>) -> Option<Value<'d, 'a>> {
        let key = key.as_ref();
        let sorted = self.value.token().is_sorted();
        if sorted && self.len() > 8 && self.is_flat() {
            return self.search(key);
        }
        for (found, value) in self.iter() {
            match found.cmp(key) {
                Ordering::Equal => return Some(value),
                Ordering::Greater if sorted => return None,
                _ => {}
            }
        }
        None
    }

    /// The integer at a key.
    pub fn int(&self, key: impl AsRef<[u8]>) -> Option<i64> {
        self.get(key)?.as_int()
    }

    /// The string at a key.
    pub fn bytes(&self, key: impl AsRef<[u8]>) -> Option<&'a [u8]> {
        self.get(key)?.as_bytes()
    }

    /// The string at a key, if it is valid UTF-8.
    pub fn str(&self, key: impl AsRef<[u8]>) -> Option<&'a str> {
        self.get(key)?.as_str()
    }

    /// The list at a key.
    pub fn list(&self, key: impl AsRef<[u8]>) -> Option<List<'d, 'a>> {
        self.get(key)?.as_list()
    }

    /// The dictionary at a key.
    pub fn dict(&self, key: impl AsRef<[u8]>) -> Option<Dict<'d, 'a>> {
        self.get(key)?.as_dict()
    }

    /// The entries.
    #[inline]
    pub fn iter(&self) -> DictIter<'d, 'a> {
        DictIter { doc: self.value.doc(), index: self.value.first(), left: self.len() }
    }

    /// Whether each value is one token, so that entry `i` is at a known place.
    fn is_flat(&self) -> bool {
        self.value.next() - self.value.first() == self.len().saturating_mul(2)
    }

    fn search(&self, key: &[u8]) -> Option<Value<'d, 'a>> {
        let (doc, first) = (self.value.doc(), self.value.first());
        let (mut low, mut high) = (0, self.len());
        while low < high {
            let middle = low + (high - low) / 2;
            if Value::new(doc, first + 2 * middle).body() < key {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        let found = low < self.len() && Value::new(doc, first + 2 * low).body() == key;
        found.then(|| Value::new(doc, first + 2 * low + 1))
    }
}

impl<'d, 'a> IntoIterator for Dict<'d, 'a> {
    type Item = (&'a [u8], Value<'d, 'a>);
    type IntoIter = DictIter<'d, 'a>;

    fn into_iter(self) -> DictIter<'d, 'a> {
        self.iter()
    }
}

/// Iterator of [`Dict::iter`].
#[derive(Clone)]
pub struct DictIter<'d, 'a> {
    doc: &'d Document<'a>,
    index: usize,
    left: usize,
}

impl<'d, 'a> Iterator for DictIter<'d, 'a> {
    type Item = (&'a [u8], Value<'d, 'a>);

    #[inline]
    fn next(&mut self) -> Option<(&'a [u8], Value<'d, 'a>)> {
        self.left = self.left.checked_sub(1)?;
        let key = Value::new(self.doc, self.index).body();
        let value = Value::new(self.doc, self.index.saturating_add(1));
        self.index = value.next();
        Some((key, value))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.left, Some(self.left))
    }
}

impl ExactSizeIterator for DictIter<'_, '_> {}
impl FusedIterator for DictIter<'_, '_> {}
