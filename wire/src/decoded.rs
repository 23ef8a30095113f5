/// What a framed decoder found at the start of its input. Input that ends early is no error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decoded<T> {
    /// One value was there.
    Complete {
        /// The value.
        value: T,
        /// Bytes it took from the start of the input.
        consumed: usize,
    },
    /// The input ends in the middle of a value.
    Incomplete {
        /// Bytes that must be held, counted from the start of the same input, before another try can go further.
        needed: usize,
    },
}

impl<T> Decoded<T> {
    /// The value, if one was there.
    pub fn complete(self) -> Option<T> {
        match self {
            Self::Complete { value, .. } => Some(value),
            Self::Incomplete { .. } => None,
        }
    }

    /// The same answer about another value.
    pub fn map<U>(self, f: impl FnOnce(T) -> U) -> Decoded<U> {
        match self {
            Self::Complete { value, consumed } => Decoded::Complete { value: f(value), consumed },
            Self::Incomplete { needed } => Decoded::Incomplete { needed },
        }
    }
}
