//! Whose what is stored here is, so that nobody fills all of it from one network.

use std::collections::BTreeMap;
use std::net::IpAddr;

/// Whose an address counts as: an IPv4 address by itself, an IPv6 one with its /48, which anybody can have.
pub(super) fn owner(ip: IpAddr) -> IpAddr {
    match ip.to_canonical() {
        IpAddr::V6(ip) => {
            let [a, b, c, ..] = ip.segments();
            IpAddr::from([a, b, c, 0, 0, 0, 0, 0])
        }
        ip => ip,
    }
}

/// Who owns most of these, if that is more than so many.
pub(super) fn greediest(owners: impl Iterator<Item = IpAddr>, most: usize) -> Option<IpAddr> {
    let mut counts: BTreeMap<IpAddr, usize> = BTreeMap::new();
    owners.for_each(|owner| *counts.entry(owner).or_default() += 1);
    let greediest = counts.into_iter().max_by_key(|(_, count)| *count);
    greediest.filter(|(_, count)| *count > most).map(|(owner, _)| owner)
}

/// The part of a pair that is of an address family: IPv4 is first.
pub(super) fn of_family<T>(pair: &[T; 2], ipv4: bool) -> &T {
    let [v4, v6] = pair;
    if ipv4 { v4 } else { v6 }
}

/// The same, to change it.
pub(super) fn of_family_mut<T>(pair: &mut [T; 2], ipv4: bool) -> &mut T {
    let [v4, v6] = pair;
    if ipv4 { v4 } else { v6 }
}
