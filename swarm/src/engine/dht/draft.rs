//! An answer in the making, and how much it may still hold.

use wire::krpc::{BloomFilter, Reply};

use super::items::Item;

/// Bytes of what is in every answer, without address and transaction id.
const FIXED: usize = 66;
/// Bytes of a filter with its name.
const FILTER: usize = BloomFilter::LEN + 10;

/// A reply that is filled as far as its room goes.
#[derive(Debug)]
pub(super) struct Draft<'a> {
    pub(super) reply: Reply<'a>,
    left: usize,
}

impl<'a> Draft<'a> {
    /// `extra` are the bytes of the address and the transaction id.
    pub(super) fn new(own: [u8; 20], extra: usize, room: usize) -> Self {
        Self { reply: Reply::new(own), left: room.saturating_sub(FIXED + extra) }
    }

    /// How many things of a size fit, and what is around them.
    pub(super) fn count(&self, size: usize, around: usize) -> usize {
        self.left.saturating_sub(around) / size
    }

    pub(super) fn spend(&mut self, bytes: usize) {
        self.left = self.left.saturating_sub(bytes);
    }

    /// Lets no more than this in.
    pub(super) fn cap(&mut self, most: usize) {
        self.left = self.left.min(most.saturating_sub(FIXED));
    }

    pub(super) fn add_token(&mut self, token: &'a [u8]) {
        let len = token.len() + 10;
        if self.left >= len {
            self.reply.token = Some(token);
            self.spend(len);
        }
    }

    pub(super) fn add_filters(&mut self, filters: &'a (BloomFilter, BloomFilter)) {
        if self.left >= 2 * FILTER {
            self.reply.seeds = Some(filters.0.as_bytes());
            self.reply.peers = Some(filters.1.as_bytes());
            self.spend(2 * FILTER);
        }
    }

    /// Adds an item: all of it, or only its number if the asker has that already or there is no room for more.
    pub(super) fn add_item(&mut self, item: &'a Item, known: Option<i64>) {
        let signed = item.signed.as_deref();
        let has_it = signed.is_some_and(|signed| known.is_some_and(|known| signed.seq <= known));
        let len = if has_it { 0 } else { item.value.len() + 4 + signed.map_or(0, |_| 37 + 72) };
        let number = if signed.is_some() { 28 } else { 0 };
        if self.left < number {
            return;
        }
        // Without room for all of it the number still says that it is here.
        let fits = self.left >= len + number;
        self.spend(number + if fits { len } else { 0 });
        self.reply.seq = signed.map(|signed| signed.seq);
        if fits && !has_it {
            self.reply.value = Some(&item.value);
            self.reply.key = signed.map(|signed| &signed.key);
            self.reply.signature = signed.map(|signed| &signed.signature);
        }
    }
}
