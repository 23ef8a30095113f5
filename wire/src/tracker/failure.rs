use alloc::string::String;
use core::fmt;

/// A tracker's refusal, in its own words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// The reason, printable and at most 512 characters long.
    pub reason: String,
    /// When asking again makes sense (BEP 31).
    pub retry_in: Option<RetryIn>,
}

/// When a tracker that refused may be asked again (BEP 31).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RetryIn {
    /// After this many minutes.
    Minutes(u32),
    /// Not with this request.
    Never,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the tracker refused: {}", self.reason)?;
        match self.retry_in {
            None => Ok(()),
            Some(RetryIn::Minutes(minutes)) => write!(f, " (retry in {minutes} min)"),
            Some(RetryIn::Never) => write!(f, " (never retry)"),
        }
    }
}

impl core::error::Error for Failure {}
