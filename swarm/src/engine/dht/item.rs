//! Signing and checking mutable items ([BEP 44](https://www.bittorrent.org/beps/bep_0044.html)).

use ed25519_dalek::{Signature, Signer, SigningKey, VerifyingKey};
use wire::krpc::{MAX_SALT, MAX_VALUE, immutable_target, mutable_target, signed_text};

use super::api::{Mutable, NotTaken};
use super::id::Id;

impl Mutable {
    /// Signs a value. `secret` is an ed25519 seed: 32 bytes of entropy that are the key.
    pub fn sign(secret: &[u8; 32], salt: Vec<u8>, seq: i64, value: Vec<u8>) -> Self {
        let key = SigningKey::from_bytes(secret);
        let signature = key.sign(&signed_text(&salt, seq, &value)).to_bytes();
        Self { key: key.verifying_key().to_bytes(), salt, seq, value, signature }
    }

    /// The public key of a secret one.
    pub fn public_key(secret: &[u8; 32]) -> [u8; 32] {
        SigningKey::from_bytes(secret).verifying_key().to_bytes()
    }

    /// Where the item is stored.
    pub fn target(&self) -> Id {
        Id(mutable_target(&self.key, &self.salt))
    }

    /// Whether the signature is right.
    pub fn is_signed(&self) -> bool {
        is_signed(&self.key, &self.salt, self.seq, &self.value, &self.signature)
    }

    /// Whether nodes will store it.
    pub(super) fn validate(&self) -> Result<(), NotTaken> {
        validate(&self.salt, &self.value)?;
        if self.seq >= 0 && self.is_signed() { Ok(()) } else { Err(NotTaken::Signature) }
    }
}

/// Whether this is the key's signature of the item. Keys with a small order, which sign anything, have none.
pub(super) fn is_signed(key: &[u8; 32], salt: &[u8], seq: i64, value: &[u8], signature: &[u8; 64]) -> bool {
    let text = signed_text(salt, seq, value);
    VerifyingKey::from_bytes(key)
        .is_ok_and(|key| key.verify_strict(&text, &Signature::from_bytes(signature)).is_ok())
}

/// Whether a value, bencoded, can be stored under this salt; an immutable one has none.
///
/// # Errors
/// When either is too long, or the value is not canonical bencode.
pub fn validate(salt: &[u8], value: &[u8]) -> Result<(), NotTaken> {
    match () {
        () if value.len() > MAX_VALUE => Err(NotTaken::Value(value.len())),
        () if salt.len() > MAX_SALT => Err(NotTaken::Salt(salt.len())),
        () => bencode::decode(value).map(|_| ()).map_err(|_| NotTaken::Bencode),
    }
}

/// Where an immutable value is stored.
pub fn target_of_immutable(value: &[u8]) -> Id {
    Id(immutable_target(value))
}

/// Where a key's item is stored.
pub fn target_of_mutable(key: &[u8; 32], salt: &[u8]) -> Id {
    Id(mutable_target(key, salt))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes<const N: usize>(hex: &str) -> [u8; N] {
        std::array::from_fn(|i| u8::from_str_radix(&hex[2 * i..2 * i + 2], 16).unwrap())
    }

    fn vector(salt: &[u8], signature: &str) -> Mutable {
        Mutable {
            key: bytes("77ff84905a91936367c01360803104f92432fcd904a43511876df5cdf3e7e548"),
            salt: salt.into(),
            seq: 1,
            value: b"12:Hello World!".into(),
            signature: bytes(signature),
        }
    }

    #[test]
    fn the_vectors_of_bep_44_hold() {
        let plain = vector(
            b"",
            "305ac8aeb6c9c151fa120f120ea2cfb923564e11552d06a5d856091e5e853cff\
             1260d3f39e4999684aa92eb73ffd136e6f4f3ecbfda0ce53a1608ecd7ae21f01",
        );
        assert!(plain.is_signed() && plain.validate().is_ok());
        assert_eq!(plain.target().to_string(), "4a533d47ec9c7d95b1ad75f576cffc641853b750");
        let salted = vector(
            b"foobar",
            "6834284b6b24c3204eb2fea824d82f88883a3d95e8b4a21b8c0ded553d17d17d\
             df9a8a7104b1258f30bed3787e6cb896fca78c58f8e03b5f18f14951a87d9a08",
        );
        assert!(salted.is_signed());
        assert_eq!(salted.target().to_string(), "411eba73b6f087ca51a3795d9c8c938d365e32c1");
        assert_eq!(
            target_of_immutable(b"12:Hello World!").to_string(),
            "e5f96f6f38320f0f33959cb4d3d656452117aadb"
        );
    }

    #[test]
    fn what_is_signed_cannot_be_changed() {
        let good = Mutable::sign(&[7; 32], b"salt".into(), 3, b"i42e".into());
        assert!(good.is_signed());
        assert_eq!(good.key, Mutable::public_key(&[7; 32]));
        let changed = [
            Mutable { seq: 4, ..good.clone() },
            Mutable { salt: Vec::new(), ..good.clone() },
            Mutable { value: b"i43e".into(), ..good.clone() },
            Mutable { key: [0; 32], ..good.clone() },
            Mutable { signature: [0; 64], ..good },
        ];
        assert!(changed.iter().all(|item| item.validate() == Err(NotTaken::Signature)), "{changed:?}");
    }

    #[test]
    fn values_and_salts_have_their_bounds() {
        let item = |salt: usize, value: &[u8]| Mutable::sign(&[7; 32], vec![b's'; salt], 1, value.into());
        let long = |len: usize| [format!("{len}:").into_bytes(), vec![b'x'; len]].concat();
        assert_eq!(item(64, &long(996)).validate(), Ok(()));
        assert_eq!(item(65, b"i1e").validate(), Err(NotTaken::Salt(65)));
        assert_eq!(item(0, &long(997)).validate(), Err(NotTaken::Value(1001)));
        assert_eq!(item(0, b"d1:bi1e1:ai1ee").validate(), Err(NotTaken::Bencode));
        assert_eq!(item(0, b"").validate(), Err(NotTaken::Bencode));
        assert_eq!(
            Mutable::sign(&[7; 32], Vec::new(), -1, b"i1e".into()).validate(),
            Err(NotTaken::Signature)
        );
    }
}
