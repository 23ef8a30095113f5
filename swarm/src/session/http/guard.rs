//! Which addresses may be called.
//!
//! - An address of this machine or its network may be called if the path looks like a tracker's and there is no query
//!   in the torrent, or if the user typed the URL.
//! - A redirect may lead there only from there, and again only to such a path.
//! - It is the address connected to that counts, not the name: names are judged as they are resolved.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use url::{Host, Url};

use super::error::Problem;
use crate::engine::tracker::address::is_announce_path;
use crate::engine::tracker::{Family, TrackerUrl};
use crate::session::resolve::{ResolveError, Resolver};

/// How far a request may go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reach {
    /// Anywhere.
    Any,
    /// Not to this machine or its network.
    Global,
}

/// Who chose the URL.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Origin {
    /// Whoever made the torrent.
    Torrent,
    /// The user.
    User,
}

impl Origin {
    /// How far a redirect to `to` may go that came from this address.
    pub(super) fn reach_by_redirect(self, from: Option<IpAddr>, to: &Url) -> Reach {
        let from_local = from.is_some_and(is_local);
        match self {
            Self::User if from_local => Reach::Any,
            Self::Torrent if from_local && is_announce_path(to) => Reach::Any,
            _ => Reach::Global,
        }
    }
}

/// How far the announce to a tracker of a torrent may go. A query of its own could be a command to something that is
/// no tracker.
pub(super) fn first_reach(tracker: &TrackerUrl) -> Reach {
    let harmless = tracker.is_announce_path() && !tracker.as_str().contains('?');
    if harmless { Reach::Any } else { Reach::Global }
}

/// Judges what can be judged without a lookup: the scheme, and a host that is an address.
pub(super) fn check(url: &Url, family: Option<Family>, reach: Reach) -> Result<(), Problem> {
    let schemes: &[&str] = if cfg!(feature = "tls") { &["http", "https"] } else { &["http"] };
    if !schemes.contains(&url.scheme()) {
        return Err(Problem::Scheme(url.scheme().chars().take(32).collect()));
    }
    let ip = match url.host() {
        None => return Err(Problem::BadUrl("no host".into())),
        Some(Host::Domain(_)) => return Ok(()),
        Some(Host::Ipv4(ip)) => IpAddr::V4(ip),
        Some(Host::Ipv6(ip)) => IpAddr::V6(ip),
    };
    match family {
        Some(family) if Family::of(ip) != family => Err(Problem::NoAddress(family)),
        _ if reach == Reach::Global && is_local(ip) => Err(Problem::Local),
        _ => Ok(()),
    }
}

/// Resolves names for one client, and leaves out what it must not connect to.
#[derive(Debug)]
pub(super) struct Names {
    pub(super) resolver: Resolver,
    pub(super) family: Option<Family>,
    pub(super) reach: Reach,
}

impl Resolve for Names {
    fn resolve(&self, name: Name) -> Resolving {
        let (resolver, family, reach) = (self.resolver.clone(), self.family, self.reach);
        Box::pin(async move {
            let found = resolver.lookup(name.as_str(), 0, family).await.map_err(|error| match error {
                ResolveError::NoAddress(family) => Problem::NoAddress(family),
                other => Problem::Resolve(other),
            })?;
            let may = |address: &SocketAddr| reach == Reach::Any || !is_local(address.ip());
            let allowed: Vec<_> = found.into_iter().filter(may).collect();
            if allowed.is_empty() {
                return Err(Problem::Local.into());
            }
            Ok(Box::new(allowed.into_iter()) as Addrs)
        })
    }
}

/// Whether an address is no host of the open Internet: this machine, its networks, or none at all.
pub(super) fn is_local(ip: IpAddr) -> bool {
    match ip.to_canonical() {
        IpAddr::V4(ip) => is_local_v4(ip),
        IpAddr::V6(ip) => is_local_v6(ip),
    }
}

fn is_local_v4(ip: Ipv4Addr) -> bool {
    let [a, b, c, _] = ip.octets();
    let carrier = a == 100 && (64..128).contains(&b);
    let protocols = (a, b, c) == (192, 0, 0);
    let benchmarks = a == 198 && (18..20).contains(&b);
    a == 0
        || a >= 224
        || carrier
        || protocols
        || benchmarks
        || ip.is_loopback()
        || ip.is_private()
        || ip.is_link_local()
        || ip.is_documentation()
}

fn is_local_v6(ip: Ipv6Addr) -> bool {
    let [a, b, c, d, e, f, g, h] = ip.segments();
    let v4 = |high: u16, low: u16| Ipv4Addr::from((u32::from(high) << 16) | u32::from(low));
    match (a, b) {
        // An IPv4 address in 6to4 or NAT64.
        (0x2002, high) => is_local_v4(v4(high, c)),
        (0x64, 0xff9b) if (c, d, e, f) == (0, 0, 0, 0) => is_local_v4(v4(g, h)),
        // Documentation, Teredo, ORCHID.
        (0x2001, 0xdb8 | 0 | 0x10..=0x2f) => true,
        // Only 2000::/3 is given out.
        _ => a & 0xe000 != 0x2000,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn local_addresses_are_told_from_global_ones() {
        for (text, local) in [
            ("8.8.8.8", false),
            ("172.32.0.1", false),
            ("100.128.0.1", false),
            ("2600::1", false),
            ("2002:808:808::1", false),
            ("64:ff9b::808:808", false),
            ("::ffff:8.8.8.8", false),
            ("127.0.0.1", true),
            ("127.255.255.254", true),
            ("10.0.0.1", true),
            ("172.16.0.1", true),
            ("192.168.1.1", true),
            ("169.254.169.254", true),
            ("100.64.0.1", true),
            ("0.0.0.0", true),
            ("224.0.0.1", true),
            ("255.255.255.255", true),
            ("::", true),
            ("::1", true),
            ("fe80::1", true),
            ("fc00::1", true),
            ("fd00:ec2::254", true),
            ("ff02::1", true),
            ("::ffff:127.0.0.1", true),
            ("::127.0.0.1", true),
            ("2002:7f00:1::", true),
            ("64:ff9b::7f00:1", true),
            ("64:ff9b:1::1", true),
        ] {
            assert_eq!(is_local(text.parse().unwrap()), local, "{text}");
        }
    }

    #[test]
    fn addresses_in_any_spelling_are_judged() {
        let check = |text: &str| check(&text.parse().unwrap(), None, Reach::Global);
        for text in [
            "http://127.0.0.1/",
            "http://2130706433/",
            "http://0x7f.1/",
            "http://0177.0.0.1/",
            "http://[::1]/",
            "http://[::ffff:127.0.0.1]/",
            "http://169.254.169.254/latest/meta-data/",
            "http://tracker.example@127.0.0.1/",
            "http://8.8.8.8:80@127.0.0.1:22/",
            "http://127.0.0.1\\@8.8.8.8/",
            "http:127.0.0.1:6379/",
            "http:\\\\10.0.0.1",
            "http://\u{ff11}27.0.0.1/",
        ] {
            assert_eq!(check(text), Err(Problem::Local), "{text}");
        }
        assert_eq!(check("http://8.8.8.8/"), Ok(()));
        for scheme in ["file", "ftp", "gopher", "udp"] {
            let url = format!("{scheme}://h/x").parse().unwrap();
            assert_eq!(super::check(&url, None, Reach::Any), Err(Problem::Scheme(scheme.into())));
        }
    }

    #[test]
    fn a_tracker_with_a_plain_path_may_be_local() {
        let reach = |text| first_reach(&TrackerUrl::parse(text).unwrap());
        for text in ["http://h/announce", "http://h/passkey/announce.php"] {
            assert_eq!(reach(text), Reach::Any, "{text}");
        }
        for text in
            ["http://h/api/add", "http://h/announce/delete", "http://h/announce?cmd=reboot", "http://h/"]
        {
            assert_eq!(reach(text), Reach::Global, "{text}");
        }
    }

    #[test]
    fn no_redirect_leads_from_the_internet_to_a_local_address() {
        let [global, local] = ["8.8.8.8", "127.0.0.1"].map(|text| Some(text.parse().unwrap()));
        let reach = |origin: Origin, from, to: &str| origin.reach_by_redirect(from, &to.parse().unwrap());
        for (origin, from, to, expected) in [
            (Origin::Torrent, global, "http://h/announce", Reach::Global),
            (Origin::User, global, "http://h/x.torrent", Reach::Global),
            (Origin::User, None, "http://h/x.torrent", Reach::Global),
            (Origin::Torrent, local, "http://h/announce?info_hash=x", Reach::Any),
            (Origin::Torrent, local, "http://h/admin", Reach::Global),
            (Origin::User, local, "http://h/x.torrent", Reach::Any),
        ] {
            assert_eq!(reach(origin, from, to), expected, "{origin:?} {from:?} {to}");
        }
    }
}
