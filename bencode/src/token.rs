/// What a value is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// `i..e`
    Int,
    /// `n:..`
    Bytes,
    /// `l..e`
    List,
    /// `d..e`
    Dict,
}

/// One value or key on the tape, 16 bytes.
///
/// ```text
///          head (kind:2 unsorted:1 start:29)  end    a                       b
/// Int      offset of 'i'                      span   low half of the value   high half
/// Bytes    offset of the length               span   offset of the body      0
/// List     offset of 'l'                      span   tape index behind it    items
/// Dict     offset of 'd'                      span   tape index behind it    entries
/// open                                        0      index of the outer one  so far
/// ```
///
/// The children of a list or dictionary follow it on the tape; a dictionary's are key, value, key, value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Token {
    head: u32,
    end: u32,
    a: u32,
    b: u32,
}

/// Instead of the tape index of an outer container.
const NONE: u32 = u32::MAX;
const START: u32 = (1 << 29) - 1;
const UNSORTED: u32 = 1 << 29;
const INT: u32 = 0;
const BYTES: u32 = 1 << 30;
const LIST: u32 = 2 << 30;
const DICT: u32 = 3 << 30;

impl Token {
    /// Stands for the empty string at the start of the input.
    pub(crate) const EMPTY: Self = Self { head: BYTES, end: 0, a: 0, b: 0 };

    #[inline]
    pub(crate) fn int(start: u32, end: u32, value: i64) -> Self {
        let [a, b, c, d, e, f, g, h] = value.to_le_bytes();
        let (a, b) = (u32::from_le_bytes([a, b, c, d]), u32::from_le_bytes([e, f, g, h]));
        Self { head: INT | start & START, end, a, b }
    }

    #[inline]
    pub(crate) fn bytes(start: u32, body: u32, end: u32) -> Self {
        Self { head: BYTES | start & START, end, a: body, b: 0 }
    }

    /// A container whose end is not known yet, inside the container at `outer`.
    #[inline]
    pub(crate) fn open(start: u32, dict: bool, outer: Option<u32>) -> Self {
        let kind = if dict { DICT } else { LIST };
        Self { head: kind | start & START, end: 0, a: outer.unwrap_or(NONE), b: 0 }
    }

    /// Keeps the state of an open container while one inside it is read.
    #[inline]
    pub(crate) fn suspend(&mut self, count: u32, sorted: bool) {
        self.b = count;
        if !sorted {
            self.head |= UNSORTED;
        }
    }

    /// Ends a container, and returns the tape index of the one around it.
    #[inline]
    pub(crate) fn close(&mut self, end: u32, next: u32, count: u32, sorted: bool) -> Option<usize> {
        self.suspend(count, sorted);
        self.end = end;
        let outer = core::mem::replace(&mut self.a, next);
        (outer != NONE).then_some(wide(outer))
    }

    #[inline]
    pub(crate) fn kind(self) -> Kind {
        match self.head >> 30 {
            0 => Kind::Int,
            1 => Kind::Bytes,
            2 => Kind::List,
            _ => Kind::Dict,
        }
    }

    #[inline]
    pub(crate) fn start(self) -> usize {
        wide(self.head & START)
    }

    #[inline]
    pub(crate) fn end(self) -> usize {
        wide(self.end)
    }

    /// The body of a string.
    #[inline]
    pub(crate) fn body(self) -> usize {
        wide(self.a)
    }

    #[inline]
    pub(crate) fn value(self) -> i64 {
        let ([a, b, c, d], [e, f, g, h]) = (self.a.to_le_bytes(), self.b.to_le_bytes());
        i64::from_le_bytes([a, b, c, d, e, f, g, h])
    }

    /// The tape index of what follows the token at `index`, its children skipped.
    #[inline]
    pub(crate) fn next(self, index: usize) -> usize {
        match self.kind() {
            Kind::Int | Kind::Bytes => index.saturating_add(1),
            Kind::List | Kind::Dict => wide(self.a),
        }
    }

    /// Items of a list, entries of a dictionary.
    #[inline]
    pub(crate) fn count(self) -> usize {
        wide(self.b)
    }

    /// The count of a suspended container.
    #[inline]
    pub(crate) fn count_so_far(self) -> u32 {
        self.b
    }

    /// Whether the keys of a dictionary never decrease.
    #[inline]
    pub(crate) fn is_sorted(self) -> bool {
        self.head & UNSORTED == 0
    }
}

#[inline]
fn wide(n: u32) -> usize {
    usize::try_from(n).unwrap_or(usize::MAX)
}
