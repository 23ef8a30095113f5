//! The order that both ends of a connection agree on (BEP 40).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// The canonical priority of a connection between two peers; the same from both ends, higher is dialled first.
/// `None` between families, where BEP 40 defines nothing.
///
/// ```
/// let a = "123.213.32.10:0".parse().unwrap();
/// let b = "98.76.54.32:0".parse().unwrap();
/// assert_eq!(swarm::engine::candidates::canonical_priority(a, b), Some(0xec2d_7224));
/// ```
pub fn canonical_priority(a: SocketAddr, b: SocketAddr) -> Option<u32> {
    match (a.ip().to_canonical(), b.ip().to_canonical()) {
        (a_ip, b_ip) if a_ip == b_ip => Some(of_pair(a.port().to_be_bytes(), b.port().to_be_bytes())),
        (IpAddr::V4(a), IpAddr::V4(b)) => Some(of_v4(a, b)),
        (IpAddr::V6(a), IpAddr::V6(b)) => Some(of_v6(a, b)),
        _ => None,
    }
}

fn of_v4(a: Ipv4Addr, b: Ipv4Addr) -> u32 {
    let (a, b) = (a.octets(), b.octets());
    masked_pair(a, b, 2)
}

fn of_v6(a: Ipv6Addr, b: Ipv6Addr) -> u32 {
    masked_pair(a.octets(), b.octets(), 6)
}

/// The first `whole` bytes count in full; sharing them all makes one more count, and so on. Of the rest every other
/// bit counts.
fn masked_pair<const N: usize>(mut a: [u8; N], mut b: [u8; N], whole: usize) -> u32 {
    let shared = a.iter().zip(&b).take_while(|(a, b)| a == b).count();
    let whole = if shared < whole { whole } else { shared + 1 };
    for byte in a.iter_mut().skip(whole).chain(b.iter_mut().skip(whole)) {
        *byte &= 0x55;
    }
    of_pair(a, b)
}

fn of_pair<const N: usize>(a: [u8; N], b: [u8; N]) -> u32 {
    let (low, high) = if a <= b { (a, b) } else { (b, a) };
    crc32c::crc32c_append(crc32c::crc32c(&low), &high)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn priority(a: &str, b: &str) -> Option<u32> {
        let [a, b] = [a, b].map(|text| text.parse().expect("a test address"));
        let one = canonical_priority(a, b);
        assert_eq!(one, canonical_priority(b, a), "both ends agree");
        one
    }

    #[test]
    fn the_examples_of_the_bep_hold() {
        assert_eq!(priority("123.213.32.10:1", "98.76.54.32:2"), Some(0xec2d_7224));
        assert_eq!(priority("123.213.32.10:1", "123.213.32.234:2"), Some(0x9956_8189));
    }

    #[test]
    fn masks_follow_the_shared_prefix() {
        let pair = |a: &[u8], b: &[u8]| Some(crc32c::crc32c(&[a, b].concat()));
        let cases = [
            // same /16: three bytes in full
            ("123.213.1.255:1", "123.213.2.255:1", pair(&[123, 213, 1, 0x55], &[123, 213, 2, 0x55])),
            ("1.2.255.255:1", "2.2.255.255:1", pair(&[1, 2, 0x55, 0x55], &[2, 2, 0x55, 0x55])),
            // same address: ports
            ("9.9.9.9:258", "9.9.9.9:1", pair(&[0, 1], &[1, 2])),
            ("[::ffff:9.9.9.9]:258", "9.9.9.9:1", pair(&[0, 1], &[1, 2])),
        ];
        for (a, b, wanted) in cases {
            assert_eq!(priority(a, b), wanted, "{a} {b}");
        }
        assert_eq!(priority("9.9.9.9:1", "[2606::1]:1"), None);
    }

    #[test]
    fn v6_masks_follow_the_shared_prefix() {
        let masked = |whole: usize, text: &str| {
            let mut octets = text.parse::<Ipv6Addr>().expect("a test address").octets();
            octets.iter_mut().skip(whole).for_each(|byte| *byte &= 0x55);
            octets
        };
        let cases = [
            ("2606:4700:1:ffff::1", "2606:4700:2:ffff::2", 6),
            ("2606:4700:1:ffff::ff", "2606:4700:1:ff::2", 7),
            ("2606:4700:1:ffff::ff", "2606:4700:1:fffe::2", 8),
            ("2606:4700:1:2:ff00::ff", "2606:4700:1:2:ee00::2", 9),
        ];
        for (a, b, whole) in cases {
            let (low, high) =
                (masked(whole, a).min(masked(whole, b)), masked(whole, a).max(masked(whole, b)));
            let wanted = crc32c::crc32c(&[low, high].concat());
            assert_eq!(priority(&format!("[{a}]:1"), &format!("[{b}]:1")), Some(wanted), "{a} {b}");
        }
    }
}
