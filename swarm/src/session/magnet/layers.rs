//! Piece layers that a torrent lacks whose metadata came (BEP 52): peers are asked for them before it is made whole.

use std::sync::Arc;
use std::time::Duration;

use metainfo::{Torrent as Meta, TorrentId};

use super::MagnetOptions;
use super::desk::Wanted;
use crate::engine::{Activity, Search, TorrentKey};
use crate::session::link::{Link, Unavailable};
use crate::session::options::AddError;

/// How long peers are asked for the layers of a torrent of which only the metadata are wanted.
const PATIENCE: Duration = Duration::from_secs(20);
/// From one look whether anybody is asked to the next.
const LOOK: Duration = Duration::from_secs(1);
/// Until a search is tried again that there was no memory for.
const FULL: Duration = Duration::from_secs(5);

/// Whether a torrent is of no use without layers that it lacks, or its layers are wanted themselves.
pub(super) fn are_awaited(meta: &Meta, options: &MagnetOptions) -> bool {
    !meta.has_piece_layers() && (meta.info_hashes().v1().is_none() || options.dir.is_none())
}

/// Whether it is of use all the same.
pub(super) fn can_do_without(meta: &Meta, options: &MagnetOptions) -> bool {
    meta.info_hashes().v1().is_some() || options.dir.is_none()
}

/// Looks for the layers of a torrent, which awaits them from now on.
pub(super) async fn seek(link: &Arc<Link>, wanted: Wanted, meta: Arc<Meta>) -> Result<(), AddError> {
    let (id, key) = (wanted.entry.identity.id(), wanted.entry.key);
    let (teller, lacking) = (link.clone(), meta.clone());
    let is_optional = wanted.options.dir.is_none();
    // On the reactor's thread, so that it is not removed meanwhile.
    let begun = link.ask(move |plane| {
        let (now, engine) = (plane.now(), plane.engine());
        if lacking.private() {
            engine.declare_private(now, key);
        }
        let search = engine.seek_layers(now, key, &lacking);
        if search != Search::Gone {
            teller.magnets.await_metadata(id, Wanted { found: Some(lacking), ..wanted });
        }
        search
    });
    match begun.await? {
        Search::Gone => return Err(AddError::Cancelled),
        Search::TooLarge if is_optional => link.magnets.layers_came(id, None),
        Search::TooLarge => {
            link.magnets.gone(id);
            return Err(AddError::TooManyPieces(meta.name().to_owned()));
        }
        Search::Full => _ = tokio::spawn(insist(link.clone(), key, meta)),
        Search::Begun => {}
    }
    if is_optional {
        tokio::spawn(do_without(link.clone(), id, key));
    }
    Ok(())
}

/// Goes on without layers when nobody can be asked for them, or nobody gives them in time.
async fn do_without(link: Arc<Link>, id: TorrentId, key: TorrentKey) -> Result<(), Unavailable> {
    let end = tokio::time::Instant::now() + PATIENCE;
    let mut is_asked = true;
    while is_asked && tokio::time::Instant::now() < end {
        tokio::time::sleep(LOOK).await;
        let status = link.ask(move |plane| {
            let now = plane.now();
            plane.engine().torrent_status(now, key)
        });
        let activity = status.await?.map(|status| status.activity);
        is_asked = matches!(activity, Some(Activity::Layers { peers: 1.., .. }));
    }
    link.magnets.layers_came(id, None);
    Ok(())
}

/// Tries until there is memory for a search.
async fn insist(link: Arc<Link>, key: TorrentKey, meta: Arc<Meta>) -> Result<(), Unavailable> {
    let mut search = Search::Full;
    while search == Search::Full {
        tokio::time::sleep(FULL).await;
        let lacking = meta.clone();
        search = link
            .ask(move |plane| {
                let now = plane.now();
                plane.engine().seek_layers(now, key, &lacking)
            })
            .await?;
    }
    Ok(())
}
