//! Stored items.

use std::fs;
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use anyhow::Result;
use serde::Serialize;
use swarm::engine::dht::{Id, Mutable, PutMutable, target_of_mutable, validate_item};
use swarm::session::{Dht, DhtError};

use super::peers::stored;
use super::{Shown, hex};
use crate::exit::{Exit, failure, of_io};
use crate::flags::values::Key;
use crate::flags::{DhtGet, DhtPut};
use crate::output::human::{count, plain};

/// The longest item, bencoded.
const MAX_VALUE: u64 = 1000;

#[derive(Serialize)]
struct ItemJson {
    target: String,
    /// If it is a text.
    text: Option<String>,
    /// The bencoded value in hexadecimal digits.
    bencoded: Option<String>,
    key: Option<String>,
    salt: Option<String>,
    seq: Option<i64>,
    /// Nodes that stored it.
    stored: Option<u32>,
    /// The version that is stored instead of the one that was expected.
    #[serde(skip_serializing_if = "Option::is_none")]
    conflict: Option<i64>,
}

impl ItemJson {
    fn new(target: Id, value: Option<&[u8]>) -> Self {
        Self {
            target: hex(&target.0),
            text: value.and_then(text),
            bencoded: value.map(hex),
            key: None,
            salt: None,
            seq: None,
            stored: None,
            conflict: None,
        }
    }

    fn of_key(self, key: &[u8; 32], salt: &str, seq: Option<i64>) -> Self {
        Self { key: Some(hex(key)), salt: Some(salt.to_owned()), seq, ..self }
    }
}

pub(super) async fn get(dht: &Dht, get: &DhtGet, shown: &Shown<'_>) -> Result<Exit> {
    let (json, asked) = match (&get.key, &get.target) {
        (Some(Key(key)), _) => {
            let asked = dht.get_mutable(*key, get.salt.clone().into_bytes()).await;
            let found = asked.as_ref().ok().and_then(Option::as_ref);
            let target = target_of_mutable(key, get.salt.as_bytes());
            let json = ItemJson::new(target, found.map(|item| item.value.as_slice()));
            (
                json.of_key(key, &get.salt, found.map(|item| item.seq)),
                asked.map(|item| item.map(|item| item.value)),
            )
        }
        (None, Some(target)) => {
            let asked = dht.get(target.0).await;
            (ItemJson::new(target.0, asked.as_ref().ok().and_then(Option::as_deref)), asked)
        }
        (None, None) => return Err(failure(Exit::Usage, "name a target or a --key")),
    };
    let value = asked.as_ref().ok().and_then(Option::as_deref);
    shown.result(&json, &value.map(|value| format!("{}\n", readable(value))).unwrap_or_default())?;
    match asked {
        Ok(Some(_)) => Ok(Exit::Done),
        Ok(None) => Err(failure(Exit::Failed, format!("no node has an item at {}", json.target))),
        Err(DhtError::Unanswered) => Err(shown.unreachable()),
        Err(error) => Err(error.into()),
    }
}

/// What is to be stored. It was looked at before anybody is waited for.
pub(super) struct Draft<'a> {
    put: &'a DhtPut,
    value: Vec<u8>,
    secret: Option<[u8; 32]>,
}

impl<'a> Draft<'a> {
    /// Reads the value and the key, and refuses what no node stores.
    pub(super) fn read(put: &'a DhtPut) -> Result<Self> {
        let value = value(put)?;
        validate_item(put.salt.as_bytes(), &value).map_err(|error| refused(error.into()))?;
        let secret = put.secret.as_deref().map(secret).transpose()?;
        Ok(Self { put, value, secret })
    }
}

pub(super) async fn put(dht: &Dht, draft: Draft<'_>, shown: &Shown<'_>) -> Result<Exit> {
    let Draft { put, value, secret } = draft;
    let Some(secret) = secret else {
        let (target, stats) = dht.put(value.clone()).await.map_err(refused)?;
        let json = ItemJson { stored: Some(stats.stored), ..ItemJson::new(target, Some(&value)) };
        if stats.stored > 0 || shown.is_json {
            shown.result(&json, &format!("{}\n", json.target))?;
        }
        return told(shown, stored(&stats, shown)?, stats.stored, "");
    };
    let (key, salt) = (Mutable::public_key(&secret), put.salt.clone().into_bytes());
    let target = target_of_mutable(&key, &salt);
    let new = PutMutable { secret, salt, value: value.clone(), cas: put.cas };
    let stats = dht.put_mutable(new).await.map_err(refused)?;
    let json = ItemJson::new(target, Some(&value)).of_key(&key, &put.salt, stats.seq);
    let json = ItemJson { stored: Some(stats.stored), conflict: stats.conflict, ..json };
    if let Some(seq) = stats.conflict {
        if shown.is_json {
            shown.console.json(&json)?;
        }
        let text = format!("version {seq} is stored, not the one that --cas expects; get it and try again");
        return Err(failure(Exit::Failed, text));
    }
    if stats.stored > 0 || shown.is_json {
        let seq = stats.seq.map(|seq| format!("  version {seq}")).unwrap_or_default();
        shown.result(&json, &format!("{}{seq}\n", hex(&key)))?;
    }
    let salt = if put.salt.is_empty() { String::new() } else { " and its --salt".to_owned() };
    told(shown, stored(&stats, shown)?, stats.stored, &format!("; get --key with this key{salt} reads it"))
}

/// Says at how many nodes it is.
fn told(shown: &Shown<'_>, exit: Exit, nodes: u32, more: &str) -> Result<Exit> {
    if !shown.is_json {
        shown.console.note(&format!("stored at {}{more}", count(u64::from(nodes), "node")));
    }
    Ok(exit)
}

fn refused(error: DhtError) -> anyhow::Error {
    match error {
        DhtError::NotTaken(_) => failure(Exit::Usage, error.to_string()),
        DhtError::Unanswered | DhtError::Unavailable(_) => error.into(),
    }
}

/// What is to be stored, bencoded.
fn value(put: &DhtPut) -> Result<Vec<u8>> {
    let bytes = if put.value == "-" {
        let mut bytes = Vec::new();
        io::stdin().lock().take(MAX_VALUE + 1).read_to_end(&mut bytes)?;
        bytes
    } else {
        put.value.clone().into_bytes()
    };
    if put.bencoded { Ok(bytes) } else { Ok(bencode::encode(|e| e.bytes(&bytes))?) }
}

/// The secret key in a file, which is made if it is not there.
fn secret(path: &Path) -> Result<[u8; 32]> {
    let cannot = |error: &io::Error| failure(of_io(error), format!("{}: {error}", path.display()));
    match fs::read_to_string(path) {
        Ok(text) => match text.trim().parse() {
            Ok(Key(secret)) => Ok(secret),
            Err(_) => {
                let text = format!("{}: expected a key of 64 hexadecimal digits", path.display());
                Err(failure(Exit::Usage, text))
            }
        },
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let secret = swarm::session::fresh_secret()?;
            let made = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
            made.and_then(|mut file| writeln!(file, "{}", hex(&secret))).map_err(|error| cannot(&error))?;
            Ok(secret)
        }
        Err(error) => Err(cannot(&error)),
    }
}

/// The text of a bencoded string, if it is one.
fn text(value: &[u8]) -> Option<String> {
    let document = bencode::decode(value).ok()?;
    document.root().as_str().map(str::to_owned)
}

/// A value for people: a text as it is, without what a terminal would obey; anything else bencoded.
fn readable(value: &[u8]) -> String {
    match text(value) {
        Some(text) => text.lines().map(plain).collect::<Vec<_>>().join("\n"),
        None => value.escape_ascii().to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_shown_as_they_are_and_other_values_bencoded() {
        assert_eq!(readable(b"5:hello"), "hello");
        assert_eq!(readable(b"6:a\nb\x1b[m"), "a\nb\u{fffd}[m");
        assert_eq!(readable(b"d1:ai1ee"), "d1:ai1ee");
        assert_eq!(readable(b"2:\xff\xfe"), "2:\\xff\\xfe");
    }

    #[test]
    fn a_secret_is_made_once_and_kept_from_others() {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("key");
        let made = secret(&path).unwrap();
        assert_eq!(secret(&path).unwrap(), made);
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        fs::write(&path, "short").unwrap();
        assert!(secret(&path).unwrap_err().to_string().contains("64 hexadecimal digits"));
    }
}
