//! Values as bytes: numbers of seven bits a byte, low ones first; strings behind their length. Each value has one
//! spelling, so that what was read is written the same.

use super::error::Damage;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};

/// Appends values.
#[derive(Default)]
pub(super) struct Writer(pub(super) Vec<u8>);

impl Writer {
    pub(super) fn byte(&mut self, value: u8) {
        self.0.push(value);
    }

    pub(super) fn raw(&mut self, bytes: &[u8]) {
        self.0.extend_from_slice(bytes);
    }

    pub(super) fn number(&mut self, value: impl Into<u64>) {
        let mut rest = value.into();
        loop {
            let low = rest.to_le_bytes()[0] & 0x7f;
            rest >>= 7;
            if rest == 0 {
                return self.byte(low);
            }
            self.byte(low | 0x80);
        }
    }

    /// How many of something follow.
    pub(super) fn count(&mut self, count: usize) {
        self.number(u64::try_from(count).unwrap_or(u64::MAX));
    }

    pub(super) fn bytes(&mut self, bytes: &[u8]) {
        self.count(bytes.len());
        self.raw(bytes);
    }

    pub(super) fn text(&mut self, text: &str) {
        self.bytes(text.as_bytes());
    }

    pub(super) fn path(&mut self, path: &Path) {
        self.bytes(path.as_os_str().as_encoded_bytes());
    }

    pub(super) fn flag(&mut self, value: bool) {
        self.byte(u8::from(value));
    }

    /// 0 for none, else the value and 1.
    pub(super) fn optional(&mut self, value: Option<u64>) {
        self.flag(value.is_some());
        if let Some(value) = value {
            self.number(value);
        }
    }

    pub(super) fn address(&mut self, address: &SocketAddr) {
        match address.ip() {
            IpAddr::V4(ip) => {
                self.byte(4);
                self.raw(&ip.octets());
            }
            IpAddr::V6(ip) => {
                self.byte(6);
                self.raw(&ip.octets());
            }
        }
        self.raw(&address.port().to_be_bytes());
    }
}

/// Takes values off the front.
#[derive(Clone, Copy)]
pub(super) struct Reader<'a>(pub(super) &'a [u8]);

impl<'a> Reader<'a> {
    pub(super) fn raw(&mut self, len: usize) -> Result<&'a [u8], Damage> {
        let short = || Damage::Short { expected: wide(len), got: wide(self.0.len()) };
        let (taken, rest) = self.0.split_at_checked(len).ok_or_else(short)?;
        self.0 = rest;
        Ok(taken)
    }

    pub(super) fn array<const N: usize>(&mut self) -> Result<[u8; N], Damage> {
        let taken = self.raw(N)?;
        taken.try_into().map_err(|_| Damage::Value("an array"))
    }

    pub(super) fn byte(&mut self) -> Result<u8, Damage> {
        let [byte] = self.array()?;
        Ok(byte)
    }

    pub(super) fn number(&mut self) -> Result<u64, Damage> {
        let mut value = 0_u64;
        for at in 0..10_u32 {
            let byte = self.byte()?;
            let low = u64::from(byte & 0x7f);
            // The tenth byte has room for one bit only.
            if at == 9 && byte > 1 {
                break;
            }
            value |= low << (7 * at);
            if byte & 0x80 == 0 {
                // A last byte of zero could be left out.
                return if byte == 0 && at > 0 { Err(Damage::Value("a number")) } else { Ok(value) };
            }
        }
        Err(Damage::Value("a number"))
    }

    pub(super) fn small(&mut self, what: &'static str) -> Result<u32, Damage> {
        u32::try_from(self.number()?).map_err(|_| Damage::Value(what))
    }

    /// How many of something follow, each of at least one byte.
    pub(super) fn count(&mut self, most: usize, what: &'static str) -> Result<usize, Damage> {
        let count = usize::try_from(self.number()?).map_err(|_| Damage::Value(what))?;
        if count > most || count > self.0.len() { Err(Damage::Value(what)) } else { Ok(count) }
    }

    pub(super) fn bytes(&mut self, most: usize, what: &'static str) -> Result<&'a [u8], Damage> {
        let len = self.count(most, what)?;
        self.raw(len)
    }

    pub(super) fn text(&mut self, most: usize, what: &'static str) -> Result<String, Damage> {
        let bytes = self.bytes(most, what)?;
        std::str::from_utf8(bytes).map(str::to_owned).map_err(|_| Damage::Value(what))
    }

    pub(super) fn path(&mut self, what: &'static str) -> Result<PathBuf, Damage> {
        let bytes = self.bytes(MAX_PATH, what)?;
        if bytes.contains(&0) {
            return Err(Damage::Value(what));
        }
        path(bytes).ok_or(Damage::Value(what))
    }

    pub(super) fn flag(&mut self, what: &'static str) -> Result<bool, Damage> {
        match self.byte()? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(Damage::Value(what)),
        }
    }

    pub(super) fn optional(&mut self, what: &'static str) -> Result<Option<u64>, Damage> {
        if self.flag(what)? { self.number().map(Some) } else { Ok(None) }
    }

    pub(super) fn address(&mut self) -> Result<SocketAddr, Damage> {
        let ip = match self.byte()? {
            4 => IpAddr::V4(Ipv4Addr::from(self.array::<4>()?)),
            6 => IpAddr::V6(Ipv6Addr::from(self.array::<16>()?)),
            _ => return Err(Damage::Value("an address")),
        };
        Ok(SocketAddr::new(ip, u16::from_be_bytes(self.array()?)))
    }

    /// A list of at most `most`.
    pub(super) fn list<T>(
        &mut self,
        most: usize,
        what: &'static str,
        mut item: impl FnMut(&mut Self) -> Result<T, Damage>,
    ) -> Result<Vec<T>, Damage> {
        let count = self.count(most, what)?;
        // Memory is taken as items come, so that a count alone costs nothing.
        let mut list = Vec::new();
        for _ in 0..count {
            list.push(item(self)?);
        }
        Ok(list)
    }

    pub(super) fn end(&self) -> Result<(), Damage> {
        if self.0.is_empty() { Ok(()) } else { Err(Damage::Trailing(wide(self.0.len()))) }
    }
}

/// Longer paths no system opens.
const MAX_PATH: usize = 64 * 1024;

pub(super) fn wide(len: usize) -> u64 {
    u64::try_from(len).unwrap_or(u64::MAX)
}

#[cfg(unix)]
fn path(bytes: &[u8]) -> Option<PathBuf> {
    use std::os::unix::ffi::OsStrExt;
    Some(PathBuf::from(std::ffi::OsStr::from_bytes(bytes)))
}

#[cfg(not(unix))]
fn path(bytes: &[u8]) -> Option<PathBuf> {
    std::str::from_utf8(bytes).ok().map(PathBuf::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_has_one_spelling() {
        for value in [0, 1, 127, 128, 16_383, 16_384, u64::from(u32::MAX), u64::MAX] {
            let mut out = Writer::default();
            out.number(value);
            let mut reader = Reader(&out.0);
            assert_eq!(reader.number(), Ok(value));
            assert_eq!(reader.end(), Ok(()));
        }
        for wrong in [&[0x80, 0][..], &[0xff; 10], &[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2]]
        {
            assert_eq!(Reader(wrong).number(), Err(Damage::Value("a number")), "{wrong:?}");
        }
    }
}
