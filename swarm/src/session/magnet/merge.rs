//! A torrent is added that is there already: what one more magnet, or its torrent file, says besides.

use std::sync::Arc;

use metainfo::{InfoHashes, Magnet, Torrent, TorrentId};

use super::desk::Wanted;
use super::furnish::{Known, complete};
use super::note::note;
use super::{MagnetOptions, Peers};
use crate::session::link::Link;
use crate::session::options::{AddError, AddOptions};
use crate::session::torrent::Torrent as Handle;

/// Most that is kept of one kind of what magnets of a torrent name.
const MOST_NAMED: usize = 1000;

/// Tells a torrent that runs of what another magnet of it says, unless it is private.
///
/// # Errors
/// [`AddError::Duplicate`] when it is known what it is.
pub(super) async fn enrich(link: &Arc<Link>, options: MagnetOptions) -> Result<Handle, AddError> {
    let id = options.magnet.info_hashes.id();
    let entry = link.registry.get(id).ok_or(AddError::Duplicate(id))?;
    if entry.identity.is_private() {
        return Err(AddError::Duplicate(id));
    }
    let Peers { linked, named, names } = Peers::of(&options);
    link.magnets.named().add(id, names);
    let trackers: Vec<String> = options.all_trackers().map(str::to_owned).collect();
    // First, since whom it is told of may have the metadata in a moment.
    let is_awaiting = link.magnets.amend(id, |wanted| join(wanted, options)).is_some();
    let told = entry.clone();
    link.ask(move |plane| {
        let (now, engine) = (plane.now(), plane.engine());
        for url in &trackers {
            engine.add_tracker(now, told.key, told.identity.next_tier(), url);
        }
        Peers { linked, named, names: Vec::new() }.tell(engine, now, told.key);
    })
    .await?;
    if !is_awaiting {
        return Err(AddError::Duplicate(id));
    }
    note(link, id).await;
    Ok(Handle::new(link, entry))
}

/// The name by which a torrent is looked for whose torrent file is there: a magnet may have named its v2 hash alone.
pub(in crate::session) fn awaited_as(link: &Link, meta: &Torrent) -> Option<TorrentId> {
    let names = [Some(meta.id()), meta.info_hashes().v2().map(|v2| v2.truncated())];
    names.into_iter().flatten().find(|id| link.magnets.amend(*id, |_| ()).is_some())
}

/// Makes a torrent whole that awaits its metadata: its torrent file has them.
///
/// # Errors
/// [`AddError::Duplicate`] when it awaits none; else as for a torrent that is added, and then it is refused.
pub(in crate::session) async fn feed(link: &Arc<Link>, options: AddOptions) -> Result<Handle, AddError> {
    let hashes = *options.torrent.info_hashes();
    let id = awaited_as(link, &options.torrent).ok_or(AddError::Duplicate(hashes.id()))?;
    let fits = |wanted: &Wanted| are_of(&wanted.options.magnet.info_hashes, &hashes);
    let wanted = link.magnets.take(id, fits).ok_or(AddError::Duplicate(id))?;
    let torrent = Handle::new(link, wanted.entry.clone());
    // It goes on when nobody waits for it any more.
    let done = tokio::spawn(complete(link.clone(), wanted, Known::File(options.into())));
    done.await.map_err(|_| AddError::Cancelled)??;
    Ok(torrent)
}

/// Adds what another magnet names. What was chosen stays, but for a torrent of which only the metadata were asked for.
fn join(wanted: &mut Wanted, options: MagnetOptions) {
    let Magnet { trackers, web_seeds, peers, .. } = &mut wanted.options.magnet;
    add(trackers, &options.magnet.trackers);
    add(web_seeds, &options.magnet.web_seeds);
    add(peers, &options.magnet.peers);
    add(&mut wanted.options.trackers, &options.trackers);
    add(&mut wanted.options.peers, &options.peers);
    if wanted.options.dir.is_none() && options.dir.is_some() {
        wanted.entry.identity.choose(|chosen| {
            (chosen.files, chosen.order) = (options.files.clone(), options.order);
            chosen.as_before = options.as_before;
        });
        let MagnetOptions { magnet, trackers, peers, .. } = wanted.options.clone();
        wanted.options = MagnetOptions { magnet, trackers, peers, ..options };
    }
}

fn add<T: Clone + PartialEq>(known: &mut Vec<T>, named: &[T]) {
    for one in named {
        if known.len() < MOST_NAMED && !known.contains(one) {
            known.push(one.clone());
        }
    }
}

/// Whether a torrent has the hashes that were looked for.
fn are_of(looked_for: &InfoHashes, found: &InfoHashes) -> bool {
    let v1 = looked_for.v1().is_none_or(|v1| found.v1() == Some(v1));
    v1 && looked_for.v2().is_none_or(|v2| found.v2() == Some(v2))
}
