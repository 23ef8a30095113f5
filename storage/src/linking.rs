//! How the bytes of one file are given to another.

/// How the bytes of one file are given to another.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum LinkMode {
    /// With shared bytes where the file system can do that, so that each can be changed; otherwise under a second name.
    #[default]
    Auto,
    /// Under a second name: no room, but whoever changes one changes both. What is written by this program never goes through
    /// such a name: the file gets bytes of its own first.
    Hard,
    /// With shared bytes (a clone), so that each can be changed.
    Reflink,
    /// As a copy with room of its own, or a clone where that can be.
    Copy,
}
