use alloc::vec::Vec;
use core::net::Ipv4Addr;

use sha1::{Digest, Sha1};

use super::limits::as_usize;

/// The pieces that a peer at `ip` may ask for while choked (BEP 6): `count` of the torrent's `pieces`, or all of them if there
/// are no more. The same for everyone who computes it, and for all addresses of a /24. Not defined for IPv6.
///
/// `count` is meant to be small: 10 is usual.
pub fn allowed_fast(ip: Ipv4Addr, info_hash: &[u8; 20], pieces: u32, count: u32) -> Vec<u32> {
    if pieces <= count {
        return (0..pieces).collect();
    }
    let [a, b, c, _] = ip.octets();
    let mut hash: [u8; 20] = Sha1::new().chain_update([a, b, c, 0]).chain_update(info_hash).finalize().into();
    let mut set = Vec::with_capacity(as_usize(count));
    loop {
        for word in hash.as_chunks().0 {
            if set.len() == as_usize(count) {
                return set;
            }
            let piece = u32::from_be_bytes(*word) % pieces;
            if !set.contains(&piece) {
                set.push(piece);
            }
        }
        hash = Sha1::digest(hash).into();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sets_of_bep_6_come_out() {
        let set = |count| allowed_fast(Ipv4Addr::new(80, 4, 4, 200), &[0xaa; 20], 1313, count);
        assert_eq!(set(7), [1059, 431, 808, 1217, 287, 376, 1188]);
        assert_eq!(set(9), [1059, 431, 808, 1217, 287, 376, 1188, 353, 508]);
        assert_eq!(set(0), []);
    }

    #[test]
    fn neighbours_share_a_set() {
        let set = |last| allowed_fast(Ipv4Addr::new(10, 1, 2, last), &[1; 20], 5000, 10);
        assert_eq!(set(1), set(254));
    }

    #[test]
    fn a_torrent_of_few_pieces_is_allowed_whole() {
        let ip = Ipv4Addr::LOCALHOST;
        assert_eq!(allowed_fast(ip, &[0; 20], 0, 10), []);
        assert_eq!(allowed_fast(ip, &[0; 20], 3, 10), [0, 1, 2]);
        let mut most = allowed_fast(ip, &[0; 20], 11, 10);
        most.sort_unstable();
        most.dedup();
        assert_eq!(most.len(), 10);
    }
}
