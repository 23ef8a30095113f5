//! Names to addresses, with a time limit and a small memory.
//!
//! The operating system's resolver does the work. It cannot be interrupted: a lookup that takes too long goes on behind
//! the caller's back, and its answer serves the next one. Only a few run at a time; who finds no place in time leaves nothing
//! behind.

use std::collections::BTreeMap;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{OwnedMutexGuard, OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

use crate::engine::tracker::Family;

/// How long a caller waits.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long an answer is remembered.
const REMEMBER: Duration = Duration::from_secs(300);
/// How long a failure is remembered.
const REMEMBER_FAILURE: Duration = Duration::from_secs(30);
/// How many names are remembered.
const MAX_NAMES: usize = 1024;
/// How many lookups run at a time.
const MAX_LOOKUPS: usize = 16;
/// No name in the DNS is longer.
const MAX_NAME: usize = 253;

/// Why a name gave no address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ResolveError {
    /// Not a name: empty or too long; bytes.
    BadName(usize),
    /// The resolver found nothing, in its words.
    NotFound {
        /// The name.
        host: String,
        /// The resolver's words.
        why: String,
    },
    /// It has addresses, but none of this family.
    NoAddress(Family),
    /// No answer in time for this name.
    TimedOut(String),
}

impl fmt::Display for ResolveError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::BadName(len) => write!(f, "expected a host name of 1 to {MAX_NAME} bytes, got {len}"),
            Self::NotFound { host, why } => write!(f, "no address for {host}: {why}"),
            Self::NoAddress(family) => write!(f, "no {family} address"),
            Self::TimedOut(host) => write!(f, "no answer from the DNS about {host} in time"),
        }
    }
}

impl std::error::Error for ResolveError {}

/// Looks names up. Clones share their memory.
#[derive(Clone, Debug)]
pub struct Resolver {
    names: Arc<Mutex<BTreeMap<String, Slot>>>,
    lookups: Arc<Semaphore>,
}

/// Whoever holds the lock looks the name up; the others wait for the outcome.
type Slot = Arc<tokio::sync::Mutex<Option<Known>>>;

#[derive(Clone, Debug)]
struct Known {
    until: Instant,
    result: Result<Vec<IpAddr>, ResolveError>,
}

impl Default for Resolver {
    fn default() -> Self {
        Self::new()
    }
}

impl Resolver {
    /// One without memories.
    pub fn new() -> Self {
        Self::with_lookups(MAX_LOOKUPS)
    }

    /// One without memories that looks up so many names at a time.
    pub fn with_lookups(most: usize) -> Self {
        Self { names: Arc::default(), lookups: Arc::new(Semaphore::new(most)) }
    }

    /// The addresses of `host` (a name, or an address with or without brackets) in the order of the system's preference, of
    /// one family or of both. Never empty.
    pub async fn lookup(
        &self,
        host: &str,
        port: u16,
        family: Option<Family>,
    ) -> Result<Vec<SocketAddr>, ResolveError> {
        let all = self.addresses(host).await?;
        let fits = |ip: &&IpAddr| family.is_none_or(|family| Family::of(**ip) == family);
        let found: Vec<_> = all.iter().filter(fits).map(|ip| SocketAddr::new(*ip, port)).collect();
        match family {
            Some(family) if found.is_empty() => Err(ResolveError::NoAddress(family)),
            _ => Ok(found),
        }
    }

    async fn addresses(&self, host: &str) -> Result<Vec<IpAddr>, ResolveError> {
        let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
        if let Ok(ip) = bare.parse::<IpAddr>() {
            return Ok(vec![ip.to_canonical()]);
        }
        if host.is_empty() || host.len() > MAX_NAME {
            return Err(ResolveError::BadName(host.len()));
        }
        let late = |_| Err(ResolveError::TimedOut(host.to_owned()));
        tokio::time::timeout(PATIENCE, self.remembered(host)).await.unwrap_or_else(late)
    }

    /// What is remembered of a name; else it is looked up.
    async fn remembered(&self, host: &str) -> Result<Vec<IpAddr>, ResolveError> {
        let known = self.slot(host).lock_owned().await;
        if let Some(known) = known.as_ref().filter(|known| Instant::now() < known.until) {
            return known.result.clone();
        }
        let not_found = |why: String| ResolveError::NotFound { host: host.to_owned(), why };
        // The semaphore is never closed.
        let permit = self.lookups.clone().acquire_owned().await;
        let permit = permit.map_err(|closed| not_found(closed.to_string()))?;
        let found = tokio::spawn(look_up(known, permit, host.to_owned())).await;
        found.unwrap_or_else(|panic| Err(not_found(panic.to_string())))
    }

    /// Has a name known, for tests.
    #[cfg(test)]
    pub(super) async fn remember(&self, host: &str, addresses: &[&str]) {
        let result = Ok(addresses.iter().map(|ip| ip.parse().unwrap()).collect());
        *self.slot(host).lock().await = Some(Known { until: Instant::now() + REMEMBER, result });
    }

    /// The place of a name, making room if there is none.
    fn slot(&self, host: &str) -> Slot {
        let mut names = self.names.lock().unwrap_or_else(PoisonError::into_inner);
        if names.len() >= MAX_NAMES && !names.contains_key(host) {
            let now = Instant::now();
            let fresh = |known: &Option<Known>| known.as_ref().is_some_and(|known| now < known.until);
            names.retain(|_, slot| slot.try_lock().map_or(true, |known| fresh(&known)));
            if names.len() >= MAX_NAMES {
                names.clear();
            }
        }
        Arc::clone(names.entry(host.to_owned()).or_default())
    }
}

async fn look_up(
    mut known: OwnedMutexGuard<Option<Known>>,
    _permit: OwnedSemaphorePermit,
    host: String,
) -> Result<Vec<IpAddr>, ResolveError> {
    let found = tokio::net::lookup_host((host.as_str(), 0)).await;
    let not_found = |why: String| Err(ResolveError::NotFound { host: host.clone(), why });
    let result = match found.map(distinct) {
        Ok(found) if found.is_empty() => not_found("no addresses".into()),
        Ok(found) => Ok(found),
        Err(error) => not_found(error.to_string()),
    };
    let life = if result.is_ok() { REMEMBER } else { REMEMBER_FAILURE };
    *known = Some(Known { until: Instant::now() + life, result: result.clone() });
    result
}

/// At most 32 addresses, each once, in order.
fn distinct(found: impl Iterator<Item = SocketAddr>) -> Vec<IpAddr> {
    let mut out = Vec::new();
    for ip in found.map(|address| address.ip().to_canonical()).take(256) {
        if !out.contains(&ip) && out.len() < 32 {
            out.push(ip);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn addresses_need_no_lookup() {
        let resolver = Resolver::new();
        for (host, expected) in [("127.0.0.1", "127.0.0.1:5"), ("[::1]", "[::1]:5"), ("::1", "[::1]:5")] {
            assert_eq!(resolver.lookup(host, 5, None).await, Ok(vec![expected.parse().unwrap()]));
        }
        assert_eq!(
            resolver.lookup("127.0.0.1", 5, Some(Family::V6)).await,
            Err(ResolveError::NoAddress(Family::V6))
        );
        assert_eq!(resolver.lookup("", 5, None).await, Err(ResolveError::BadName(0)));
        assert_eq!(resolver.lookup(&"a".repeat(300), 5, None).await, Err(ResolveError::BadName(300)));
    }

    #[tokio::test]
    async fn names_are_looked_up_once_and_remembered() {
        let resolver = Resolver::new();
        let first = resolver.lookup("localhost", 80, None).await.unwrap();
        assert!(first.iter().all(|address| address.ip().is_loopback() && address.port() == 80));
        let slot = resolver.slot("localhost");
        let marker: IpAddr = "10.1.2.3".parse().unwrap();
        slot.lock().await.as_mut().unwrap().result = Ok(vec![marker]);
        assert_eq!(resolver.lookup("localhost", 81, None).await, Ok(vec![(marker, 81).into()]));
    }

    #[tokio::test(start_paused = true)]
    async fn who_finds_no_place_in_time_leaves_nothing_behind() {
        let resolver = Resolver::with_lookups(1);
        let place = resolver.lookups.clone().acquire_owned().await.unwrap();
        let late = resolver.lookup("localhost", 80, None).await;
        assert_eq!(late, Err(ResolveError::TimedOut("localhost".into())));
        assert!(resolver.slot("localhost").try_lock().is_ok(), "nobody looks it up");
        drop(place);
        assert_eq!(resolver.lookups.available_permits(), 1, "nobody waits for the place");
    }

    #[tokio::test]
    async fn the_memory_is_bounded() {
        let resolver = Resolver::new();
        for i in 0..3 * MAX_NAMES {
            resolver.slot(&format!("{i}.example"));
            assert!(resolver.names.lock().unwrap().len() <= MAX_NAMES);
        }
    }
}
