//! What a torrent runs by that is not open: made with each save, and kept up to date by itself while it is not.

use std::path::PathBuf;

use metainfo::Torrent;
use storage::FileStorage;
use storage::record::{Key, Outline, Record, Source, State, Store, StoreError, Summary, Tracker};

use super::naming::first_names;
use super::translate;
use crate::engine::ResumeState;

/// Brings the outline of a record up to date. Of names, those that were known stay if nobody says which they are.
pub(super) fn outline(record: &mut Record, meta: &Torrent, files: Option<&FileStorage>) {
    let known = record.summary.outline.take().map(|known| known.names);
    let names = match files {
        Some(files) => first_names(files, meta).into_iter().map(PathBuf::from).collect(),
        None => known.unwrap_or_else(|| vec![PathBuf::from(meta.name())]),
    };
    let State { pieces, choices, trackers, moving_to, renaming, finishing, .. } = &record.state;
    let tiers = meta.trackers().iter().cloned().chain(choices.trackers.iter().map(|url| vec![url.clone()]));
    let told = |url: String| {
        let told = trackers.iter().find(|tracker| tracker.url == url).cloned();
        told.unwrap_or(Tracker { url, id: None, next: None, works: false })
    };
    let tiers = (0..).zip(tiers).flat_map(|(tier, urls)| urls.into_iter().map(move |url| (tier, url)));
    record.summary.outline = Some(Outline {
        pieces: pieces.len(),
        pieces_done: pieces.count(),
        trackers: tiers.map(|(tier, url)| (tier, told(url))).collect(),
        down_limit: choices.down_limit,
        up_limit: choices.up_limit,
        unsettled: moving_to.is_some() || finishing.unfinished_in.is_some() || !renaming.is_empty(),
        names,
    });
}

/// Takes over what the outline of a record knows better than its state, which is not written while the torrent is not open.
pub(super) fn take_over(mut record: Record) -> Record {
    let Some(outline) = &record.summary.outline else { return record };
    let State { choices, trackers, .. } = &mut record.state;
    (choices.down_limit, choices.up_limit) = (outline.down_limit, outline.up_limit);
    for (_, told) in &outline.trackers {
        match trackers.iter_mut().find(|tracker| tracker.url == told.url) {
            Some(known) => known.clone_from(told),
            None if told.id.is_some() || told.next.is_some() || told.works => trackers.push(told.clone()),
            None => {}
        }
    }
    record
}

/// The summary with an outline of a torrent that was recorded before there were any. Blocks.
pub(in crate::session) fn outlined(store: &dyn Store, key: &Key) -> Result<Option<Summary>, StoreError> {
    let Some(mut record) = store.load(key)? else { return Ok(None) };
    let Some(Source::Torrent(bytes)) = &record.source else { return Ok(None) };
    let Ok(meta) = Torrent::parse(bytes) else { return Ok(None) };
    outline(&mut record, &meta, None);
    Ok(Some(record.summary))
}

/// What is to be recorded of torrents that are not open.
pub(in crate::session) struct Learnt {
    pub(in crate::session) key: Key,
    pub(in crate::session) resume: ResumeState,
    pub(in crate::session) limits: [Option<u64>; 2],
    pub(in crate::session) paused: bool,
    /// Trackers that its user added.
    pub(in crate::session) trackers: Vec<String>,
}

/// Adds trackers behind those that are there.
fn add(outline: &mut Outline, trackers: Vec<String>) {
    for url in trackers {
        let tier = outline.trackers.last().map_or(0, |(tier, _)| tier.saturating_add(1));
        if !outline.trackers.iter().any(|(_, known)| known.url == url) {
            outline.trackers.push((tier, Tracker { url, id: None, next: None, works: false }));
        }
    }
}

/// Trackers of a record that neither its torrent nor its state names: they were added while it was not open.
pub(in crate::session) fn added(summary: &Summary, meta: &Torrent, known: &[String]) -> Vec<String> {
    let told = summary.outline.iter().flat_map(|outline| &outline.trackers).map(|(_, tracker)| &tracker.url);
    let is_known =
        |url: &String| known.contains(url) || meta.trackers().iter().flatten().any(|own| own == url);
    told.filter(|url| !is_known(url)).cloned().collect()
}

/// Records it, as far as it is new. Blocks.
pub(in crate::session) fn remember(store: &dyn Store, learnt: Vec<Learnt>) -> Result<(), StoreError> {
    let now = translate::now_ms();
    let mut changed = Vec::new();
    for Learnt { key, resume, limits: [down_limit, up_limit], paused, trackers } in learnt {
        let Some(mut summary) = store.load_summary(&key)? else { continue };
        let Some(outline) = &mut summary.outline else { continue };
        let count = outline.trackers.len();
        add(outline, trackers);
        let before: Vec<Tracker> = outline.trackers.iter().map(|(_, tracker)| tracker.clone()).collect();
        let stands = |url: &String| resume.trackers.iter().find(|memo| memo.url == *url);
        let memos: Vec<_> = before.iter().filter_map(|tracker| stands(&tracker.url)).cloned().collect();
        let known: Vec<_> = before.into_iter().filter(|tracker| stands(&tracker.url).is_some()).collect();
        if translate::are_same(&memos, &known, now)
            && (outline.down_limit, outline.up_limit) == (down_limit, up_limit)
            && summary.flags.paused == paused
            && outline.trackers.len() == count
        {
            continue;
        }
        for (_, tracker) in &mut outline.trackers {
            if let Some(memo) = memos.iter().find(|memo| memo.url == tracker.url) {
                *tracker = translate::tracker(memo.clone(), now);
            }
        }
        (outline.down_limit, outline.up_limit) = (down_limit, up_limit);
        summary.flags.paused = paused;
        summary.times.next_announce = outline.trackers.iter().filter_map(|(_, tracker)| tracker.next).min();
        changed.push(summary);
    }
    if changed.is_empty() { Ok(()) } else { store.save_summaries(changed) }
}
