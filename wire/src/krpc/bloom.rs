use core::net::IpAddr;

use sha1::{Digest, Sha1};

/// Addresses of a torrent's peers, as a Bloom filter of 2048 bits with two for each address (BEP 33). Filters of many nodes
/// are united, and how many addresses went in is estimated from the result: useful to about 6000.
#[derive(Clone, PartialEq, Eq)]
pub struct BloomFilter([u8; Self::LEN]);

impl BloomFilter {
    /// Bytes of a filter.
    pub const LEN: usize = 256;

    const BITS: u16 = 2048;

    /// An empty filter.
    pub const fn new() -> Self {
        Self([0; Self::LEN])
    }

    /// Its bytes.
    pub const fn as_bytes(&self) -> &[u8; Self::LEN] {
        &self.0
    }

    /// Adds an address.
    pub fn insert(&mut self, ip: IpAddr) {
        for bit in bits(ip) {
            if let Some(byte) = self.0.get_mut(usize::from(bit / 8)) {
                *byte |= 1 << (bit % 8);
            }
        }
    }

    /// Whether the address may have been added.
    pub fn contains(&self, ip: IpAddr) -> bool {
        let has =
            |bit: u16| self.0.get(usize::from(bit / 8)).is_some_and(|byte| byte & (1 << (bit % 8)) != 0);
        bits(ip).into_iter().all(has)
    }

    /// Adds all addresses of another filter.
    pub fn unite(&mut self, other: &Self) {
        for (byte, more) in self.0.iter_mut().zip(other.0) {
            *byte |= more;
        }
    }

    /// About how many different addresses were added. A full filter counts as one with a single bit left.
    pub fn estimate(&self) -> f64 {
        let zeros: u32 = self.0.iter().map(|byte| byte.count_zeros()).sum();
        let zeros = zeros.clamp(1, u32::from(Self::BITS) - 1);
        if self.0.iter().all(|byte| *byte == 0) {
            return 0.0;
        }
        let all = f64::from(Self::BITS);
        ln(f64::from(zeros) / all) / (2.0 * ln(1.0 - 1.0 / all))
    }
}

impl Default for BloomFilter {
    fn default() -> Self {
        Self::new()
    }
}

impl From<[u8; Self::LEN]> for BloomFilter {
    fn from(bytes: [u8; Self::LEN]) -> Self {
        Self(bytes)
    }
}

impl core::fmt::Debug for BloomFilter {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "BloomFilter(about {:.1} addresses)", self.estimate())
    }
}

fn bits(ip: IpAddr) -> [u16; 2] {
    let hash: [u8; 20] = match ip {
        IpAddr::V4(ip) => Sha1::digest(ip.octets()),
        IpAddr::V6(ip) => Sha1::digest(ip.octets()),
    }
    .into();
    let [a, b, c, d, ..] = hash;
    [u16::from_le_bytes([a, b]) % BloomFilter::BITS, u16::from_le_bytes([c, d]) % BloomFilter::BITS]
}

/// The natural logarithm of a number from 1/2048 to 1; `core` has none.
fn ln(mut x: f64) -> f64 {
    let mut halvings = 0.0;
    while x < 0.75 {
        x *= 2.0;
        halvings += 1.0;
    }
    // ln x = 2 artanh((x - 1) / (x + 1)), whose series converges fast near 1.
    let ratio = (x - 1.0) / (x + 1.0);
    let (mut sum, mut power, mut divisor) = (0.0, ratio, 1.0);
    for _ in 0..16 {
        sum += power / divisor;
        power *= ratio * ratio;
        divisor += 2.0;
    }
    2.0 * sum - halvings * core::f64::consts::LN_2
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::net::{Ipv4Addr, Ipv6Addr};

    /// The filter that BEP 33 prints.
    const VECTOR: &str = "F6C3F5EAA07FFD91BDE89F777F26FB2BFF37BDB8FB2BBAA2FD3DDDE7BACFFF75EE7CCBAEFE5EEDB1FBFAFF67F6ABFF5E\
        43DDBCA3FD9B9FFDF4FFD3E9DFF12D1BDF59DB53DBE9FA5B7FF3B8FDFCDE1AFB8BEDD7BE2F3EE71EBBBFE93BCDEEFE148246C2BC5DBFF7E7EFDCF24F\
        D8DC7ADFFD8FFFDFDDFFF7A4BBEEDF5CB95CE81FC7FCFF1FF4FFFFDFE5F7FDCBB7FD79B3FA1FC77BFE07FFF905B7B7FFC7FEFEFFE0B8370BB0CD3F5B\
        7F2BD93FEB4386CFDD6F7FD5BFAF2E9EBFFFFEECD67ADBF7C67F17EFD5D75EBA6FFEBA7FFF47A91EB1BFBB53E8ABFB5762ABE8FF237279BFEFBFEEF5\
        FFC5FEBFDFE5ADFFADFEE1FB737FFFFBFD9F6AEFFEEE76B6FD8F72EF";

    fn addresses() -> impl Iterator<Item = IpAddr> {
        let v4 = (0..=255).map(|last| Ipv4Addr::new(192, 0, 2, last).into());
        let v6 = (0..=0x3e7).map(|last| Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, last).into());
        v4.chain(v6)
    }

    #[test]
    fn the_vector_of_bep_33_holds() {
        let mut filter = BloomFilter::new();
        addresses().for_each(|ip| filter.insert(ip));
        let hex: alloc::string::String =
            filter.as_bytes().iter().map(|byte| alloc::format!("{byte:02X}")).collect();
        assert_eq!(hex, VECTOR);
        assert!((filter.estimate() - 1224.9308).abs() < 0.0001, "{filter:?}");
        assert!(addresses().all(|ip| filter.contains(ip)));
    }

    #[test]
    fn a_union_holds_what_both_held() {
        let (mut all, mut even, mut odd) = (BloomFilter::new(), BloomFilter::new(), BloomFilter::new());
        for (index, ip) in addresses().enumerate() {
            all.insert(ip);
            if index % 2 == 0 { &mut even } else { &mut odd }.insert(ip);
        }
        even.unite(&odd);
        assert_eq!(even, all);
    }

    #[test]
    fn empty_and_full_filters_have_an_estimate() {
        assert_eq!(BloomFilter::new().estimate(), 0.0);
        let full = BloomFilter::from([255; BloomFilter::LEN]).estimate();
        assert!((7000.0..8000.0).contains(&full), "{full}");
        let mut one = BloomFilter::new();
        one.insert(Ipv4Addr::LOCALHOST.into());
        assert!((0.9..1.1).contains(&one.estimate()), "{one:?}");
    }
}
