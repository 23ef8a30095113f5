//! From flags to what the libraries take.

use std::collections::BTreeSet;
use std::num::NonZeroUsize;

use anyhow::Result;
use glob::{MatchOptions, Pattern};
use metainfo::{FilePath, Torrent, Version};
use storage::{Progress, ScanOptions};
use swarm::session::{Bootstrap, Selection};

use crate::exit::{Exit, failure};
use crate::flags::Create;
use crate::flags::values as flags;
use crate::output::json::stored_files;
use crate::stop::Stop;

/// How to hash: on how many threads, whom to tell, and when to stop.
pub(crate) fn scan<'a>(
    threads: Option<NonZeroUsize>,
    stop: &'a Stop,
    progress: &'a (dyn Fn(Progress) + Sync),
) -> ScanOptions<'a> {
    let default = ScanOptions::default();
    ScanOptions {
        threads: threads.map_or(default.threads, NonZeroUsize::get),
        cancel: Some(stop.flag()),
        progress: Some(progress),
        ..default
    }
}

/// Whom to ask for nodes of the DHT: those that were named, or the public ones.
pub(crate) fn bootstrap(named: &[flags::HostPort]) -> Bootstrap {
    match named {
        [] => Bootstrap::Public,
        named => Bootstrap::Nodes(named.iter().map(|node| (node.host.clone(), node.port)).collect()),
    }
}

/// Which kind of torrent to make.
pub(crate) fn version(args: &Create) -> Version {
    match (args.v1, args.v2, args.hybrid) {
        (true, ..) | (.., false, false) => Version::V1,
        (_, true, _) => Version::V2,
        (_, _, true) => Version::Hybrid,
    }
}

/// The files that were chosen.
pub(crate) fn selection(chosen: &[flags::Selection], torrent: &Torrent) -> Result<Selection> {
    if chosen.is_empty() {
        return Ok(Selection::All);
    }
    let mut wanted = BTreeSet::new();
    for choice in chosen {
        let before = wanted.len();
        match choice {
            flags::Selection::Indices(ranges) => {
                let count = torrent.layout().files().len();
                if let Some((_, last)) = ranges.iter().find(|(_, last)| *last >= count) {
                    let text = format!("--select {last}: expected an index below {count}; --list shows them");
                    return Err(failure(Exit::Usage, text));
                }
                wanted.extend(ranges.iter().flat_map(|(first, last)| *first..=*last));
            }
            flags::Selection::Glob(glob) => {
                wanted.extend(matching(glob, torrent)?);
                if wanted.len() == before {
                    let text = format!("--select {glob:?} matches no further file; --list shows them");
                    return Err(failure(Exit::Usage, text));
                }
            }
        }
    }
    Ok(Selection::Files(wanted.into_iter().collect()))
}

/// The files whose path matches, with or without the folder that is named as the torrent; a glob without a slash
/// matches the last part too.
fn matching(glob: &str, torrent: &Torrent) -> Result<Vec<usize>> {
    let wrong = |error: glob::PatternError| failure(Exit::Usage, format!("--select {glob:?}: {error}"));
    let pattern = Pattern::new(glob).map_err(wrong)?;
    let options = MatchOptions { require_literal_separator: true, ..MatchOptions::new() };
    let has_match = |path: &FilePath| {
        let below = path.as_str().split_once('/').map_or(path.as_str(), |(_, below)| below);
        [path.as_str(), below, path.name()].iter().any(|text| pattern.matches_with(text, options))
    };
    Ok(stored_files(torrent).filter(|(_, file)| has_match(&file.path)).map(|(index, _)| index).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use metainfo::Builder;

    fn chosen(words: &[&str]) -> std::result::Result<Selection, String> {
        let builder = ["a.flac", "b.flac", "cover.jpg"]
            .iter()
            .fold(Builder::folder("album"), |b, name| b.file([*name], 3));
        let mut feed = builder.file(["more", "c.flac"], 3).prepare().unwrap().feed();
        feed.update(b"aaabbbcccddd");
        let torrent = Torrent::parse(&feed.finish().unwrap()).unwrap();
        let chosen: Vec<flags::Selection> = words.iter().map(|word| word.parse().unwrap()).collect();
        selection(&chosen, &torrent).map_err(|error| error.to_string())
    }

    #[test]
    fn files_are_chosen_by_index_and_by_glob() {
        let files = |list: &[usize]| Ok(Selection::Files(list.to_vec()));
        assert_eq!(chosen(&[]), Ok(Selection::All));
        assert_eq!(chosen(&["0,2-3"]), files(&[0, 2, 3]));
        assert_eq!(chosen(&["*.flac"]), files(&[0, 1, 3]));
        assert_eq!(chosen(&["more/*"]), files(&[3]));
        assert_eq!(chosen(&["album/*.jpg", "1"]), files(&[1, 2]));
        assert!(chosen(&["4"]).unwrap_err().contains("below 4"));
        assert!(chosen(&["*.mp3"]).unwrap_err().contains("matches no"));
        assert!(chosen(&["[a"]).unwrap_err().contains("--select"));
    }
}
