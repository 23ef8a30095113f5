//! How the program ends: the status, and the one line that explains a failure.

use std::fmt;
use std::io::{self, ErrorKind, Write};
use std::process::ExitCode;

use storage::StorageError;
use storage::digest::DigestError;

/// The status that scripts see. A second Ctrl-C ends with 130, which `stop` does on the spot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// What was asked for is done.
    Done = 0,
    /// It cannot be done, for a reason without a number of its own.
    Failed = 1,
    /// The command line or the configuration file is wrong.
    Usage = 2,
    /// A file or path that was named does not exist.
    Missing = 3,
    /// A URL cannot be reached, or an address cannot be listened at.
    Unreachable = 4,
    /// Data do not match their hashes.
    Mismatch = 5,
    /// The disk refuses.
    Disk = 6,
    /// Stopped before it was finished.
    Unfinished = 7,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        ExitCode::from(exit as u8)
    }
}

/// An error that knows its status. The text says what failed, on what, why, and what to do.
#[derive(Debug)]
pub(crate) struct Failure {
    exit: Exit,
    text: String,
}

impl Failure {
    /// The status of its program.
    pub(crate) const fn exit(&self) -> Exit {
        self.exit
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl std::error::Error for Failure {}

/// An error with a status.
pub(crate) fn failure(exit: Exit, text: impl Into<String>) -> anyhow::Error {
    Failure { exit, text: text.into() }.into()
}

/// What the status of an error is.
pub(crate) fn status(error: &anyhow::Error) -> Exit {
    error.chain().find_map(known).unwrap_or(Exit::Failed)
}

fn known(cause: &(dyn std::error::Error + 'static)) -> Option<Exit> {
    if let Some(failure) = cause.downcast_ref::<Failure>() {
        return Some(failure.exit());
    }
    if let Some(error) = cause.downcast_ref::<StorageError>() {
        return Some(of_io(&error.cause));
    }
    if let Some(DigestError::Cancelled) = cause.downcast_ref::<DigestError>() {
        return Some(Exit::Unfinished);
    }
    cause.downcast_ref::<io::Error>().map(of_io)
}

/// The status for an error of the system about a file.
pub(crate) fn of_io(error: &io::Error) -> Exit {
    match error.kind() {
        ErrorKind::BrokenPipe => Exit::Done,
        ErrorKind::NotFound | ErrorKind::NotADirectory => Exit::Missing,
        // Another program has it, as for a record that is in use.
        ErrorKind::ResourceBusy => Exit::Failed,
        _ => Exit::Disk,
    }
}

/// Prints the error on one line. That nobody reads the output any more is no failure.
pub(crate) fn report(error: &anyhow::Error) -> Exit {
    let exit = status(error);
    if exit != Exit::Done {
        let text = crate::output::human::plain(&format!("{error:#}"));
        // Nowhere is left to say that standard error is gone.
        let _ = writeln!(io::stderr(), "unchoke: {text}");
    }
    exit
}

/// Prints what the argument parser has to say: help and version, or what is wrong.
pub(crate) fn usage(shown: &clap::Error) -> anyhow::Result<Exit> {
    if !shown.use_stderr() {
        shown.print()?;
        return Ok(Exit::Done);
    }
    let text = shown.render();
    let mut stderr = anstream::stderr();
    let text = text.ansi().to_string();
    let plain = text.strip_prefix(ERROR_PREFIX).unwrap_or(&text);
    if plain.len() < text.len() {
        write!(stderr, "unchoke: {plain}")?;
    } else {
        write!(stderr, "{text}")?;
    }
    Ok(Exit::Usage)
}

/// How the parser starts its messages; ours start with the program's name.
const ERROR_PREFIX: &str = "\u{1b}[1m\u{1b}[31merror:\u{1b}[0m ";

#[cfg(test)]
mod tests {
    use super::*;
    use anyhow::Context;
    use storage::Operation;

    #[test]
    fn the_status_is_found_below_context() {
        let io = |kind: ErrorKind| Err::<(), _>(io::Error::from(kind)).context("reading").unwrap_err();
        assert_eq!(status(&io(ErrorKind::BrokenPipe)), Exit::Done);
        assert_eq!(status(&io(ErrorKind::NotFound)), Exit::Missing);
        assert_eq!(status(&io(ErrorKind::StorageFull)), Exit::Disk);
        assert_eq!(status(&failure(Exit::Mismatch, "no").context("more")), Exit::Mismatch);
        assert_eq!(status(&anyhow::anyhow!("other")), Exit::Failed);
        let full = StorageError::new(Operation::Write, "f", Some(3), ErrorKind::StorageFull.into());
        assert_eq!(status(&full.into()), Exit::Disk);
        assert_eq!(status(&DigestError::Cancelled.into()), Exit::Unfinished);
    }
}
