//! The v1 file list: `files`, or `length` of a single file (BEP 3, attributes of BEP 47).

use super::{PathBudget, attributes, file, join, length, part, symlink};
use crate::error::{Error, Part};
use crate::layout::{Attributes, File};
use crate::text::{self, Charset};
use alloc::string::String;
use alloc::vec;
use alloc::vec::Vec;
use bencode::Dict;

/// How BitComet marks the pad files that it made before BEP 47.
const BITCOMET_PAD: &[u8] = b"_____padding_file_";

/// The files in order, with paths below `name`.
pub(super) fn files(info: Dict<'_, '_>, name: &str, charset: Charset) -> Result<Vec<File>, Error> {
    let Some(list) = info.get("files") else {
        return single(info, name);
    };
    let list = list.as_list().ok_or(Error::NotDictionary(Part::Files))?;
    let mut files = Vec::with_capacity(list.len());
    let mut budget = PathBudget::new();
    for entry in list {
        let entry = entry.as_dict().ok_or(Error::NotDictionary(Part::File))?;
        let file = listed(entry, name, charset)?;
        budget.spend(file.path.as_str().len())?;
        budget.spend(file.symlink.as_ref().map_or(0, |target| target.as_str().len()))?;
        files.push(file);
    }
    resolve_links(&mut files, name);
    Ok(files)
}

fn single(info: Dict<'_, '_>, name: &str) -> Result<Vec<File>, Error> {
    let attributes = Attributes { symlink: false, pad: false, ..attributes(info) };
    Ok(vec![file(String::from(name), length(info, attributes)?, attributes)])
}

fn listed(entry: Dict<'_, '_>, root: &str, charset: Charset) -> Result<File, Error> {
    let mut attributes = attributes(entry);
    let length = length(entry, attributes)?;
    let parts = entry.list("path.utf-8").or_else(|| entry.list("path")).filter(|parts| !parts.is_empty());
    let path = match parts {
        Some(parts) => {
            let name = parts.iter().last().and_then(|part| part.as_bytes()).unwrap_or_default();
            attributes.pad |= name.starts_with(BITCOMET_PAD);
            join(root, parts, |raw| Some(part(raw, charset)))?
        }
        // Pad files may come without a path (BEP 47); this is the one it recommends.
        None if attributes.pad => {
            let mut path = String::from(root);
            path.push_str("/.pad/");
            path.push_str(text::decimal(length, &mut [0; 20]));
            path
        }
        None => return Err(Error::MissingName),
    };
    let link = if attributes.symlink { symlink(entry, root, charset)? } else { None };
    attributes.symlink = link.is_some();
    Ok(File { symlink: link, ..file(path, length, attributes) })
}

/// Old torrents give targets relative to the link instead of to the torrent: those are found by looking.
pub(super) fn resolve_links(files: &mut [File], root: &str) {
    if !files.iter().any(|file| file.attributes.symlink) {
        return;
    }
    let mut paths: Vec<String> = files.iter().map(|file| file.path.as_str().into()).collect();
    paths.sort_unstable();
    let exists = |path: &str| {
        let at = paths.partition_point(|p| p.as_str() < path);
        let mut folder = String::from(path);
        folder.push('/');
        let inside = paths.partition_point(|p| *p < folder);
        paths.get(at).is_some_and(|p| p == path) || paths.get(inside).is_some_and(|p| p.starts_with(&folder))
    };
    for file in files {
        let Some(target) = &file.symlink else { continue };
        if exists(target.as_str()) {
            continue;
        }
        let path = file.path.as_str();
        let folder = path.rfind('/').and_then(|at| path.get(..at)).unwrap_or(root);
        let relative = target.as_str().get(root.len()..).unwrap_or_default();
        let mut candidate = String::from(folder);
        candidate.push_str(relative);
        if exists(&candidate) {
            file.symlink = Some(crate::layout::FilePath::new(candidate));
        }
    }
}
