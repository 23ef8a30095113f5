//! A tracker's address: what may be announced to, and how it is shown without its secrets.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use url::{Host, Url};

/// Longer addresses are refused; no real tracker comes near it.
pub const MAX_URL: usize = 2048;

/// A longer part of a path may be a passkey.
const SHOWN_PART: usize = 8;

/// How a tracker is spoken to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Scheme {
    /// BEP 3 over plain HTTP.
    Http,
    /// BEP 3 over HTTPS.
    Https,
    /// BEP 15.
    Udp,
}

/// An IP version: trackers are announced to once over each (BEP 7).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Family {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

impl Family {
    /// The family of an address; an IPv4 address mapped into IPv6 counts as IPv4.
    pub fn of(ip: IpAddr) -> Self {
        match ip.to_canonical() {
            IpAddr::V4(_) => Self::V4,
            IpAddr::V6(_) => Self::V6,
        }
    }
}

impl From<Family> for wire::tracker::udp::Family {
    fn from(family: Family) -> Self {
        match family {
            Family::V4 => Self::V4,
            Family::V6 => Self::V6,
        }
    }
}

impl fmt::Display for Family {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::V4 => "IPv4",
            Self::V6 => "IPv6",
        })
    }
}

/// Why an address from a torrent is not announced to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unsupported {
    /// More than [`MAX_URL`] bytes; how many.
    TooLong(usize),
    /// Not a URL; what the parser said.
    Malformed(String),
    /// A scheme other than http, https or udp.
    Scheme(String),
    /// No host, or port 0.
    NoHost,
}

impl fmt::Display for Unsupported {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLong(len) => write!(f, "address has {len} bytes, at most {MAX_URL} are taken"),
            Self::Malformed(why) => write!(f, "not a URL: {why}"),
            Self::Scheme(scheme) => write!(f, "expected http, https or udp, got {scheme:?}"),
            Self::NoHost => f.write_str("address without a host or with port 0"),
        }
    }
}

impl std::error::Error for Unsupported {}

/// A tracker's URL, checked. `Display` and `Debug` give the form for logs, which hides passkeys; [`Self::as_str`]
/// gives the whole.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TrackerUrl {
    text: Arc<str>,
    scheme: Scheme,
}

impl TrackerUrl {
    /// Takes an address as a torrent or magnet has it; white space around it is dropped.
    pub fn parse(text: &str) -> Result<Self, Unsupported> {
        let text = text.trim();
        if text.len() > MAX_URL {
            return Err(Unsupported::TooLong(text.len()));
        }
        let url = parse_special(text)?;
        let scheme = match scheme_of(text).to_ascii_lowercase().as_str() {
            "http" => Scheme::Http,
            "https" => Scheme::Https,
            _ => Scheme::Udp,
        };
        match url.port_or_known_default() {
            Some(1..) if url.host().is_some() => Ok(Self { text: text.into(), scheme }),
            _ => Err(Unsupported::NoHost),
        }
    }

    /// The whole address, secrets included: for the request itself, never for a log.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// How to speak to it.
    pub fn scheme(&self) -> Scheme {
        self.scheme
    }

    /// Host (without brackets) and port; a udp address without a port means 80.
    pub fn host_port(&self) -> (String, u16) {
        let Ok(url) = parse_special(&self.text) else { return (String::new(), 0) };
        let host = match url.host() {
            Some(Host::Domain(name)) => name.to_owned(),
            Some(Host::Ipv4(ip)) => ip.to_string(),
            Some(Host::Ipv6(ip)) => ip.to_string(),
            None => String::new(),
        };
        (host, url.port_or_known_default().unwrap_or(0))
    }

    /// The one family this address can be reached over, if its host is an IP address.
    pub fn only_family(&self) -> Option<Family> {
        match parse_special(&self.text).ok()?.host()? {
            Host::Domain(_) => None,
            Host::Ipv4(_) => Some(Family::V4),
            Host::Ipv6(ip) => Some(Family::of(IpAddr::V6(ip))),
        }
    }

    /// Whether the last part of the path starts with `announce`: what BEP 48 asks for before a scrape, and what
    /// local addresses must look like.
    pub fn is_announce_path(&self) -> bool {
        parse_special(&self.text).is_ok_and(|url| is_announce_path(&url))
    }
}

/// Whether the last part of the path starts with `announce` or `scrape`.
pub(crate) fn is_announce_path(url: &Url) -> bool {
    let last = url.path().rsplit('/').next().unwrap_or_default();
    last.starts_with("announce") || last.starts_with("scrape")
}

/// A form of any URL for logs: no user, password, query or long path part.
pub fn hide_secrets(text: &str) -> String {
    let Ok(url) = parse_special(text.trim()) else {
        return format!("<address of {} bytes>", text.len());
    };
    let mut out = format!("{}://{}", scheme_of(text.trim()), url.host_str().unwrap_or_default());
    if let Some(port) = url.port() {
        out.push_str(&format!(":{port}"));
    }
    let segments = url.path_segments().filter(|_| url.path() != "/");
    for part in segments.into_iter().flatten() {
        let known =
            part.len() <= 2 * SHOWN_PART && (part.starts_with("announce") || part.starts_with("scrape"));
        let plain = known || part.len() <= SHOWN_PART && !part.contains('=');
        out.push('/');
        out.push_str(if plain { part } else { "***" });
    }
    if url.query().is_some() {
        out.push_str("?***");
    }
    out
}

impl fmt::Display for TrackerUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hide_secrets(&self.text))
    }
}

impl fmt::Debug for TrackerUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TrackerUrl({self})")
    }
}

fn scheme_of(text: &str) -> &str {
    text.split_once(':').map_or("", |(scheme, _)| scheme)
}

/// Parses by the rules of http whatever the scheme, so that hosts of udp addresses are understood as well.
fn parse_special(text: &str) -> Result<Url, Unsupported> {
    let scheme = scheme_of(text);
    let rest = match scheme.to_ascii_lowercase().as_str() {
        "http" | "https" => return Url::parse(text).map_err(|e| Unsupported::Malformed(e.to_string())),
        "udp" => text.get(scheme.len()..).unwrap_or_default(),
        "" => return Err(Unsupported::Malformed("no scheme".into())),
        other => return Err(Unsupported::Scheme(other.chars().take(32).collect())),
    };
    Url::parse(&format!("http{rest}")).map_err(|e| Unsupported::Malformed(e.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_http_https_and_udp_are_taken() {
        for (text, expected) in [
            ("http://t.example/announce", Ok(Scheme::Http)),
            ("  HTTPS://t.example/announce\n", Ok(Scheme::Https)),
            ("udp://t.example:6969", Ok(Scheme::Udp)),
            ("wss://t.example/", Err(Unsupported::Scheme("wss".into()))),
            ("file:///etc/passwd", Err(Unsupported::Scheme("file".into()))),
            ("gopher://t.example", Err(Unsupported::Scheme("gopher".into()))),
            ("udp://t.example:0/", Err(Unsupported::NoHost)),
            ("t.example", Err(Unsupported::Malformed("no scheme".into()))),
            ("", Err(Unsupported::Malformed("no scheme".into()))),
        ] {
            assert_eq!(TrackerUrl::parse(text).map(|url| url.scheme()), expected, "{text:?}");
        }
        let long = format!("http://t.example/{}", "a".repeat(3000));
        assert_eq!(TrackerUrl::parse(&long), Err(Unsupported::TooLong(3017)));
        assert!(matches!(TrackerUrl::parse("udp://:80"), Err(Unsupported::Malformed(_))));
    }

    #[test]
    fn hosts_of_udp_addresses_are_understood() {
        let parts = |text| TrackerUrl::parse(text).map(|url| url.host_port());
        assert_eq!(parts("udp://[::1]:69/announce"), Ok(("::1".into(), 69)));
        assert_eq!(parts("udp://T.example"), Ok(("t.example".into(), 80)));
        assert_eq!(parts("udp://t.example:1/a?b=c"), Ok(("t.example".into(), 1)));
    }

    #[test]
    fn an_address_in_numbers_has_one_family() {
        let family = |text| TrackerUrl::parse(text).unwrap().only_family();
        assert_eq!(family("udp://127.0.0.1:1"), Some(Family::V4));
        assert_eq!(family("http://[::ffff:10.0.0.1]/announce"), Some(Family::V4));
        assert_eq!(family("http://[::1]/announce"), Some(Family::V6));
        assert_eq!(family("http://t.example/announce"), None);
    }

    #[test]
    fn passkeys_are_not_shown() {
        for (text, shown) in [
            ("http://t.example/announce", "http://t.example/announce"),
            ("https://t.example:443/announce.php?passkey=secret", "https://t.example/announce.php?***"),
            ("http://t.example/0123456789abcdef0123456789abcdef/announce", "http://t.example/***/announce"),
            ("udp://t.example:6969", "udp://t.example:6969"),
            ("http://user:secret@t.example:81/announce", "http://t.example:81/announce"),
            ("http://t.example/pk=1/announce", "http://t.example/***/announce"),
            ("udp://t.example:6969/announce?auth=secret", "udp://t.example:6969/announce?***"),
        ] {
            let url = TrackerUrl::parse(text).unwrap();
            assert_eq!(url.to_string(), shown);
            assert_eq!(format!("{url:?}"), format!("TrackerUrl({shown})"));
            assert_eq!(url.as_str(), text);
        }
        assert_eq!(hide_secrets("nonsense secret"), "<address of 15 bytes>");
    }

    #[test]
    fn announce_paths_are_told_by_their_last_part() {
        let is = |text| TrackerUrl::parse(text).unwrap().is_announce_path();
        assert!(is("http://h/x/announce.php?a=b") && is("http://h/announce") && is("http://h/scrape"));
        assert!(!is("http://h/announce/x") && !is("http://h/") && !is("http://h/admin?announce"));
    }
}
