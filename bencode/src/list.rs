use core::iter::FusedIterator;

use crate::document::Document;
use crate::value::Value;

/// The items of a list, in the order of the input.
#[derive(Clone, Copy)]
pub struct List<'d, 'a> {
    value: Value<'d, 'a>,
}

impl<'d, 'a> List<'d, 'a> {
    #[inline]
    pub(crate) fn new(value: Value<'d, 'a>) -> Self {
        Self { value }
    }

    /// The list as a value.
    pub fn value(&self) -> Value<'d, 'a> {
        self.value
    }

    /// How many items there are. Constant time.
    #[inline]
    pub fn len(&self) -> usize {
        self.value.token().count()
    }

    /// Whether there are none.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The item at a position. Constant time in a list of integers and strings only, else it steps over those before it.
    pub fn get(&self, index: usize) -> Option<Value<'d, 'a>> {
        if index >= self.len() {
            return None;
        }
        if self.value.next() - self.value.first() == self.len() {
            return Some(Value::new(self.value.doc(), self.value.first() + index));
        }
        self.iter().nth(index)
    }

    /// The items.
    #[inline]
    pub fn iter(&self) -> ListIter<'d, 'a> {
        ListIter { doc: self.value.doc(), index: self.value.first(), left: self.len() }
    }
}

impl<'d, 'a> IntoIterator for List<'d, 'a> {
    type Item = Value<'d, 'a>;
    type IntoIter = ListIter<'d, 'a>;

    fn into_iter(self) -> ListIter<'d, 'a> {
        self.iter()
    }
}

/// Iterator of [`List::iter`].
#[derive(Clone)]
pub struct ListIter<'d, 'a> {
    doc: &'d Document<'a>,
    index: usize,
    left: usize,
}

impl<'d, 'a> Iterator for ListIter<'d, 'a> {
    type Item = Value<'d, 'a>;

    #[inline]
    fn next(&mut self) -> Option<Value<'d, 'a>> {
        self.left = self.left.checked_sub(1)?;
        let value = Value::new(self.doc, self.index);
        self.index = value.next();
        Some(value)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.left, Some(self.left))
    }
}

impl ExactSizeIterator for ListIter<'_, '_> {}
impl FusedIterator for ListIter<'_, '_> {}
