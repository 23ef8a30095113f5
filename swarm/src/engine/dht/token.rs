//! Tokens: who wants to store something here has to show that it gets what we send to its address (BEP 5).

use std::net::IpAddr;
use std::time::Duration;

use rand::Rng;
use rand_chacha::ChaCha8Rng;
use sha1::{Digest, Sha1};

use crate::engine::time::Time;

/// How long a secret makes tokens; its tokens hold for as long again.
const ROTATION: Duration = Duration::from_secs(300);

/// A token as we make it: half of it would do, but guesses cost the guesser one packet each.
pub(crate) type Token = [u8; 8];

/// Makes and checks tokens without remembering them: a token is a hash of the address and a secret that changes every five
/// minutes.
#[derive(Debug)]
pub(crate) struct Tokens {
    current: [u8; 16],
    previous: [u8; 16],
    rotated: Time,
}

impl Tokens {
    pub(crate) fn new(now: Time, rng: &mut ChaCha8Rng) -> Self {
        let mut tokens = Self { current: [0; 16], previous: [0; 16], rotated: now };
        rng.fill_bytes(&mut tokens.current);
        rng.fill_bytes(&mut tokens.previous);
        tokens
    }

    /// Changes the secret if it is due. A secret that was due long ago takes its predecessor along.
    pub(crate) fn rotate(&mut self, now: Time, rng: &mut ChaCha8Rng) {
        let age = now - self.rotated;
        if age < ROTATION {
            return;
        }
        self.previous = self.current;
        if age >= 2 * ROTATION {
            rng.fill_bytes(&mut self.previous);
        }
        rng.fill_bytes(&mut self.current);
        self.rotated = now;
    }

    /// The token for this address.
    pub(crate) fn give(&self, ip: IpAddr) -> Token {
        token(ip, &self.current)
    }

    /// Whether a token is ours, for this address, and not older than ten minutes.
    pub(crate) fn accepts(&self, ip: IpAddr, shown: &[u8]) -> bool {
        token(ip, &self.current) == *shown || token(ip, &self.previous) == *shown
    }
}

fn token(ip: IpAddr, secret: &[u8; 16]) -> Token {
    let mut hash = Sha1::new();
    hash.update(secret);
    match ip.to_canonical() {
        IpAddr::V4(ip) => hash.update(ip.octets()),
        IpAddr::V6(ip) => hash.update(ip.octets()),
    }
    let [a, b, c, d, e, f, g, h, ..]: [u8; 20] = hash.finalize().into();
    [a, b, c, d, e, f, g, h]
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;

    use super::*;

    #[test]
    fn a_token_holds_for_its_address_until_the_second_rotation() {
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        let mut tokens = Tokens::new(Time::ZERO, &mut rng);
        let (ours, other): (IpAddr, IpAddr) = ("9.9.9.9".parse().unwrap(), "9.9.9.8".parse().unwrap());
        let token = tokens.give(ours);
        assert!(tokens.accepts(ours, &token) && tokens.accepts("::ffff:9.9.9.9".parse().unwrap(), &token));
        assert!(
            !tokens.accepts(other, &token)
                && !tokens.accepts(ours, &token[..7])
                && !tokens.accepts(ours, b"")
        );
        tokens.rotate(Time::from_secs(299), &mut rng);
        assert_eq!(tokens.give(ours), token);
        tokens.rotate(Time::from_secs(300), &mut rng);
        assert!(tokens.give(ours) != token && tokens.accepts(ours, &token));
        tokens.rotate(Time::from_secs(600), &mut rng);
        assert!(!tokens.accepts(ours, &token));
    }

    #[test]
    fn a_token_does_not_outlive_a_pause() {
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        let mut tokens = Tokens::new(Time::ZERO, &mut rng);
        let ip = "9.9.9.9".parse().unwrap();
        let token = tokens.give(ip);
        tokens.rotate(Time::from_secs(3600), &mut rng);
        assert!(!tokens.accepts(ip, &token));
    }
}
