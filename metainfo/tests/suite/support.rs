//! A bencode writer that also writes what is wrong, and the torrents that cases start from.

use metainfo::merkle;

/// A value to be written as it stands.
#[derive(Clone)]
pub(crate) enum V {
    Int(i64),
    Bytes(Vec<u8>),
    List(Vec<V>),
    /// Written in order of keys.
    Dict(Vec<(Vec<u8>, V)>),
    /// Already encoded.
    Raw(Vec<u8>),
}

impl From<i64> for V {
    fn from(n: i64) -> Self {
        V::Int(n)
    }
}

impl From<&str> for V {
    fn from(text: &str) -> Self {
        V::Bytes(text.into())
    }
}

impl From<&[u8]> for V {
    fn from(bytes: &[u8]) -> Self {
        V::Bytes(bytes.into())
    }
}

impl<const N: usize> From<[u8; N]> for V {
    fn from(bytes: [u8; N]) -> Self {
        V::Bytes(bytes.into())
    }
}

impl From<Vec<V>> for V {
    fn from(items: Vec<V>) -> Self {
        V::List(items)
    }
}

/// A list of texts.
pub(crate) fn list(items: &[&str]) -> V {
    V::List(items.iter().map(|&text| text.into()).collect())
}

/// A dictionary.
pub(crate) fn dict<const N: usize>(entries: [(&str, V); N]) -> V {
    V::Dict(entries.into_iter().map(|(key, value)| (key.into(), value)).collect())
}

impl V {
    /// The same dictionary with one key set.
    pub(crate) fn with(mut self, key: impl AsRef<[u8]>, value: impl Into<V>) -> V {
        let V::Dict(entries) = &mut self else { panic!("no dictionary") };
        entries.retain(|entry| entry.0 != key.as_ref());
        entries.push((key.as_ref().into(), value.into()));
        self
    }

    /// The same dictionary without a key.
    pub(crate) fn without(mut self, key: &str) -> V {
        let V::Dict(entries) = &mut self else { panic!("no dictionary") };
        entries.retain(|entry| entry.0 != key.as_bytes());
        self
    }

    /// Bencoded, dictionaries in order.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        self.write(&mut out);
        out
    }

    fn write(&self, out: &mut Vec<u8>) {
        match self {
            V::Int(n) => out.extend(format!("i{n}e").bytes()),
            V::Bytes(bytes) => string(out, bytes),
            V::List(items) => {
                out.push(b'l');
                items.iter().for_each(|item| item.write(out));
                out.push(b'e');
            }
            V::Dict(entries) => {
                let mut entries: Vec<_> = entries.iter().collect();
                entries.sort_by_key(|entry| &entry.0);
                out.push(b'd');
                for (key, value) in entries {
                    string(out, key);
                    value.write(out);
                }
                out.push(b'e');
            }
            V::Raw(bytes) => out.extend(bytes),
        }
    }
}

fn string(out: &mut Vec<u8>, bytes: &[u8]) {
    out.extend(format!("{}:", bytes.len()).bytes());
    out.extend(bytes);
}

/// A torrent file of this info dictionary.
pub(crate) fn torrent(info: V) -> V {
    dict([("created by", "suite".into()), ("info", info)])
}

/// A v1 torrent of one file of 425 bytes.
pub(crate) fn single() -> V {
    dict([
        ("length", 425.into()),
        ("name", "temp".into()),
        ("piece length", 16384.into()),
        ("pieces", [7; 20].into()),
    ])
}

/// A v1 torrent of files in a folder `temp`, of one piece.
pub(crate) fn multi(files: Vec<V>) -> V {
    single().without("length").with("files", files)
}

/// An entry of `files`.
pub(crate) fn file(length: i64, path: &[&str]) -> V {
    dict([("length", length.into()), ("path", list(path))])
}

/// The files that many cases have.
pub(crate) fn foo_bar() -> V {
    multi(vec![file(425, &["foo", "bar.txt"]), file(425, &["foo", "var.txt"])])
}

/// A piece layer of made-up hashes, and the root of its file.
pub(crate) fn layer(pieces: usize, piece_length: u32, seed: u8) -> (merkle::Hash, Vec<u8>) {
    let hashes: Vec<merkle::Hash> =
        (0..pieces).map(|i| merkle::leaf(&[&i.to_be_bytes()[..], &[seed]].concat())).collect();
    (merkle::file_root(&hashes, piece_length / 16384), hashes.concat())
}

/// The entry of a file in a file tree.
pub(crate) fn leaf(length: i64, root: impl Into<V>) -> V {
    dict([("", dict([("length", length.into()), ("pieces root", root.into())]))])
}

/// A v2 info dictionary with this file tree.
pub(crate) fn tree(piece_length: i64, tree: V) -> V {
    dict([
        ("file tree", tree),
        ("meta version", 2.into()),
        ("name", "test".into()),
        ("piece length", piece_length.into()),
    ])
}

pub(crate) const MIB: i64 = 1 << 20;

/// A v2 torrent of one file of 1 MiB in 16 pieces, with its piece layer.
pub(crate) fn v2_single() -> V {
    let (root, hashes) = layer(16, 65536, 1);
    let info = tree(65536, dict([("test1MB", leaf(MIB, root))])).with("name", "test1MB");
    torrent(info).with("piece layers", V::Dict(vec![(root.into(), hashes.as_slice().into())]))
}

/// The v2 torrent of one file with this as the only entry of its piece layers.
pub(crate) fn with_layer(key: &[u8], value: impl Into<V>) -> V {
    v2_single().with("piece layers", V::Dict(vec![(key.into(), value.into())]))
}

/// The torrent with another info dictionary, made from the one it has.
pub(crate) fn map_info(mut torrent: V, change: impl FnOnce(V) -> V) -> V {
    let V::Dict(entries) = &mut torrent else { panic!("no dictionary") };
    let info = entries.iter_mut().find(|entry| entry.0 == b"info").expect("an info dictionary");
    info.1 = change(info.1.clone());
    torrent
}

/// Bytes that look like nothing in particular, the same every time.
pub(crate) fn bytes(len: usize, seed: usize) -> Vec<u8> {
    (0..len).map(|i| ((i * 131 + seed * 17 + (i >> 8) * 7) & 0xff) as u8).collect()
}
