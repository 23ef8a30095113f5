//! What is known of one tracker address.

use std::collections::BTreeSet;
use std::time::Duration;

use super::request::RequestId;
use crate::engine::time::Time;

/// A connection id may be used so long after it came (BEP 15).
pub(super) const CONNECTION_LIFE: Duration = Duration::from_secs(60);
/// The last wait is 15 s times 2 to the power of this (BEP 15).
pub(super) const MAX_ATTEMPT: u32 = 8;

/// One tracker address: it has a connection id, or is being asked for one.
#[derive(Debug)]
pub(super) struct Server {
    pub(super) link: Link,
    /// Requests that wait for the connection id.
    pub(super) waiting: BTreeSet<RequestId>,
}

#[derive(Clone, Copy, Debug)]
pub(super) enum Link {
    Connecting { transaction: u32, attempt: u32, sent: Time, deadline: Time },
    Connected { id: u64, until: Time },
}

impl Server {
    /// The connection id, while it may be used.
    pub(super) fn connection(&self, now: Time) -> Option<u64> {
        match self.link {
            Link::Connected { id, until } if now < until => Some(id),
            _ => None,
        }
    }
}

impl Link {
    /// When to connect again, or to forget the connection id.
    pub(super) fn timer(&self) -> Time {
        match self {
            Self::Connecting { deadline, .. } => *deadline,
            Self::Connected { until, .. } => *until,
        }
    }
}

/// How long to wait for the answer to the nth transmission, counted from 0.
pub(super) fn wait(attempt: u32) -> Duration {
    Duration::from_secs(15 << attempt.min(MAX_ATTEMPT))
}
