//! What can go wrong, on what, and why.

use std::error::Error;
use std::fmt;
use std::io;
use std::time::Duration;

use wire::tracker::http::ReplyError;

use crate::engine::tracker::{Failure, Family};
use crate::session::resolve::ResolveError;

/// A request that brought no answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpError {
    /// The address that was asked for, without its secrets.
    pub url: String,
    /// What went wrong.
    pub problem: Problem,
}

/// What went wrong with a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Problem {
    /// The address, or the one a redirect names, is no URL.
    BadUrl(String),
    /// A scheme other than http and https, or https in a build without it.
    Scheme(String),
    /// The host has no address.
    Resolve(ResolveError),
    /// The host, or this machine, has no address of this family.
    NoAddress(Family),
    /// The host is on this machine or its network, where only trackers may be called, and no redirect from elsewhere leads.
    Local,
    /// Nobody listens there.
    Refused,
    /// No connection for another reason.
    Connect(String),
    /// No trust in the other side: wrong name, unknown issuer, expired.
    Tls(String),
    /// It took longer than this.
    TimedOut(Duration),
    /// More redirects than this.
    Redirects(usize),
    /// The body is longer than this many bytes.
    TooLarge(usize),
    /// The connection broke, or what came is not HTTP.
    Broken(String),
    /// An HTTP status that is no success.
    Status(u16),
    /// The body is no answer of a tracker, or is its refusal.
    Reply(ReplyError),
    /// The tracker has no address for scrapes (BEP 48).
    NoScrape,
}

impl fmt::Display for HttpError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.url, self.problem)
    }
}

impl Error for HttpError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        Some(&self.problem)
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::BadUrl(why) => write!(f, "not a URL: {why}"),
            Self::Scheme(scheme) => write!(f, "expected http or https, got {scheme:?}"),
            Self::Resolve(error) => error.fmt(f),
            Self::NoAddress(family) => write!(f, "no {family} address"),
            Self::Local => f.write_str("refused to call an address of this machine or its network"),
            Self::Refused => f.write_str("connection refused"),
            Self::Connect(why) => write!(f, "no connection: {why}"),
            Self::Tls(why) => write!(f, "TLS: {why}"),
            Self::TimedOut(limit) => write!(f, "no answer within {} s", limit.as_secs_f32()),
            Self::Redirects(limit) => write!(f, "more than {limit} redirects"),
            Self::TooLarge(limit) => write!(f, "answer of more than {limit} bytes"),
            Self::Broken(why) => write!(f, "connection broke: {why}"),
            Self::Status(status) => write!(f, "HTTP status {status}"),
            Self::Reply(error) => error.fmt(f),
            Self::NoScrape => f.write_str("the tracker has no scrape address"),
        }
    }
}

impl Error for Problem {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Resolve(error) => Some(error),
            Self::Reply(error) => Some(error),
            _ => None,
        }
    }
}

/// As the schedule wants to know it.
impl From<HttpError> for Failure {
    fn from(error: HttpError) -> Self {
        match error.problem {
            Problem::Reply(ReplyError::Failure(failure)) => Self::Refused(failure),
            Problem::NoAddress(_) | Problem::Resolve(ResolveError::NoAddress(_)) => Self::NoAddress,
            Problem::TimedOut(_) => Self::TimedOut,
            other => Self::Unreachable(other.to_string()),
        }
    }
}

impl Problem {
    /// Finds the cause in a chain of errors.
    pub(super) fn of(error: &reqwest::Error, limit: Duration) -> Self {
        let mut cause: Option<&(dyn Error + 'static)> = Some(error);
        let mut innermost = error.to_string();
        while let Some(error) = cause {
            innermost = error.to_string();
            if let Some(problem) = told(error) {
                return problem;
            }
            cause = error.source();
        }
        match error {
            e if e.is_timeout() => Self::TimedOut(limit),
            e if e.is_connect() => Self::Connect(innermost),
            _ => Self::Broken(innermost),
        }
    }
}

/// The cause that one link of the chain tells, if it does.
fn told(error: &(dyn Error + 'static)) -> Option<Problem> {
    if let Some(problem) = error.downcast_ref::<Problem>() {
        return Some(problem.clone());
    }
    if let Some(tls) = error.downcast_ref::<rustls::Error>() {
        return Some(Problem::Tls(tls.to_string()));
    }
    let io = error.downcast_ref::<io::Error>()?;
    if let Some(inner) = io.get_ref() {
        return told(inner);
    }
    (io.kind() == io::ErrorKind::ConnectionRefused).then_some(Problem::Refused)
}
