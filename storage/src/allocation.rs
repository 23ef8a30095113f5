//! When files take room on the disk.

/// When files take room on the disk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Allocation {
    /// A file takes room as it is written, and nothing is reserved: what is free stays free until bytes come for it.
    None,
    /// A file takes room as its pieces are written, a mebibyte at a time, and is as long as its last written byte needs.
    #[default]
    Sparse,
    /// Each file takes all of its room when it is first written, on file systems that can reserve it.
    Full,
}
