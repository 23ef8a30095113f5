use super::{BuildError, Draft, Outer, Version};
use crate::layout::{Attributes, File};
use crate::merkle::Hash;
use crate::torrent::MAX_SIZE;
use alloc::collections::BTreeMap;
use alloc::string::{String, ToString};
use alloc::vec;
use alloc::vec::Vec;
use bencode::{DictEncoder, Encoder, ListEncoder};

/// Root and piece layer of each file of the layout that has them.
type Trees<'a> = [Option<(Hash, &'a [Hash])>];

/// The whole file.
pub(super) fn torrent(draft: &Draft, pieces: &[u8], trees: &Trees<'_>) -> Result<Vec<u8>, BuildError> {
    let info = info(draft, pieces, trees)?;
    let mut out = Vec::new();
    let mut encoder = Encoder::new(&mut out);
    encoder.dict(|d| {
        outer(d, &draft.builder.outer);
        d.raw("info", &info);
        if draft.version() != Version::V1 {
            // Files of equal content have one layer.
            let layers: BTreeMap<Hash, &[Hash]> =
                trees.iter().flatten().filter(|(_, layer)| !layer.is_empty()).copied().collect();
            d.dict("piece layers", |d| {
                for (root, layer) in layers {
                    d.bytes(root, layer.as_flattened());
                }
            });
        }
    });
    done(encoder, draft)?;
    if out.len() > MAX_SIZE {
        return Err(BuildError::TooLarge { size: out.len() });
    }
    Ok(out)
}

/// Keys that are equal would be the only fault of an encoding, and equal paths were refused before.
fn done(encoder: Encoder<'_>, draft: &Draft) -> Result<(), BuildError> {
    encoder.finish().map_err(|_| BuildError::Duplicate(draft.builder.name.clone()))
}

fn outer(d: &mut DictEncoder<'_, '_>, outer: &Outer) {
    if let Some(first) = outer.trackers.iter().flatten().next() {
        d.bytes("announce", first);
    }
    if outer.trackers.iter().flatten().nth(1).is_some() {
        d.list("announce-list", |l| tier_list(l, &outer.trackers));
    }
    if let Some(comment) = &outer.comment {
        d.bytes("comment", comment);
    }
    if let Some(program) = &outer.created_by {
        d.bytes("created by", program);
    }
    if let Some(date) = outer.creation_date {
        d.int("creation date", date);
    }
    if !outer.nodes.is_empty() {
        d.list("nodes", |l| node_list(l, &outer.nodes));
    }
    if !outer.web_seeds.is_empty() {
        d.list("url-list", |l| url_list(l, &outer.web_seeds));
    }
}

/// The list of `announce-list` (BEP 12).
pub(crate) fn tier_list(l: &mut ListEncoder<'_, '_>, tiers: &[Vec<String>]) {
    for tier in tiers.iter().filter(|tier| !tier.is_empty()) {
        l.list(|l| url_list(l, tier));
    }
}

/// A list of URLs.
pub(crate) fn url_list(l: &mut ListEncoder<'_, '_>, urls: &[String]) {
    urls.iter().for_each(|url| l.bytes(url));
}

/// The list of `nodes` (BEP 5).
pub(crate) fn node_list(l: &mut ListEncoder<'_, '_>, nodes: &[(String, u16)]) {
    for (host, port) in nodes {
        l.list(|l| {
            l.bytes(host);
            l.int(*port);
        });
    }
}

fn info(draft: &Draft, pieces: &[u8], trees: &Trees<'_>) -> Result<Vec<u8>, BuildError> {
    let tree = if draft.version() == Version::V1 { Vec::new() } else { file_tree(draft, trees) };
    let mut out = Vec::new();
    let mut encoder = Encoder::new(&mut out);
    encoder.dict(|d| {
        d.bytes("name", &draft.builder.name);
        d.int("piece length", draft.geometry.piece_length());
        if draft.builder.private {
            d.int("private", 1);
        }
        if let Some(source) = &draft.builder.source {
            d.bytes("source", source);
        }
        if draft.version() != Version::V1 {
            d.raw("file tree", &tree);
            d.int("meta version", 2);
        }
        if draft.version() != Version::V2 {
            d.bytes("pieces", pieces);
            v1_files(d, draft);
        }
    });
    done(encoder, draft)?;
    Ok(out)
}

fn v1_files(d: &mut DictEncoder<'_, '_>, draft: &Draft) {
    let files = draft.layout.files();
    if let (false, [file, ..]) = (draft.builder.is_multi, files) {
        attr(d, file.attributes);
        d.int("length", file.length);
        return;
    }
    d.list("files", |l| {
        for (index, file) in files.iter().enumerate() {
            l.dict(|d| {
                attr(d, file.attributes);
                d.int("length", file.length);
                d.list("path", |l| match draft.parts(index) {
                    Some(parts) => parts.iter().for_each(|part| l.bytes(part)),
                    None => {
                        l.bytes(".pad");
                        l.bytes(file.length.to_string());
                    }
                });
            });
        }
    });
}

/// The file tree, bencoded. Files are in the order of the tree, so it is written front to back: folders are
/// opened and closed as the paths ask for, however deep they are.
fn file_tree(draft: &Draft, trees: &Trees<'_>) -> Vec<u8> {
    let mut out = vec![b'd'];
    let mut open: &[String] = &[];
    for (index, file) in draft.layout.files().iter().enumerate() {
        let Some([folders @ .., name]) = draft.parts(index) else { continue };
        let shared = open.iter().zip(folders).take_while(|(a, b)| a == b).count();
        out.resize(out.len() + open.len() - shared, b'e');
        for folder in &folders[shared..] {
            key(&mut out, folder);
            out.push(b'd');
        }
        open = folders;
        key(&mut out, name);
        out.extend_from_slice(b"d0:");
        leaf(&mut out, file, trees.get(index).copied().flatten());
        out.push(b'e');
    }
    out.resize(out.len() + open.len() + 1, b'e');
    out
}

fn key(out: &mut Vec<u8>, key: &str) {
    out.extend_from_slice(key.len().to_string().as_bytes());
    out.push(b':');
    out.extend_from_slice(key.as_bytes());
}

fn leaf(out: &mut Vec<u8>, file: &File, tree: Option<(Hash, &[Hash])>) {
    let mut encoder = Encoder::new(out);
    encoder.dict(|d| {
        attr(d, file.attributes);
        d.int("length", file.length);
        if let Some((root, _)) = tree {
            d.bytes("pieces root", root);
        }
    });
    // Three different keys.
    let _ = encoder.finish();
}

fn attr(d: &mut DictEncoder<'_, '_>, attributes: Attributes) {
    let flags = [(attributes.hidden, 'h'), (attributes.pad, 'p'), (attributes.executable, 'x')];
    let letters: String = flags.into_iter().filter(|flag| flag.0).map(|flag| flag.1).collect();
    if !letters.is_empty() {
        d.bytes("attr", letters);
    }
}
