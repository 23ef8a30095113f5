//! Connection ids of BEP 15, made from the asker's address, so that a flood of connects takes no memory.

use std::net::{IpAddr, SocketAddr};

use rand::Rng;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;

use crate::engine::time::Time;

/// An id is taken for one to two of these.
const WINDOW_SECS: u64 = 60;

/// Makes and checks ids. Without the secret, an id of another address or minute cannot be guessed.
#[derive(Debug)]
pub(super) struct ConnectionIds {
    secret: [u8; 32],
}

impl ConnectionIds {
    pub(super) fn new(rng: &mut impl Rng) -> Self {
        let mut secret = [0; 32];
        rng.fill_bytes(&mut secret);
        Self { secret }
    }

    /// The id to give to this address now.
    pub(super) fn id(&self, now: Time, to: SocketAddr) -> u64 {
        self.in_window(window(now), to)
    }

    /// Whether this id was given to this address one or two minutes ago at most.
    pub(super) fn is_valid(&self, now: Time, from: SocketAddr, id: u64) -> bool {
        let this = window(now);
        id == self.in_window(this, from)
            || this.checked_sub(1).is_some_and(|last| id == self.in_window(last, from))
    }

    fn in_window(&self, window: u64, address: SocketAddr) -> u64 {
        let ip = match address.ip() {
            IpAddr::V4(ip) => ip.to_ipv6_mapped(),
            IpAddr::V6(ip) => ip,
        };
        let mut key = self.secret;
        let input = ip.octets().into_iter().chain(window.to_be_bytes()).chain(address.port().to_be_bytes());
        for (byte, input) in key.iter_mut().zip(input) {
            *byte ^= input;
        }
        ChaCha8Rng::from_seed(key).next_u64()
    }
}

fn window(now: Time) -> u64 {
    now.as_micros() / (WINDOW_SECS * 1_000_000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_belongs_to_an_address_and_ends() {
        let ids = ConnectionIds::new(&mut ChaCha8Rng::seed_from_u64(1));
        let [a, b] = ["1.2.3.4:5", "1.2.3.4:6"].map(|text| text.parse().unwrap());
        let id = ids.id(Time::from_secs(100), a);
        assert!(ids.is_valid(Time::from_secs(100), a, id) && ids.is_valid(Time::from_secs(160), a, id));
        assert!(!ids.is_valid(Time::from_secs(240), a, id) && !ids.is_valid(Time::from_secs(100), b, id));
        assert_ne!(id, ConnectionIds::new(&mut ChaCha8Rng::seed_from_u64(2)).id(Time::from_secs(100), a));
    }
}
