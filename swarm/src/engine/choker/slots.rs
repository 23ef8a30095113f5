//! How many peers are unchoked at once.

/// The number of upload slots.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Slots {
    /// Always this many.
    Fixed(u32),
    /// As many as the upload can feed: grows with the root of the upload limit, or without a limit, of the upload
    /// rate that was reached. Eight at least, or four under a limit.
    Automatic,
}

/// Most slots that [`Slots::Automatic`] opens.
const MOST: u32 = 200;

impl Slots {
    /// Slots at this upload limit and this upload rate, both in bytes per second.
    pub(super) fn count(self, limit: Option<u64>, reached: u64) -> u32 {
        let (rate, least) = match limit {
            Some(limit) => (limit, 4),
            None => (reached, 8),
        };
        match self {
            Self::Fixed(count) => count,
            // 4 at 27 kB/s, 8 at 107 kB/s, 24 at 1 MB/s, 77 at 10 MB/s: each slot is worth more as they grow.
            Self::Automatic => u32::try_from((rate / 1000).saturating_mul(3) / 5)
                .unwrap_or(u32::MAX)
                .isqrt()
                .clamp(least, MOST),
        }
    }
}

/// Splits slots between peers of torrents we download and of torrents we seed, by how many want one. Both sides get
/// one if there are two, and what one side cannot fill goes to the other.
pub(super) fn split(slots: usize, leeching: usize, seeding: usize) -> (usize, usize) {
    if leeching + seeding <= slots {
        return (leeching, seeding);
    }
    let share = (slots * leeching + (leeching + seeding) / 2) / (leeching + seeding);
    let least = usize::from(leeching > 0 && slots > 1);
    let most = slots - usize::from(seeding > 0 && slots > 1).min(slots);
    let leech = share.clamp(least, most.max(least)).min(leeching);
    let seed = (slots - leech).min(seeding);
    ((slots - seed).min(leeching), seed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn automatic_slots_grow_with_the_limit() {
        let cases = [
            (None, 0, 8),
            (None, 1_000_000, 24),
            (None, 1_000_000_000, 200),
            (Some(5_000), 0, 4),
            (Some(107_000), 1_000_000, 8),
            (Some(10_000_000), 0, 77),
            (Some(u64::MAX), 0, 200),
        ];
        for (limit, reached, wanted) in cases {
            assert_eq!(Slots::Automatic.count(limit, reached), wanted, "{limit:?} {reached}");
        }
        assert_eq!(Slots::Fixed(3).count(None, u64::MAX), 3);
    }

    #[test]
    fn slots_are_split_by_demand_and_none_is_left_over() {
        let cases = [
            (8, 100, 0, (8, 0)),
            (8, 0, 100, (0, 8)),
            (8, 2, 3, (2, 3)),
            (8, 100, 100, (4, 4)),
            (8, 1, 100, (1, 7)),
            (8, 1000, 1, (7, 1)),
            (8, 3, 30, (1, 7)),
            (1, 5, 5, (1, 0)),
            (0, 5, 5, (0, 0)),
        ];
        for (slots, leeching, seeding, wanted) in cases {
            assert_eq!(split(slots, leeching, seeding), wanted, "{slots} for {leeching} and {seeding}");
        }
    }
}
