//! What was chosen for a torrent, in this run and before.

use metainfo::Magnet;
use storage::record::{Choices, Record, Source};

use super::placing;
use crate::session::event::Recalled;
use crate::session::magnet::{Choice, MagnetOptions, Noted};
use crate::session::options::{AddOptions, Placing};
use crate::session::selection::Selection;
use crate::session::wanted;

/// The options with what was chosen before where nobody chooses now, and what that changes; `None` if it is nothing.
pub(super) fn recall(options: &AddOptions, record: Option<&Record>) -> (AddOptions, Option<Recalled>) {
    let mut now = options.clone();
    let Some(Choices { priorities, order, allocation, down_limit, up_limit, trackers, .. }) =
        record.map(|record| &record.state.choices).filter(|_| options.create)
    else {
        return (now, None);
    };
    let (meta, asked) = (&options.torrent, &options.as_before);
    let mut recalled = Recalled::default();
    let files = Selection::decode(priorities);
    // Of another layout, if it has more of them.
    if asked.files
        && files.unknown(meta).is_none()
        && files.priorities(meta) != options.files.priorities(meta)
    {
        now.files.clone_from(&files);
        recalled.files = Some(files);
    }
    take(asked.order, wanted::order(*order), &mut now.order, &mut recalled.order);
    take(asked.allocation, *allocation, &mut now.allocation, &mut recalled.allocation);
    take(asked.down_limit, *down_limit, &mut now.down_limit, &mut recalled.down_limit);
    take(asked.up_limit, *up_limit, &mut now.up_limit, &mut recalled.up_limit);
    if asked.trackers {
        let unnamed = trackers.iter().filter(|url| !options.trackers.contains(url));
        recalled.trackers = unnamed.cloned().collect();
        now.trackers = joined(trackers, &options.trackers);
    }
    let is_news = recalled != Recalled::default();
    (now, is_news.then_some(recalled))
}

/// The same of a magnet whose metadata did not come yet.
pub(super) fn recall_magnet(options: &MagnetOptions, record: &Record) -> MagnetOptions {
    let (mut now, asked) = (options.clone(), options.as_before);
    let before = &record.state.choices;
    let link = match &record.source {
        Some(Source::Magnet(link)) => link.parse::<Magnet>().ok(),
        _ => None,
    };
    if let Some(Magnet { select, .. }) = link.filter(|_| asked.files) {
        now.files = Choice::of_noted(&Noted { select, priorities: before.priorities.clone() });
    }
    if now.names.is_empty() {
        let names = before.names.iter();
        now.names = names.map(|(file, path)| (*file as usize, path.to_string_lossy().into_owned())).collect();
    }
    let Placing { suffix, incomplete, link_to, link, .. } = placing::placing(&record.state.finishing);
    if now.placing.link_to.is_none() {
        (now.placing.link_to, now.placing.link) = (link_to, link);
    }
    now.placing.suffix = now.placing.suffix.or(suffix);
    now.placing.incomplete = now.placing.incomplete.or(incomplete);
    take(asked.order, wanted::order(before.order), &mut now.order, &mut None);
    take(asked.allocation, before.allocation, &mut now.allocation, &mut None);
    take(asked.down_limit, before.down_limit, &mut now.down_limit, &mut None);
    take(asked.up_limit, before.up_limit, &mut now.up_limit, &mut None);
    if asked.trackers {
        now.trackers = joined(&before.trackers, &options.trackers);
    }
    now
}

fn joined(before: &[String], now: &[String]) -> Vec<String> {
    before.iter().chain(now.iter().filter(|url| !before.contains(url))).cloned().collect()
}

fn take<T: PartialEq + Copy>(is_asked: bool, before: T, now: &mut T, recalled: &mut Option<T>) {
    if is_asked && before != *now {
        *now = before;
        *recalled = Some(before);
    }
}

/// Writes down what is chosen. What is only seeded was chosen by whoever downloaded it.
pub(super) fn write(options: &AddOptions, is_known: bool, choices: &mut Choices) {
    if is_known && !options.create {
        choices.trackers = joined(&choices.trackers, &options.trackers);
        return;
    }
    choices.allocation = options.allocation;
    choices.down_limit = options.down_limit;
    choices.up_limit = options.up_limit;
    choices.trackers.clone_from(&options.trackers);
    choices.priorities = options.files.encode(&options.torrent);
    choices.order = wanted::recorded(options.order);
}
