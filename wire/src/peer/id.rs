use core::fmt;

use super::Client;

/// The 20 bytes by which a peer names itself (BEP 20).
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PeerId(pub [u8; 20]);

/// Characters that stand in a URL as they are.
const URL_SAFE: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

impl PeerId {
    /// The prefix of this project's peers: `-UC`, the version, `-`.
    pub const PREFIX: [u8; 8] = *b"-UC0100-";

    /// An id made of a prefix and random bytes. The random part becomes 12 characters that need no escape in a
    /// tracker's URL; 6 bits of each byte count.
    pub fn new(prefix: [u8; 8], random: [u8; 12]) -> Self {
        let safe = random.map(|byte| URL_SAFE.get(usize::from(byte & 63)).copied().unwrap_or(b'0'));
        let mut id = [0; 20];
        for (to, from) in id.iter_mut().zip(prefix.iter().chain(&safe)) {
            *to = *from;
        }
        Self(id)
    }

    /// The client and version that the id claims; `None` if its style is not known.
    pub fn client(&self) -> Option<Client> {
        Client::of(&self.0)
    }
}

impl fmt::Display for PeerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0.escape_ascii())
    }
}

impl fmt::Debug for PeerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PeerId({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::ToString;

    #[test]
    fn a_new_id_keeps_its_prefix_and_needs_no_escape() {
        for seed in 0..=255u8 {
            let random = core::array::from_fn(|i| seed.wrapping_mul(31).wrapping_add(i as u8 * 17));
            let id = PeerId::new(PeerId::PREFIX, random);
            assert!(id.0.starts_with(b"-UC0100-"));
            assert!(id.0.iter().all(|c| c.is_ascii_alphanumeric() || b"-_".contains(c)), "{id}");
        }
    }

    #[test]
    fn ids_that_are_no_text_are_shown_escaped() {
        let mut bytes = *b"-UC0100-abcdefghijkl";
        bytes[19] = 0x1b;
        assert_eq!(PeerId(bytes).to_string(), "-UC0100-abcdefghijk\\x1b");
    }
}
