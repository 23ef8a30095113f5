//! The v2 file tree (BEP 52).

use super::{PathBudget, attributes, file, length, symlink};
use crate::error::Error;
use crate::layout::File;
use crate::merkle::Hash;
use crate::path::{MAX_DEPTH, clean_part_or_underscore};
use crate::text::Charset;
use alloc::boxed::Box;
use alloc::string::String;
use alloc::vec;
use alloc::vec::Vec;
use bencode::Dict;

/// The files in the order of the tree, with paths below `name`.
///
/// A v2 torrent of a single file and one of a folder that holds a single file look alike. Makers of
/// single-file torrents give the file the name of the torrent, so that is what tells them apart.
pub(super) fn files(info: Dict<'_, '_>, name: &str) -> Result<Vec<File>, Error> {
    let tree = info.dict("file tree").ok_or(Error::FileTree)?;
    let single = info.get("files").is_none() && tree.len() == 1;
    let mut files = Vec::new();
    let mut budget = PathBudget::new();
    // Folders that are being read, outermost first, each with its path. The depth of the tree is in the
    // data's hands, so it must not be in the call stack's.
    let mut open = vec![(tree.iter(), String::from(name))];
    while let Some((entries, folder)) = open.last_mut() {
        let Some((key, value)) = entries.next() else {
            open.pop();
            continue;
        };
        let entry = value.as_dict().filter(|_| !key.is_empty()).ok_or(Error::FileTree)?;
        let at_top = single && folder.len() == name.len();
        let leaf = entry.get("").filter(|_| entry.len() == 1);
        let part = clean_part_or_underscore(key);
        budget.spend(folder.len().saturating_add(part.len()).saturating_add(1))?;
        let alone = at_top && leaf.is_some() && part == name;
        let path = if alone { part } else { alloc::format!("{folder}/{part}") };
        match leaf {
            Some(leaf) => {
                let file = listed(leaf.as_dict().ok_or(Error::FileTree)?, path, name)?;
                budget.spend(file.symlink.as_ref().map_or(0, |target| target.as_str().len()))?;
                files.push(file);
            }
            None if open.len() >= MAX_DEPTH => return Err(Error::TooDeep { max: MAX_DEPTH }),
            None => open.push((entry.iter(), path)),
        }
    }
    super::v1::resolve_links(&mut files, name);
    Ok(files)
}

fn listed(entry: Dict<'_, '_>, path: String, root: &str) -> Result<File, Error> {
    let mut attributes = attributes(entry);
    if attributes.pad {
        return Err(Error::PadFile);
    }
    let length = length(entry, attributes)?;
    let link = if attributes.symlink { symlink(entry, root, Charset::default())? } else { None };
    attributes.symlink = link.is_some();
    let root = if length > 0 { Some(pieces_root(entry)?) } else { None };
    Ok(File { symlink: link, root, ..file(path, length, attributes) })
}

fn pieces_root(entry: Dict<'_, '_>) -> Result<Box<Hash>, Error> {
    let root = entry.bytes("pieces root").and_then(|bytes| Hash::try_from(bytes).ok());
    root.filter(|root| *root != [0; 32]).map(Box::new).ok_or(Error::PiecesRoot)
}
