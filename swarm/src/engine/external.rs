//! Our address as others see it, by vote.
//!
//! Trackers (BEP 24) and peers (BEP 10, `yourip`) tell us the address that we came from. Any one of them may lie or sit
//! behind the same NAT as we do, so an address counts once several agree on it.

use std::collections::VecDeque;
use std::net::IpAddr;

use super::scope::Scope;

/// Voters that are remembered for each family of our addresses; the oldest vote goes first.
const VOTERS: usize = 64;
/// Voters that have to agree.
const QUORUM: usize = 3;

/// Collects votes on our address, one a voter.
#[derive(Debug, Default)]
pub struct External {
    /// On our IPv4 and our IPv6 address: neither crowds out the other.
    votes: [VecDeque<(IpAddr, IpAddr)>; 2],
}

impl External {
    /// `voter` says that we are `seen`. Only global addresses count: behind a NAT, local ones say nothing about us.
    pub fn vote(&mut self, voter: IpAddr, seen: IpAddr) {
        let seen = seen.to_canonical();
        if Scope::of(seen) != Some(Scope::Global) {
            return;
        }
        let [v4, v6] = &mut self.votes;
        let votes = if seen.is_ipv4() { v4 } else { v6 };
        votes.retain(|(known, _)| *known != voter);
        if votes.len() == VOTERS {
            votes.pop_front();
        }
        votes.push_back((voter, seen));
    }

    /// Whether anybody said that this is our address.
    pub fn was_named(&self, ip: IpAddr) -> bool {
        self.votes.iter().flatten().any(|(_, seen)| *seen == ip.to_canonical())
    }

    /// What most voters say, if enough of them do: of this family.
    pub fn address(&self, ipv4: bool) -> Option<IpAddr> {
        let [v4, v6] = &self.votes;
        let of_family = || if ipv4 { v4 } else { v6 }.iter().map(|(_, seen)| *seen);
        let count = |ip: &IpAddr| of_family().filter(|seen| seen == ip).count();
        of_family().map(|ip| (count(&ip), ip)).max().filter(|(votes, _)| *votes >= QUORUM).map(|(_, ip)| ip)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn an_address_needs_three_voters_and_the_most() {
        let mut external = External::default();
        let (ours, lie) = (ip("8.8.4.4"), ip("9.9.9.9"));
        for voter in ["1.1.1.1", "1.1.1.2", "1.1.1.2"] {
            external.vote(ip(voter), ours);
        }
        assert_eq!(external.address(true), None, "a voter counts once");
        external.vote(ip("1.1.1.3"), ours);
        for voter in ["2.2.2.1", "2.2.2.2", "2.2.2.3"] {
            external.vote(ip(voter), lie);
        }
        external.vote(ip("1.1.1.4"), ours);
        assert_eq!(external.address(true), Some(ours));
        assert_eq!(external.address(false), None);
    }

    #[test]
    fn local_addresses_do_not_count_and_memory_is_bounded() {
        let mut external = External::default();
        for last in 0..200 {
            external.vote(ip(&format!("1.1.2.{last}")), ip("192.168.1.5"));
            external.vote(ip(&format!("1.1.1.{last}")), ip("8.8.4.4"));
        }
        assert_eq!(external.votes.each_ref().map(VecDeque::len), [VOTERS, 0]);
        assert_eq!(external.address(true), Some(ip("8.8.4.4")));
        for last in 0..200 {
            external.vote(ip(&format!("1.1.3.{last}")), ip("2606:4700::1"));
        }
        assert_eq!(external.address(true), Some(ip("8.8.4.4")), "votes on the other family crowd out none");
    }
}
