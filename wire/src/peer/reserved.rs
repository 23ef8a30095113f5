use core::fmt;

/// The eight reserved bytes of a handshake: which extensions the sender speaks.
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct Reserved(pub [u8; 8]);

macro_rules! bit {
    ($get:ident, $with:ident, $byte:literal, $mask:literal, $what:literal) => {
        #[doc = concat!("The sender speaks ", $what, ".")]
        pub const fn $get(&self) -> bool {
            let Self([.., b5, _, b7]) = self;
            let byte = if $byte == 5 { *b5 } else { *b7 };
            byte & $mask != 0
        }

        #[doc = concat!("The same bytes, saying that the sender speaks ", $what, ".")]
        #[must_use]
        pub const fn $with(mut self) -> Self {
            let Self([.., b5, _, b7]) = &mut self;
            if $byte == 5 {
                *b5 |= $mask;
            } else {
                *b7 |= $mask;
            }
            self
        }
    };
}

impl Reserved {
    /// No extension at all.
    pub const NONE: Self = Self([0; 8]);

    bit!(extended, with_extended, 5, 0x10, "the extension protocol (BEP 10)");
    bit!(dht, with_dht, 7, 0x01, "the DHT, and wants a `port` message (BEP 5)");
    bit!(fast, with_fast, 7, 0x04, "the Fast extension (BEP 6)");
    bit!(v2, with_v2, 7, 0x10, "v2, and can go over to it though the v1 info-hash was used (BEP 52)");

    /// What both sides speak.
    #[must_use]
    pub const fn common(&self, other: &Self) -> Self {
        Self((u64::from_be_bytes(self.0) & u64::from_be_bytes(other.0)).to_be_bytes())
    }
}

impl fmt::Debug for Reserved {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Reserved({:016x})", u64::from_be_bytes(self.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_bit_stands_where_its_bep_says() {
        assert_eq!(Reserved::NONE.with_extended().0, [0, 0, 0, 0, 0, 0x10, 0, 0]);
        assert_eq!(Reserved::NONE.with_dht().0, [0, 0, 0, 0, 0, 0, 0, 0x01]);
        assert_eq!(Reserved::NONE.with_fast().0, [0, 0, 0, 0, 0, 0, 0, 0x04]);
        assert_eq!(Reserved::NONE.with_v2().0, [0, 0, 0, 0, 0, 0, 0, 0x10]);
    }

    #[test]
    fn a_bit_reads_back_alone() {
        let getters = [Reserved::extended, Reserved::dht, Reserved::fast, Reserved::v2];
        let setters = [Reserved::with_extended, Reserved::with_dht, Reserved::with_fast, Reserved::with_v2];
        for (i, set) in setters.iter().enumerate() {
            for (j, get) in getters.iter().enumerate() {
                assert_eq!(get(&set(Reserved::NONE)), i == j, "{i} {j}");
            }
        }
    }

    #[test]
    fn only_what_both_have_is_common() {
        let (ours, theirs) =
            (Reserved::NONE.with_fast().with_extended(), Reserved::NONE.with_fast().with_dht());
        assert_eq!(ours.common(&theirs), Reserved::NONE.with_fast());
    }
}
