//! Scopes of addresses: how far an address reaches, and who may name which.
//!
//! Whoever tells us addresses (a tracker, a peer by PEX, a node) may name only such that reach at least as far as
//! itself: what we reached over loopback or a LAN may name peers there, but a stranger on the internet must not
//! be able to make us dial into our own network.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// How far an address reaches, from narrow to wide.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Scope {
    /// This machine.
    Loopback,
    /// This link (169.254/16, fe80::/10).
    Link,
    /// This site or provider (RFC 1918, RFC 6598, RFC 4193), and the benchmark net 198.18/15, which local proxies
    /// hand out.
    Private,
    /// The internet.
    Global,
}

impl Scope {
    /// The scope of an address; `None` for what no peer can have: unspecified, multicast, broadcast,
    /// documentation and reserved nets, and those for protocols of their own (2001::/23: Teredo, ORCHID and others). IPv6 forms that carry an IPv4 address (mapped, NAT64, 6to4) are what they
    /// carry.
    pub fn of(ip: IpAddr) -> Option<Self> {
        match ip {
            IpAddr::V4(ip) => Self::of_v4(ip),
            IpAddr::V6(ip) => Self::of_v6(ip),
        }
    }

    /// Whether subnet limits and BEP 42 do not apply: only one's own networks are exempt.
    pub fn is_local(self) -> bool {
        self < Self::Global
    }

    fn of_v4(ip: Ipv4Addr) -> Option<Self> {
        match ip.octets() {
            [127, ..] => Some(Self::Loopback),
            [169, 254, ..] => Some(Self::Link),
            [10, ..] | [172, 16..=31, ..] | [192, 168, ..] | [100, 64..=127, ..] | [198, 18..=19, ..] => {
                Some(Self::Private)
            }
            [0, ..] | [192, 0, 0 | 2, _] | [198, 51, 100, _] | [203, 0, 113, _] | [224..=255, ..] => None,
            _ => Some(Self::Global),
        }
    }

    fn of_v6(ip: Ipv6Addr) -> Option<Self> {
        let segments = ip.segments();
        let embedded = |high: u16, low: u16| {
            let ([a, b], [c, d]) = (high.to_be_bytes(), low.to_be_bytes());
            Self::of_v4(Ipv4Addr::new(a, b, c, d))
        };
        match segments {
            [0, 0, 0, 0, 0, 0, 0, 1] => Some(Self::Loopback),
            [0, 0, 0, 0, 0, 0xffff, high, low] | [0x64, 0xff9b, 0, 0, 0, 0, high, low] => embedded(high, low),
            [0x2002, high, low, ..] => embedded(high, low),
            [0xfe80..=0xfebf, ..] => Some(Self::Link),
            [0xfc00..=0xfdff, ..] | [0xfec0..=0xfeff, ..] | [0x64, 0xff9b, 1, ..] => Some(Self::Private),
            // Teredo, ORCHID and others that are no hosts, and documentation.
            [0x2001, 0..=0x1ff | 0xdb8, ..] | [0x3fff, 0..=0xfff, ..] => None,
            [0x2000..=0x3fff, ..] => Some(Self::Global),
            _ => None,
        }
    }
}

/// Whether a source of this scope may name this address. Port 0 never passes.
pub fn may_name(source: Scope, addr: SocketAddr) -> bool {
    addr.port() != 0 && Scope::of(addr.ip()).is_some_and(|scope| scope >= source)
}

/// The one form of an address that is stored and compared: mapped IPv4 becomes IPv4, and flow labels drop. The zone
/// of a link-local address stays.
pub fn canonical(addr: SocketAddr) -> SocketAddr {
    match addr {
        SocketAddr::V4(_) => addr,
        SocketAddr::V6(mut v6) => match v6.ip().to_ipv4_mapped() {
            Some(ip) => SocketAddr::new(ip.into(), v6.port()),
            None => {
                v6.set_flowinfo(0);
                SocketAddr::V6(v6)
            }
        },
    }
}

/// Whether an address means something on one interface only (fe80::/10): a message to others cannot name it.
pub fn needs_zone(addr: SocketAddr) -> bool {
    matches!(addr, SocketAddr::V6(addr) if addr.ip().is_unicast_link_local())
}

/// The net that limits per address count by: an IPv4 address itself, the /64 of an IPv6 address, because its
/// holder has all of it.
pub fn subscriber(ip: IpAddr) -> IpAddr {
    match ip.to_canonical() {
        IpAddr::V6(ip) => {
            let [a, b, c, d, ..] = ip.segments();
            Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0).into()
        }
        ip => ip,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().expect("a test address")
    }

    #[test]
    fn every_range_has_its_scope() {
        use Scope::{Global, Link, Loopback, Private};
        let cases = [
            ("127.0.0.1", Some(Loopback)),
            ("127.255.255.254", Some(Loopback)),
            ("::1", Some(Loopback)),
            ("::ffff:127.0.0.1", Some(Loopback)),
            ("64:ff9b::7f00:1", Some(Loopback)),
            ("2002:7f00:1::1", Some(Loopback)),
            ("169.254.7.7", Some(Link)),
            ("fe80::1", Some(Link)),
            ("febf::1", Some(Link)),
            ("10.1.2.3", Some(Private)),
            ("172.16.0.1", Some(Private)),
            ("172.31.255.255", Some(Private)),
            ("192.168.1.1", Some(Private)),
            ("100.64.0.1", Some(Private)),
            ("198.19.0.1", Some(Private)),
            ("fd12::1", Some(Private)),
            ("::ffff:10.0.0.1", Some(Private)),
            ("172.32.0.1", Some(Global)),
            ("100.128.0.1", Some(Global)),
            ("8.8.8.8", Some(Global)),
            ("2606:4700::1", Some(Global)),
            ("::ffff:8.8.8.8", Some(Global)),
            ("0.0.0.0", None),
            ("0.1.2.3", None),
            ("224.0.0.1", None),
            ("239.192.152.143", None),
            ("240.0.0.1", None),
            ("255.255.255.255", None),
            ("192.0.2.1", None),
            ("198.51.100.1", None),
            ("203.0.113.1", None),
            ("::", None),
            ("::2", None),
            ("ff02::1", None),
            ("2001:db8::1", None),
            ("2001:0:4136:e378::1", None),
            ("2001:10::1", None),
            ("2001:20::1", None),
            ("2001:200::1", Some(Global)),
            ("::ffff:0.0.0.0", None),
            ("64:ff9b::e000:1", None),
        ];
        for (text, wanted) in cases {
            assert_eq!(Scope::of(ip(text)), wanted, "{text}");
        }
    }

    #[test]
    fn a_source_names_its_own_scope_or_wider() {
        use Scope::{Global, Link, Loopback, Private};
        let addresses =
            ["127.0.0.1:7000", "169.254.1.1:7000", "192.168.1.1:7000", "9.9.9.9:7000", "224.0.0.1:7000"];
        let cases = [
            (Loopback, [true, true, true, true, false]),
            (Link, [false, true, true, true, false]),
            (Private, [false, false, true, true, false]),
            (Global, [false, false, false, true, false]),
        ];
        for (source, wanted) in cases {
            assert_eq!(
                addresses.map(|addr| may_name(source, addr.parse().expect("an address"))),
                wanted,
                "{source:?}"
            );
        }
    }

    #[test]
    fn port_zero_is_nobody() {
        assert!(!may_name(Scope::Loopback, SocketAddr::new(ip("9.9.9.9"), 0)));
    }

    #[test]
    fn one_peer_has_one_form() {
        let mapped = SocketAddr::new(ip("::ffff:9.9.9.9"), 7000);
        assert_eq!(canonical(mapped), "9.9.9.9:7000".parse().expect("an address"));
        assert_eq!(subscriber(ip("2606:4700:1:2:3:4:5:6")), ip("2606:4700:1:2::"));
        assert_eq!(subscriber(ip("::ffff:9.9.9.9")), ip("9.9.9.9"));
        assert_eq!(subscriber(ip("9.9.9.9")), ip("9.9.9.9"));
    }
}
