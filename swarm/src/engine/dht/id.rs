//! Ids of nodes and targets, their distance, and ids that belong to an address
//! ([BEP 42](https://www.bittorrent.org/beps/bep_0042.html)).

use std::fmt;
use std::net::IpAddr;

use rand::Rng;

use crate::engine::scope::Scope;

/// A place in the key space of the DHT: the id of a node, a v1 info-hash, the first 20 bytes of a v2 info-hash, or the
/// target of a stored item.
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Id(pub [u8; 20]);

/// How far two ids are apart: their bits, exclusive-or'ed. Compares as a number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Distance([u8; 20]);

impl Id {
    /// Any id.
    pub fn random(rng: &mut impl Rng) -> Self {
        let mut bytes = [0; 20];
        rng.fill_bytes(&mut bytes);
        Self(bytes)
    }

    /// A random id that a node at this address may have: for a local address any id, otherwise one whose first 21 bits come
    /// from the address and from a number in the last byte (BEP 42).
    pub fn of_address(ip: IpAddr, rng: &mut impl Rng) -> Self {
        let mut id = Self::random(rng);
        if is_exempt(ip) {
            return id;
        }
        let [.., salt] = id.0;
        let prefix = prefix(ip, salt).to_be_bytes();
        let [first, second, third, ..] = &mut id.0;
        [*first, *second] = [prefix[0], prefix[1]];
        *third = (prefix[2] & 0xf8) | (*third & 0x07);
        id
    }

    /// Whether a node at this address may have this id. Local addresses may have any.
    pub fn belongs_to(&self, ip: IpAddr) -> bool {
        if is_exempt(ip) {
            return true;
        }
        let [first, second, third, .., salt] = self.0;
        let ours = u32::from_be_bytes([first, second, third, 0]);
        (ours ^ prefix(ip, salt)) >> 11 == 0
    }

    /// The distance to another id.
    pub fn distance(&self, other: &Self) -> Distance {
        let mut bits = self.0;
        bits.iter_mut().zip(other.0).for_each(|(bits, other)| *bits ^= other);
        Distance(bits)
    }

    /// How many leading bits two ids share, 160 if they are the same.
    pub fn shared_bits(&self, other: &Self) -> u32 {
        let mut shared = 0;
        for (a, b) in self.0.iter().zip(other.0) {
            let zeros = (a ^ b).leading_zeros();
            shared += zeros;
            if zeros < 8 {
                break;
            }
        }
        shared
    }

    /// A random id that shares exactly this many leading bits with this one, or all if there are no more.
    pub fn beside(&self, shared: u32, rng: &mut impl Rng) -> Self {
        let mut id = Self::random(rng);
        for (at, (bits, own)) in (0u32..).step_by(8).zip(id.0.iter_mut().zip(self.0)) {
            let keep = shared.saturating_sub(at).min(8);
            let mask = !u8::MAX.checked_shr(keep).unwrap_or(0);
            *bits = (own & mask) | (*bits & !mask);
            if (at..at + 8).contains(&shared) {
                let flip = 0x80 >> (shared - at);
                *bits = (*bits & !flip) | (!own & flip);
            }
        }
        id
    }
}

impl From<[u8; 20]> for Id {
    fn from(bytes: [u8; 20]) -> Self {
        Self(bytes)
    }
}

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Whether BEP 42 has nothing to say on an address: it is of our own networks.
fn is_exempt(ip: IpAddr) -> bool {
    Scope::of(ip).is_some_and(Scope::is_local)
}

/// What the first 21 bits of an id with this last byte have to be.
fn prefix(ip: IpAddr, salt: u8) -> u32 {
    let salt = (salt & 0x07) << 5;
    match ip.to_canonical() {
        IpAddr::V4(ip) => {
            let [a, b, c, d] = ip.octets();
            crc32c::crc32c(&[(a & 0x03) | salt, b & 0x0f, c & 0x3f, d])
        }
        IpAddr::V6(ip) => {
            let [a, b, c, d, e, f, g, h, ..] = ip.octets();
            let masked = [(a & 0x01) | salt, b & 0x03, c & 0x07, d & 0x0f, e & 0x1f, f & 0x3f, g & 0x7f, h];
            crc32c::crc32c(&masked)
        }
    }
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;
    use rand_chacha::ChaCha8Rng;

    use super::*;

    fn id(hex: &str) -> Id {
        Id(std::array::from_fn(|i| u8::from_str_radix(&hex[2 * i..2 * i + 2], 16).unwrap()))
    }

    #[test]
    fn the_vectors_of_bep_42_hold() {
        let vectors = [
            ("124.31.75.21", "5fbfbff10c5d6a4ec8a88e4c6ab4c28b95eee401"),
            ("21.75.31.124", "5a3ce9c14e7a08645677bbd1cfe7d8f956d53256"),
            ("65.23.51.170", "a5d43220bc8f112a3d426c84764f8c2a1150e616"),
            ("84.124.73.14", "1b0321dd1bb1fe518101ceef99462b947a01ff41"),
            ("43.213.53.83", "e56f6cbf5b7c4be0237986d5243b87aa6d51305a"),
        ];
        for (ip, hex) in vectors {
            let (ip, mut id) = (ip.parse().unwrap(), id(hex));
            assert!(id.belongs_to(ip), "{ip}");
            assert!(!id.belongs_to("8.8.8.8".parse().unwrap()));
            id.0[2] ^= 0x07;
            assert!(id.belongs_to(ip), "three low bits are free");
            id.0[2] ^= 0x08;
            assert!(!id.belongs_to(ip), "21 bits are not");
        }
    }

    #[test]
    fn ids_made_for_an_address_belong_to_it_and_differ() {
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        for ip in ["8.8.4.4", "2606:4700::1", "10.0.0.1", "127.0.0.1", "fd00::1"] {
            let ip: IpAddr = ip.parse().unwrap();
            let ids: Vec<Id> = (0..50).map(|_| Id::of_address(ip, &mut rng)).collect();
            assert!(ids.iter().all(|id| id.belongs_to(ip)));
            assert!(ids.windows(2).all(|pair| pair[0] != pair[1]));
        }
        let mapped: IpAddr = "::ffff:8.8.4.4".parse().unwrap();
        assert!(Id::of_address(mapped, &mut rng).belongs_to("8.8.4.4".parse().unwrap()));
        assert!(
            Id::random(&mut rng).belongs_to("192.168.1.1".parse().unwrap()),
            "local addresses are exempt"
        );
    }

    #[test]
    fn an_id_beside_another_shares_exactly_so_many_bits() {
        let mut rng = ChaCha8Rng::seed_from_u64(2);
        let own = Id::random(&mut rng);
        for shared in 0..160 {
            let other = own.beside(shared, &mut rng);
            assert_eq!(own.shared_bits(&other), shared);
            assert_eq!(own.distance(&other), other.distance(&own));
        }
        assert_eq!(own.beside(160, &mut rng), own);
        assert_eq!(own.shared_bits(&own), 160);
        assert!(own.distance(&own) < own.distance(&own.beside(159, &mut rng)));
    }
}
