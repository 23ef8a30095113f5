use alloc::vec::Vec;

/// The sender does not have this piece any more: `lt_donthave` (BEP 54).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DontHave(pub u32);

impl DontHave {
    /// Reads the payload of an extension message; `None` unless it is four bytes long.
    pub fn parse(payload: &[u8]) -> Option<Self> {
        <[u8; 4]>::try_from(payload).ok().map(|index| Self(u32::from_be_bytes(index)))
    }

    /// Appends the payload of an extension message.
    pub fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.0.to_be_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_four_bytes_and_nothing_else() {
        let mut out = Vec::new();
        DontHave(0x0102_0304).encode(&mut out);
        assert_eq!(out, [1, 2, 3, 4]);
        assert_eq!(DontHave::parse(&out), Some(DontHave(0x0102_0304)));
        for wrong in [&b""[..], b"abc", b"abcde"] {
            assert_eq!(DontHave::parse(wrong), None);
        }
    }
}
