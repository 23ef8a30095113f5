//! Changing what lies around the info dictionary of a torrent file.
#![cfg_attr(
    not(test),
    deny(clippy::indexing_slicing, clippy::unwrap_used, clippy::expect_used, clippy::as_conversions)
)]

use crate::build::{node_list, tier_list, url_list};
use crate::error::Error;
use crate::magnet::Magnet;
use crate::merkle::Hash;
use crate::parse;
use crate::torrent::{Torrent, check_size, options};
use alloc::borrow::Cow;
use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::vec::Vec;
use bencode::{Encoder, ListEncoder};

/// A torrent file whose trackers, seeds and remarks can be changed. The info dictionary is copied byte for
/// byte, so that the info-hash stays; so is every key that is not touched, known or not.
///
/// ```
/// # let mut feed = metainfo::Builder::single("f", 1).prepare()?.feed();
/// # feed.update(b"x");
/// # let file = feed.finish()?;
/// use metainfo::{Edit, Torrent};
///
/// let mut edit = Edit::new(&file)?;
/// edit.set_trackers(&[vec!["http://tracker.example/announce".into()]]);
/// edit.set_comment(Some("moved"));
/// let edited = edit.finish()?;
/// assert_eq!(Torrent::parse(&edited)?.id(), Torrent::parse(&file)?.id());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct Edit<'a> {
    /// Every value as it is spelt.
    entries: BTreeMap<Cow<'a, [u8]>, Cow<'a, [u8]>>,
}

impl<'a> Edit<'a> {
    /// Starts from a torrent file, which must be one that [`Torrent::parse`] accepts. Of a key that is given
    /// twice outside of the info dictionary the first is kept, which is the one that is read.
    ///
    /// # Errors
    /// As [`Torrent::parse`].
    pub fn new(torrent: &'a [u8]) -> Result<Self, Error> {
        Torrent::parse(torrent)?;
        let (document, _) = options().decode_prefix(torrent)?;
        let mut entries = BTreeMap::new();
        for (key, value) in parse::root(&document)? {
            entries.entry(Cow::Borrowed(key)).or_insert(Cow::Borrowed(value.raw()));
        }
        Ok(Self { entries })
    }

    /// Starts from an info dictionary alone, as it is got by a magnet (BEP 9).
    ///
    /// # Errors
    /// As [`Torrent::from_info`].
    pub fn from_info(info: &'a [u8]) -> Result<Self, Error> {
        Torrent::from_info(info)?;
        Ok(Self { entries: BTreeMap::from([(Cow::Borrowed(b"info".as_slice()), Cow::Borrowed(info))]) })
    }

    /// Takes over the trackers and web seeds of a magnet, each tracker in a tier of its own.
    pub fn set_from_magnet(&mut self, magnet: &Magnet) {
        let tiers: Vec<Vec<String>> = magnet.trackers.iter().map(|url| Vec::from([url.clone()])).collect();
        self.set_trackers(&tiers);
        self.set_web_seeds(&magnet.web_seeds);
    }

    /// All trackers, in tiers (`announce` and `announce-list`, BEP 12); none removes both keys.
    pub fn set_trackers(&mut self, tiers: &[Vec<String>]) {
        let mut urls = tiers.iter().flatten();
        let first = urls.next();
        self.set_text("announce", first.map(String::as_str));
        self.set_list("announce-list", urls.next().is_some(), |l| tier_list(l, tiers));
    }

    /// All web seeds (`url-list`, BEP 19).
    pub fn set_web_seeds(&mut self, urls: &[String]) {
        self.set_list("url-list", !urls.is_empty(), |l| url_list(l, urls));
    }

    /// All seeds of the older kind (`httpseeds`, BEP 17).
    pub fn set_http_seeds(&mut self, urls: &[String]) {
        self.set_list("httpseeds", !urls.is_empty(), |l| url_list(l, urls));
    }

    /// All DHT nodes, as host and port (`nodes`, BEP 5).
    pub fn set_nodes(&mut self, nodes: &[(String, u16)]) {
        self.set_list("nodes", !nodes.is_empty(), |l| node_list(l, nodes));
    }

    /// The remark, or none.
    pub fn set_comment(&mut self, comment: Option<&str>) {
        self.remove("comment.utf-8");
        self.set_text("comment", comment);
    }

    /// The program that made it, or none.
    pub fn set_created_by(&mut self, program: Option<&str>) {
        self.remove("created by.utf-8");
        self.set_text("created by", program);
    }

    /// When it was made, in seconds since 1970, or never.
    pub fn set_creation_date(&mut self, seconds: Option<u64>) {
        match seconds {
            Some(seconds) => self.set("creation date", |encoder| encoder.int(seconds)),
            None => self.remove("creation date"),
        }
    }

    /// All piece layers, each with the root of its files (`piece layers`, BEP 52); none removes the key. They are not checked
    /// here: [`Torrent::parse`] does.
    pub fn set_piece_layers<'l>(&mut self, layers: impl IntoIterator<Item = (&'l Hash, &'l [Hash])>) {
        let layers: BTreeMap<&Hash, &[Hash]> = layers.into_iter().collect();
        if layers.is_empty() {
            return self.remove("piece layers");
        }
        self.set("piece layers", |encoder| {
            encoder.dict(|d| {
                for (root, layer) in layers {
                    d.bytes(root, layer.as_flattened());
                }
            });
        });
    }

    /// Removes a key outside of the info dictionary; `info` itself stays.
    pub fn remove(&mut self, key: &str) {
        if key != "info" {
            self.entries.remove(key.as_bytes());
        }
    }

    /// The changed torrent file.
    ///
    /// # Errors
    /// When it has become too large.
    pub fn finish(self) -> Result<Vec<u8>, Error> {
        let mut out = Vec::new();
        let mut encoder = Encoder::new(&mut out);
        encoder.dict(|d| {
            for (key, value) in &self.entries {
                d.raw(key, value);
            }
        });
        // The keys of a map are different, and each value was decoded or encoded before.
        let _ = encoder.finish();
        check_size(&out)?;
        Ok(out)
    }

    fn set_text(&mut self, key: &'static str, text: Option<&str>) {
        match text {
            Some(text) => self.set(key, |encoder| encoder.bytes(text)),
            None => self.remove(key),
        }
    }

    fn set_list(&mut self, key: &'static str, keep: bool, write: impl FnOnce(&mut ListEncoder<'_, '_>)) {
        if keep {
            self.set(key, |encoder| encoder.list(write));
        } else {
            self.remove(key);
        }
    }

    fn set(&mut self, key: &'static str, write: impl FnOnce(&mut Encoder<'_>)) {
        let mut value = Vec::new();
        let mut encoder = Encoder::new(&mut value);
        write(&mut encoder);
        // No dictionary that is set has keys that clash: those of layers come out of a map.
        let _ = encoder.finish();
        self.entries.insert(Cow::Borrowed(key.as_bytes()), Cow::Owned(value));
    }
}
