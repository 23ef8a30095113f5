//! SHA-1 of messages that come in parts, several at a time.

use crate::lanes::{self, Chunk, State};

/// The running hash of one message. Feed the bytes in order, in parts of any length.
#[derive(Clone, Debug)]
pub(crate) struct Sha1 {
    state: State,
    /// Bytes so far; those beyond the last whole chunk are in `tail`.
    len: u64,
    tail: Chunk,
}

impl Sha1 {
    /// Of nothing yet.
    pub(crate) fn new() -> Self {
        let state = [0x6745_2301, 0xefcd_ab89, 0x98ba_dcfe, 0x1032_5476, 0xc3d2_e1f0];
        Self { state, len: 0, tail: [0; 64] }
    }

    /// Of these bytes.
    #[cfg(test)]
    pub(crate) fn digest(bytes: &[u8]) -> [u8; 20] {
        let mut hash = Self::new();
        hash.update(bytes);
        hash.finish()
    }

    /// Counts these bytes in.
    pub(crate) fn update(&mut self, bytes: &[u8]) {
        let bytes = self.fill_tail(bytes);
        let (chunks, rest) = bytes.as_chunks();
        self.advance(chunks);
        self.fill_tail(rest);
    }

    /// The hash of all bytes.
    pub(crate) fn finish(mut self) -> [u8; 20] {
        let bits = self.len.wrapping_mul(8);
        let zeros = (119 - self.filled()) % 64;
        let mut end = [0; 72];
        end[0] = 0x80;
        end[1 + zeros..][..8].copy_from_slice(&bits.to_be_bytes());
        self.update(&end[..1 + zeros + 8]);
        let mut digest = [0; 20];
        for (bytes, word) in digest.chunks_exact_mut(4).zip(self.state) {
            bytes.copy_from_slice(&word.to_be_bytes());
        }
        digest
    }

    /// Bytes in `tail`.
    fn filled(&self) -> usize {
        (self.len % 64) as usize
    }

    /// Takes what completes a chunk that was begun, or begins one when there is less than a chunk. Gives back the rest.
    fn fill_tail<'a>(&mut self, bytes: &'a [u8]) -> &'a [u8] {
        let filled = self.filled();
        if filled == 0 && bytes.len() >= 64 {
            return bytes;
        }
        let (now, rest) = bytes.split_at(bytes.len().min(64 - filled));
        self.tail[filled..][..now.len()].copy_from_slice(now);
        self.len += now.len() as u64;
        if filled + now.len() == 64 {
            lanes::compress(std::array::from_mut(&mut self.state), [&[self.tail]]);
        }
        rest
    }

    fn advance(&mut self, chunks: &[Chunk]) {
        lanes::compress(std::array::from_mut(&mut self.state), [chunks]);
        self.len += size_of_val(chunks) as u64;
    }
}

/// Parts of a message, and the hash they go on in.
pub(crate) struct Feed<'a, B> {
    hash: &'a mut Sha1,
    parts: std::slice::Iter<'a, B>,
    /// What is left of the part that was begun.
    rest: &'a [u8],
}

impl<'a, B: AsRef<[u8]>> Feed<'a, B> {
    pub(crate) fn new(hash: &'a mut Sha1, parts: &'a [B]) -> Self {
        Self { hash, parts: parts.iter(), rest: &[] }
    }

    /// Takes what is no whole chunk, up to the next that is. Whether there is one.
    fn settle(&mut self) -> bool {
        loop {
            if self.rest.is_empty() {
                let Some(part) = self.parts.next() else { return false };
                self.rest = part.as_ref();
            }
            self.rest = self.hash.fill_tail(self.rest);
            if self.rest.len() >= 64 {
                return true;
            }
        }
    }

    fn chunks(&self) -> &'a [Chunk] {
        self.rest.as_chunks().0
    }
}

/// Counts all parts in, of as many messages at a time as the processor takes.
pub(crate) fn update_together<B: AsRef<[u8]>>(mut feeds: Vec<Feed<'_, B>>) {
    loop {
        feeds.retain_mut(Feed::settle);
        match &mut feeds[..] {
            [] => return,
            [a] => step([a]),
            [a, b] => step([a, b]),
            [a, b, c] => step([a, b, c]),
            [a, b, c, d, ..] => step([a, b, c, d]),
        }
    }
}

/// The hashes of these messages.
pub(crate) fn digest_each<'a>(messages: impl Iterator<Item = &'a [u8]>) -> Vec<[u8; 20]> {
    let messages: Vec<_> = messages.map(|message| [message]).collect();
    let mut hashes = vec![Sha1::new(); messages.len()];
    update_together(hashes.iter_mut().zip(&messages).map(|(hash, parts)| Feed::new(hash, parts)).collect());
    hashes.into_iter().map(Sha1::finish).collect()
}

/// Advances all by the chunks of that which has the fewest.
fn step<B: AsRef<[u8]>, const N: usize>(feeds: [&mut Feed<'_, B>; N]) {
    let count = feeds.iter().map(|feed| feed.chunks().len()).min().unwrap_or(0);
    let mut states = feeds.each_ref().map(|feed| feed.hash.state);
    lanes::compress(&mut states, feeds.each_ref().map(|feed| &feed.chunks()[..count]));
    for (feed, state) in feeds.into_iter().zip(states) {
        feed.hash.state = state;
        feed.hash.len += 64 * count as u64;
        feed.rest = &feed.rest[64 * count..];
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use sha1::Digest;

    #[test]
    fn hashes_of_known_messages() {
        let hex = |bytes: &[u8]| Sha1::digest(bytes).iter().map(|b| format!("{b:02x}")).collect::<String>();
        assert_eq!(hex(b""), "da39a3ee5e6b4b0d3255bfef95601890afd80709");
        assert_eq!(hex(b"abc"), "a9993e364706816aba3e25717850c26c9cd0d89d");
        for len in 0..200 {
            let bytes = vec![len as u8; len];
            assert_eq!(Sha1::digest(&bytes), <[u8; 20]>::from(sha1::Sha1::digest(&bytes)), "{len} bytes");
        }
    }

    fn parts() -> impl Strategy<Value = Vec<Vec<u8>>> {
        let len = prop_oneof![Just(0usize), Just(64), Just(16_384), 0..200usize, 0..3000usize];
        let part = (any::<u8>(), len).prop_map(|(first, len)| {
            (0..len).map(|at| first.wrapping_add((at * at / 7) as u8)).collect::<Vec<u8>>()
        });
        proptest::collection::vec(part, 0..6)
    }

    proptest! {
        #[test]
        fn any_number_of_messages_in_any_parts_is_hashed_right(
            messages in proptest::collection::vec((parts(), parts()), 0..8),
        ) {
            let mut hashes: Vec<_> = messages.iter().map(|_| Sha1::new()).collect();
            for round in 0..2 {
                let parts = messages.iter().map(|m| if round == 0 { &m.0 } else { &m.1 });
                update_together(hashes.iter_mut().zip(parts).map(|(h, p)| Feed::new(h, p)).collect());
            }
            for (hash, (first, second)) in hashes.into_iter().zip(&messages) {
                let whole = [first.concat(), second.concat()].concat();
                prop_assert_eq!(hash.finish(), <[u8; 20]>::from(sha1::Sha1::digest(&whole)));
            }
        }
    }
}
