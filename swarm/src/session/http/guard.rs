//! Which addresses may be called.
//!
//! - An address of this machine or its network may be called if the path looks like a tracker's and there is no query
//!   in the torrent, or if the user typed the URL.
//! - A redirect may lead there only from there, and again only to such a path.
//! - It is the address connected to that counts, not the name: names are judged as they are resolved.

use std::net::{IpAddr, SocketAddr};

use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use url::{Host, Url};
use wire::tracker::udp::url_data;

use super::error::Problem;
use crate::engine::scope::Scope;
use crate::engine::tracker::address::is_announce_path;
use crate::engine::tracker::{Family, TrackerUrl};
use crate::session::resolve::{ResolveError, Resolver};

/// Ports below belong to services of the system.
const FIRST_FREE_PORT: u16 = 1024;

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

/// Whether the tracker of a torrent over UDP may be asked at this address. On this machine and its network there are services
/// that are no trackers: what goes there is nothing but an announce, and not to the ports of the well-known ones.
pub(in crate::session) fn may_ask_udp(tracker: &TrackerUrl, to: SocketAddr) -> bool {
    !is_local(to.ip()) || to.port() >= FIRST_FREE_PORT && is_plain(url_data(tracker.as_str()))
}

/// Whether this path and query, which are sent as they are, could mean something to trackers only.
fn is_plain(url_data: &str) -> bool {
    let is_none = matches!(url_data, "" | "/");
    let last = url_data.rsplit('/').next().unwrap_or_default();
    let is_announce = last.starts_with("announce") || last.starts_with("scrape");
    (is_none || is_announce) && url_data.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'?')
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
fn is_local(ip: IpAddr) -> bool {
    Scope::of(ip) != Some(Scope::Global)
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
            ("2001:0:4136:e378::1", true),
            ("2001:20::1", true),
            ("2001:db8::1", true),
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
    fn a_tracker_over_udp_with_a_plain_path_may_be_local() {
        let may = |text: &str, to: &str| {
            may_ask_udp(&TrackerUrl::parse(text).unwrap(), SocketAddr::new(to.parse().unwrap(), port(text)))
        };
        fn port(text: &str) -> u16 {
            TrackerUrl::parse(text).unwrap().host_port().1
        }
        for local in ["127.0.0.1", "192.168.1.1", "169.254.169.254", "::1", "fd00::1"] {
            for text in
                ["udp://h:6969", "udp://h:1024/", "udp://h:6969/announce", "udp://h:6969/key/announce#x"]
            {
                assert!(may(text, local), "{text} {local}");
            }
            for text in [
                "udp://h:1023/announce",
                "udp://h/announce",
                "udp://h:53",
                "udp://h:6969/announce?key=1",
                "udp://h:6969?/announce",
                "udp://h:6969/admin",
                "udp://h:6969/announce/delete",
                "udp://h:11211/announce\r\nflush_all\r\n/announce",
            ] {
                assert!(!may(text, local), "{text} {local}");
                assert!(may(text, "9.9.9.9"), "{text}");
            }
        }
    }

    #[tokio::test]
    async fn a_name_of_the_local_network_is_called_by_a_plain_path_only() {
        let resolver = Resolver::new();
        resolver.remember("t.example", &["192.168.1.7", "10.0.0.1"]).await;
        resolver.remember("both.example", &["192.168.1.7", "9.9.9.9"]).await;
        let names = |reach| Names { resolver: resolver.clone(), family: Some(Family::V4), reach };
        let found = async |host: &str, reach| {
            let found = names(reach).resolve(host.parse().unwrap()).await;
            let told = |error: Box<dyn std::error::Error + Send + Sync>| error.downcast_ref().cloned();
            found.map(|all| all.map(|addr| addr.ip().to_string()).collect::<Vec<_>>()).map_err(told)
        };
        let http = super::super::Http::new(&Default::default(), &resolver).unwrap();
        let request =
            wire::tracker::AnnounceRequest::new([1; 20], wire::peer::PeerId::new(*b"-XX0000-", [1; 12]), 1);
        for query in ["http://t.example/announce?passkey=1", "http://t.example/admin"] {
            let tracker = TrackerUrl::parse(query).unwrap();
            let asked =
                http.announce(&tracker, &request, Family::V4, std::time::Duration::from_secs(60)).await;
            assert_eq!(asked.unwrap_err().problem, Problem::Local, "{query}");
        }
        assert_eq!(found("t.example", Reach::Global).await, Err(Some(Problem::Local)));
        assert_eq!(found("t.example", Reach::Any).await.unwrap(), ["192.168.1.7", "10.0.0.1"]);
        assert_eq!(found("both.example", Reach::Global).await.unwrap(), ["9.9.9.9"]);
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
