//! Address families that lead nowhere: most machines have an IPv6 socket, many of them no IPv6, and some networks drop it.

use std::time::Duration;

use crate::engine::time::Time;

/// How much speaks against a family before it is left alone: questions in a row that met silence or could not be sent.
const MOST: u32 = 24;
/// The same for one that answered before.
const MOST_OF_KNOWN: u32 = 4 * MOST;
const SILENCE: u32 = 1;
const NO_WAY: u32 = 3;
/// For how long it is.
const PAUSE: Duration = Duration::from_secs(10 * 60);

/// What is known of the way to the nodes of both families.
#[derive(Debug, Default)]
pub(super) struct Routes {
    /// IPv4, IPv6.
    families: [Route; 2],
}

#[derive(Debug, Default)]
struct Route {
    answered: Option<Time>,
    /// Against it, since it last answered.
    failures: u32,
    failed: Time,
}

impl Routes {
    /// A node of the family answered.
    pub(super) fn answered(&mut self, now: Time, ipv4: bool) {
        let family = self.family(ipv4);
        (family.answered, family.failures) = (Some(now), 0);
    }

    /// A question could not be sent.
    pub(super) fn no_way(&mut self, now: Time, ipv4: bool) {
        self.failed(now, ipv4, NO_WAY);
    }

    /// A question met silence.
    pub(super) fn silent(&mut self, now: Time, ipv4: bool) {
        self.failed(now, ipv4, SILENCE);
    }

    /// Whether to ask in this family. If the other one did not answer later than this one failed, there may be no network at all,
    /// and a family that once worked has longer to do so again.
    pub(super) fn is_open(&self, now: Time, ipv4: bool) -> bool {
        let [v4, v6] = &self.families;
        let (own, other) = if ipv4 { (v4, v6) } else { (v6, v4) };
        let most = if own.answered.is_some() { MOST_OF_KNOWN } else { MOST };
        let is_alone = other.answered.is_some_and(|other| own.answered.is_none_or(|own| other > own));
        !is_alone || own.failures < most || now - own.failed >= PAUSE
    }

    fn failed(&mut self, now: Time, ipv4: bool, weight: u32) {
        let family = self.family(ipv4);
        (family.failures, family.failed) = (family.failures.saturating_add(weight), now);
    }

    fn family(&mut self, ipv4: bool) -> &mut Route {
        let [v4, v6] = &mut self.families;
        if ipv4 { v4 } else { v6 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_family_that_never_answered_is_left_alone_while_the_other_one_works() {
        let (mut routes, now) = (Routes::default(), Time::from_secs(5));
        (0..4).for_each(|_| routes.no_way(now, false));
        (0..12).for_each(|_| routes.silent(now, false));
        assert!(routes.is_open(now, false), "there may be no network yet");
        routes.answered(now, true);
        assert!(!routes.is_open(now, false) && routes.is_open(now, true));
        assert!(routes.is_open(now + PAUSE, false));
        routes.silent(now + PAUSE, false);
        assert!(!routes.is_open(now + PAUSE, false));
        routes.answered(now + PAUSE, false);
        assert!(routes.is_open(now + PAUSE, false));
        (0..MOST).for_each(|_| routes.no_way(now, true));
        assert!(routes.is_open(now, true), "it worked before");
        (0..MOST_OF_KNOWN).for_each(|_| routes.silent(now + PAUSE, true));
        assert!(!routes.is_open(now + PAUSE, true), "but not any more, and the other one does");
        routes.answered(now + PAUSE + PAUSE, true);
        assert!(routes.is_open(now + PAUSE + PAUSE, true));
    }
}
