//! What a torrent waits for, told once.

use std::path::PathBuf;

use storage::{StorageError, Trouble};

/// What was told of why it waits: what is behind it, and with which file.
#[derive(Debug, Default)]
pub(super) struct Waits(Option<(Trouble, Option<PathBuf>)>);

impl Waits {
    /// Whether that is another reason than was told last. A disk that is full, gone or read-only says so in other words, and of
    /// other files, to whoever writes a block, tries it out, or looks how much is free.
    pub(super) fn is_news(&mut self, error: &StorageError) -> bool {
        let trouble = error.trouble();
        let is_of_disk = matches!(trouble, Trouble::Full | Trouble::Gone | Trouble::ReadOnly);
        let why = Some((trouble, (!is_of_disk).then(|| error.path.clone())));
        let is_news = self.0 != why;
        self.0 = why;
        is_news
    }

    /// It goes on. Whether it was told that it waits.
    pub(super) fn end(&mut self) -> bool {
        self.0.take().is_some()
    }
}

#[cfg(test)]
mod tests {
    use std::io::ErrorKind;

    use storage::Operation;

    use super::*;

    #[test]
    fn a_reason_is_told_once_until_it_changes() {
        let error =
            |operation, path: &str, kind: ErrorKind| StorageError::new(operation, path, None, kind.into());
        let full = [(Operation::Write, "a"), (Operation::Allocate, "t"), (Operation::Write, "b")];
        let full = full.map(|(operation, path)| error(operation, path, ErrorKind::StorageFull));
        let denied = |path| error(Operation::Open, path, ErrorKind::PermissionDenied);
        let mut waits = Waits::default();
        assert!(!waits.end() && waits.is_news(&full[0]));
        for error in full.iter().cycle().take(7) {
            assert!(!waits.is_news(error), "{error}");
        }
        assert!(waits.is_news(&denied("a")) && !waits.is_news(&denied("a")) && waits.is_news(&denied("b")));
        assert!(waits.is_news(&full[1]));
        assert!(waits.end() && !waits.end() && waits.is_news(&full[1]));
    }
}
