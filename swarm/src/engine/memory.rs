//! One budget for everything that the network can make grow.
//!
//! [`Config::memory_budget`] is cut into shares, and each share refuses work when it is used up: payload is not read, requests
//! are rejected, pieces are not begun, peers are not let in, addresses are not kept. What a torrent costs by its own size
//! (metainfo, eight bytes a piece, files) is not in it: the user chose that.

use metainfo::BLOCK;

use super::config::Config;

/// Bytes that an engine holds, by what for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Memory {
    /// Blocks on their way to the disk.
    pub writing: usize,
    /// Blocks that the disk refused, to be tried again.
    pub kept: usize,
    /// Blocks and messages that are not all there.
    pub receiving: usize,
    /// Blocks being read from the disk or waiting to be sent.
    pub serving: usize,
    /// Spare buffers.
    pub spare: usize,
    /// Messages that wait to be sent.
    pub messages: usize,
    /// Requests, theirs and ours.
    pub requests: usize,
    /// What peers have.
    pub bitfields: usize,
    /// Pieces in progress: who was asked for what, who sent what, what failed.
    pub progress: usize,
    /// Addresses of peers.
    pub candidates: usize,
    /// Info dictionaries of magnets that are not all there, and piece layers.
    pub metadata: usize,
    /// What peers of magnets say of their pieces before anybody knows how many there are.
    pub early: usize,
}

impl Memory {
    /// All of it.
    pub fn total(&self) -> usize {
        let blocks = self.writing + self.kept + self.receiving + self.serving + self.spare;
        let magnets = self.metadata + self.early;
        blocks + self.messages + self.requests + self.bitfields + self.progress + self.candidates + magnets
    }
}

/// The most that each part may hold, in bytes. Blocks on their way to and from the disk have their credits in the configuration,
/// cut to their shares when the engine is made.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Shares {
    pub(crate) receiving: usize,
    pub(crate) messages: usize,
    pub(crate) requests: usize,
    pub(crate) bitfields: usize,
    pub(crate) progress: usize,
    pub(crate) candidates: usize,
    /// All magnets together.
    pub(crate) metadata: usize,
    pub(crate) early: usize,
}

/// What is left of the budget is for magnets: this part of it, and so many bytes at most, for what peers say too early.
const EARLY: usize = 8;
const MAX_EARLY: usize = 8 << 20;

/// Bytes of an entry in the book of candidates.
pub(crate) const CANDIDATE: usize = 256;

impl Shares {
    /// The shares of a budget. The credits of the disk and the spare buffers are cut to theirs.
    pub(crate) fn of(config: &mut Config) -> Self {
        let (eighth, sixteenth) = (config.memory_budget / 8, config.memory_budget / 16);
        config.write_credit = config.write_credit.min(sixteenth);
        config.read_credit = config.read_credit.min(eighth);
        config.spare_blocks = config.spare_blocks.min(sixteenth / BLOCK as usize);
        // Blocks that the disk refused are kept up to the write credit once more.
        let credits = 2 * config.write_credit + config.read_credit + config.spare_blocks * BLOCK as usize;
        let left = config.memory_budget.saturating_sub(4 * eighth + 2 * sixteenth + credits);
        let early = (left / EARLY).min(MAX_EARLY);
        Self {
            receiving: eighth,
            messages: eighth,
            requests: sixteenth,
            bitfields: eighth,
            progress: eighth,
            candidates: sixteenth,
            metadata: left - early,
            early,
        }
    }
}
