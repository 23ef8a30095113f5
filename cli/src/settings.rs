//! From flags to what the libraries take.

use std::collections::BTreeSet;
use std::num::NonZeroUsize;

use anyhow::Result;
use glob::{MatchOptions, Pattern};
use metainfo::{FilePath, Torrent, Version};
use storage::{Allocation, LinkMode, Progress, ScanOptions};
use swarm::session::{Bootstrap, PieceOrder, Placing, Priority, Selection};

use crate::exit::{Exit, failure};
use crate::flags::values as flags;
use crate::flags::{Create, Link, Preallocate};
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

/// Which files were chosen, and how much they are wanted.
#[derive(Clone, Debug, Default)]
pub(crate) struct Chosen {
    pub(crate) select: Vec<flags::Selection>,
    pub(crate) priority: Vec<flags::Priority>,
}

impl Chosen {
    pub(crate) fn is_empty(&self) -> bool {
        self.select.is_empty() && self.priority.is_empty()
    }

    /// What that means for a torrent. Without --select, what `usual` says of a file counts.
    pub(crate) fn of(&self, torrent: &Torrent, usual: impl Fn(usize) -> bool) -> Result<Selection> {
        let selected = selection(&self.select, torrent)?;
        let count = torrent.layout().files().len();
        let mut is_selected = vec![!matches!(selected, Selection::Files(_)); count];
        if let Selection::Files(files) = &selected {
            files.iter().for_each(|file| is_selected[*file] = true);
        }
        let is_wanted = |file: usize| is_selected[file] && (!self.select.is_empty() || usual(file));
        if self.priority.is_empty() && (0..count).all(is_wanted) {
            return Ok(selected);
        }
        let wanted = |file| if is_wanted(file) { Priority::Normal } else { Priority::Skip };
        let mut priorities: Vec<_> = (0..count).map(wanted).collect();
        for flags::Priority { files, level } in &self.priority {
            for file in named("--priority", files, torrent)?.into_iter().filter(|file| is_wanted(*file)) {
                priorities[file] = *level;
            }
        }
        if stored_files(torrent).all(|(file, _)| priorities[file] == Priority::Skip) {
            return Err(failure(Exit::Usage, "--select and --priority leave no file to download"));
        }
        Ok(Selection::Ranked(priorities))
    }
}

/// The files that were chosen.
fn selection(chosen: &[flags::Selection], torrent: &Torrent) -> Result<Selection> {
    if chosen.is_empty() {
        return Ok(Selection::All);
    }
    let mut wanted = BTreeSet::new();
    for choice in chosen {
        let before = wanted.len();
        wanted.extend(named("--select", choice, torrent)?);
        if let flags::Selection::Glob(glob) = choice
            && wanted.len() == before
        {
            let text = format!("--select {glob:?} matches no further file; --list shows them");
            return Err(failure(Exit::Usage, text));
        }
    }
    Ok(Selection::Files(wanted.into_iter().collect()))
}

/// The files that a flag names.
fn named(flag: &str, files: &flags::Selection, torrent: &Torrent) -> Result<Vec<usize>> {
    match files {
        flags::Selection::Indices(ranges) => {
            let count = torrent.layout().files().len();
            if let Some((_, last)) = ranges.iter().find(|(_, last)| *last >= count) {
                let text = format!("{flag} {last}: expected an index below {count}; --list shows them");
                return Err(failure(Exit::Usage, text));
            }
            Ok(ranges.iter().flat_map(|(first, last)| *first..=*last).collect())
        }
        flags::Selection::Glob(glob) => {
            let found = matching(flag, glob, torrent)?;
            if found.is_empty() {
                let text = format!("{flag} {glob:?} matches no file; --list shows them");
                return Err(failure(Exit::Usage, text));
            }
            Ok(found)
        }
    }
}

/// In which order pieces are fetched.
pub(crate) fn order(order: flags::Order) -> PieceOrder {
    match order {
        flags::Order::Rarest => PieceOrder::Rarest,
        flags::Order::Sequential => PieceOrder::Sequential,
        flags::Order::FirstLast => PieceOrder::FirstLast,
    }
}

/// When files take room.
pub(crate) const fn allocation(when: Preallocate) -> Allocation {
    match when {
        Preallocate::None => Allocation::None,
        Preallocate::Sparse => Allocation::Sparse,
        Preallocate::Full => Allocation::Full,
    }
}

/// Where files lie until they are complete, and what is done with them then.
pub(crate) fn placing(flags: &crate::flags::Placing) -> Placing {
    Placing {
        suffix: flags.incomplete_suffix.clone(),
        incomplete: flags.incomplete_dir.clone(),
        link_to: flags.link_to.clone(),
        link: match flags.link {
            Link::Auto => LinkMode::Auto,
            Link::Hard => LinkMode::Hard,
            Link::Reflink => LinkMode::Reflink,
            Link::Copy => LinkMode::Copy,
        },
        reuse: flags.reuse.clone(),
    }
}

/// The files whose path matches, with or without the folder that is named as the torrent; a glob without a slash
/// matches the last part too.
fn matching(flag: &str, glob: &str, torrent: &Torrent) -> Result<Vec<usize>> {
    let wrong = |error: glob::PatternError| failure(Exit::Usage, format!("{flag} {glob:?}: {error}"));
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
        ranked(words, &[])
    }

    fn ranked(words: &[&str], priorities: &[&str]) -> std::result::Result<Selection, String> {
        let builder = ["a.flac", "b.flac", "cover.jpg"]
            .iter()
            .fold(Builder::folder("album"), |b, name| b.file([*name], 3));
        let mut feed = builder.file(["more", "c.flac"], 3).prepare().unwrap().feed();
        feed.update(b"aaabbbcccddd");
        let torrent = Torrent::parse(&feed.finish().unwrap()).unwrap();
        let chosen = Chosen {
            select: words.iter().map(|word| word.parse().unwrap()).collect(),
            priority: priorities.iter().map(|word| word.parse().unwrap()).collect(),
        };
        chosen.of(&torrent, |_| true).map_err(|error| error.to_string())
    }

    #[test]
    fn files_are_chosen_by_index_and_by_glob() {
        use Priority::{Normal, Skip};
        let files = |list: &[usize]| {
            let wanted = |file| if list.contains(&file) { Normal } else { Skip };
            Ok(Selection::Ranked((0..4).map(wanted).collect()))
        };
        assert_eq!(chosen(&[]), Ok(Selection::All));
        assert_eq!(chosen(&["0,2-3"]), files(&[0, 2, 3]));
        assert_eq!(chosen(&["*.flac"]), files(&[0, 1, 3]));
        assert_eq!(chosen(&["more/*"]), files(&[3]));
        assert_eq!(chosen(&["album/*.jpg", "1"]), files(&[1, 2]));
        assert!(chosen(&["4"]).unwrap_err().contains("below 4"));
        assert!(chosen(&["*.mp3"]).unwrap_err().contains("matches no"));
        assert!(chosen(&["[a"]).unwrap_err().contains("--select"));
    }

    #[test]
    fn files_are_ranked_and_the_last_word_counts() {
        use Priority::{High, Low, Normal, Skip};
        let ranks = |ranks: [Priority; 4]| Ok(Selection::Ranked(ranks.to_vec()));
        assert_eq!(ranked(&[], &["*.flac=low", "0=high"]), ranks([High, Low, Normal, Low]));
        assert_eq!(ranked(&["*.flac"], &["*=high", "1=skip"]), ranks([High, Skip, Skip, High]));
        assert!(ranked(&[], &["*.mp3=low"]).unwrap_err().contains("matches no file"));
        assert!(ranked(&[], &["9=low"]).unwrap_err().contains("below 4"));
        assert!(ranked(&[], &["*=skip"]).unwrap_err().contains("no file"));
    }
}
