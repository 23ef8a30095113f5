//! Asking trackers how many peers torrents have, without joining (BEP 15, 48).

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use wire::tracker::ScrapeCounts;
use wire::tracker::http::scrape_url;

use super::Session;
use super::announcer;
use crate::engine::tracker::udp::MAX_SCRAPE;
use crate::engine::tracker::{Failure, Family, Scheme, TrackerUrl, Unsupported};

/// How long a tracker may take.
const PATIENCE: Duration = Duration::from_secs(20);

/// Why a scrape brought nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ScrapeError {
    /// The address is none that can be asked.
    Unsupported(Unsupported),
    /// The tracker has no address for scrapes: the last part of its path does not start with `announce` (BEP 48).
    NoScrape,
    /// None, or more torrents than one question has room for; how many.
    Torrents(usize),
    /// The tracker did not answer, or refused.
    Failed(Failure),
}

impl fmt::Display for ScrapeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unsupported(why) => why.fmt(f),
            Self::NoScrape => f.write_str("the tracker has no scrape address"),
            Self::Torrents(found) => write!(f, "expected 1 to {MAX_SCRAPE} torrents to scrape, got {found}"),
            Self::Failed(failure) => failure.fmt(f),
        }
    }
}

impl std::error::Error for ScrapeError {}

impl Session {
    /// Asks a tracker for the counts of up to 74 torrents, over IPv4, and over IPv6 if that fails. Torrents that it does not
    /// know may be missing, or have counts of 0.
    ///
    /// # Errors
    /// When the tracker cannot be scraped, or does not answer.
    pub async fn scrape(
        &self,
        tracker: &str,
        hashes: &[[u8; 20]],
    ) -> Result<BTreeMap<[u8; 20], ScrapeCounts>, ScrapeError> {
        if hashes.is_empty() || hashes.len() > MAX_SCRAPE {
            return Err(ScrapeError::Torrents(hashes.len()));
        }
        let tracker = TrackerUrl::parse(tracker).map_err(ScrapeError::Unsupported)?;
        if tracker.scheme() != Scheme::Udp && scrape_url(tracker.as_str()).is_none() {
            return Err(ScrapeError::NoScrape);
        }
        let mut failed = Failure::NoAddress;
        for family in [Family::V4, Family::V6] {
            let asked = announcer::scrape(&self.link, &tracker, hashes, family, PATIENCE);
            match tokio::time::timeout(PATIENCE, asked).await.unwrap_or(Err(Failure::TimedOut)) {
                Ok(counts) => return Ok(counts),
                // What the other family said tells more than that there is no address of this one.
                Err(Failure::NoAddress) => {}
                Err(failure) => failed = failure,
            }
        }
        Err(ScrapeError::Failed(failed))
    }
}
