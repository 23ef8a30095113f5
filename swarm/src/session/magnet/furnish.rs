//! Making a torrent whole when its metadata came: parse them, open the files, check what is there, and run it.
//!
//! ```text
//!   reactor's thread                      this task                      a blocking thread
//!   await_metadata ─▶ came ─────────────▶ Work::Furnish ───────────────▶ parse
//!                                         Event::Metadata ─────────────▶ open, claim, check
//!   Engine::furnish ◀───────────────────── ask
//! ```
//!
//! A torrent file that is added meanwhile goes the same way: it says what peers would have said.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::Arc;

use metainfo::{Edit, Magnet, Torrent as Meta};
use tokio::sync::watch;

use super::MagnetOptions;
use super::desk::Wanted;
use super::layers;
use crate::engine::candidates::Source;
use crate::engine::layers::Layers;
use crate::engine::metadata::Info;
use crate::engine::scope::Scope;
use crate::engine::{AddTorrent, Direction};
use crate::reactor::Plane;
use crate::session::add::{self, Opened};
use crate::session::claims::Claimed;
use crate::session::dht;
use crate::session::event::Event;
use crate::session::identity::{Chosen, Identity, Place, Running};
use crate::session::link::{Link, Unavailable};
use crate::session::options::{AddError, AddOptions};
use crate::session::persist::{self, Begun};
use crate::session::registry::Entry;
use crate::session::selection::Selection;
use crate::session::torrent::Torrent;
use crate::session::wanted;

/// What a torrent turned out to be.
pub(super) enum Known {
    /// What peers say, with the hashes that were looked for.
    Info(Info),
    /// Nothing has both of the hashes that were looked for.
    Contradiction,
    /// What was found before, with its piece layers; without, if it does without them.
    Layers(Arc<Meta>, Option<Layers>),
    /// A torrent file with these hashes, and what its user wants of it.
    File(Box<AddOptions>),
}

/// Makes a torrent whole, or refuses it: it would wait for good.
pub(super) async fn complete(link: Arc<Link>, wanted: Wanted, known: Known) -> Result<(), AddError> {
    let entry = wanted.entry.clone();
    let done = furnish(&link, wanted, known).await;
    if let Err(error) = &done {
        link.tell(Event::Refused { torrent: entry.identity.id(), error: error.clone() });
        // A session that is over has removed everything.
        let _ = link.ask(move |plane| entry.remove(plane)).await;
    }
    done
}

/// Makes a torrent whole, unless only its metadata are asked for.
async fn furnish(link: &Arc<Link>, wanted: Wanted, known: Known) -> Result<(), AddError> {
    let magnet = wanted.options.magnet.clone();
    let is_info = matches!(known, Known::Info(_));
    let file = if let Known::File(file) = &known { Some((**file).clone()) } else { None };
    let parsed = tokio::task::spawn_blocking(move || match known {
        Known::Info(info) => parse(&info.to_bytes(), &magnet, None),
        Known::Layers(meta, None) => Ok(meta),
        Known::Layers(meta, layers) => parse(meta.info_bytes(), &magnet, layers.as_ref()),
        Known::File(file) => Ok(enriched(&file.torrent, &magnet)),
        Known::Contradiction => Err(AddError::TwoTorrents(magnet.info_hashes)),
    });
    let meta = parsed.await.map_err(|_| AddError::Cancelled)??;
    if is_info && layers::are_awaited(&meta, &wanted.options) {
        return layers::seek(link, wanted, meta).await;
    }
    let Wanted { entry, options, held, .. } = wanted;
    if options.dir.is_some() {
        add::can_be_checked(&meta)?;
    }
    let (told, teller) = (Told::of(&entry, &meta, &options, file.as_ref()), link.clone());
    link.ask(move |plane| told.to(&teller, plane)).await??;
    if file.is_some() && link.dht_addresses.is_some() && !meta.private() && !meta.nodes().is_empty() {
        tokio::spawn(dht::introduce(link.clone(), meta.clone()));
    }
    link.tell(Event::Metadata { torrent: meta.id() });
    let given = file.filter(|file| options.dir.is_none() || !file.create);
    if let Some(file) = &given {
        // Nobody said where to put it, or it is there already.
        entry.identity.choose(|chosen| {
            (chosen.files, chosen.order) = (file.files.clone().into(), file.order);
            chosen.as_before = file.as_before;
            let [down, up] = chosen.limits;
            chosen.limits = [file.down_limit.or(down), file.up_limit.or(up)];
        });
    }
    let chosen = entry.identity.chosen();
    let files = decide(&chosen, &meta).await?;
    let options = match given {
        Some(file) => AddOptions { torrent: meta.clone(), ..file },
        None => match options.found(meta.clone(), files.clone()) {
            Some(options) => options,
            None => {
                entry.identity.stays_closed();
                return Ok(());
            }
        },
    };
    let options = with(options, files, &chosen);
    let permit = link.checks.clone().acquire_owned().await.map_err(|_| Unavailable::Over)?;
    let (opener, identity) = (link.clone(), entry.identity.clone());
    let opened = tokio::task::spawn_blocking(move || {
        let _permit = permit;
        // From here on the torrent's own record counts.
        drop(opener.magnets.noting());
        add::open(&opener, &options, identity.given_up())
    });
    let opened = opened.await.map_err(|_| AddError::Cancelled)??;
    entry.identity.recall(&opened.begun.options);
    Ready::new(entry.clone(), opened, held, chosen).run(link).await?;
    forget_note(link, entry.identity.clone()).await;
    Torrent::new(link, entry).go_on_moving();
    Ok(())
}

/// Forgets the record of a magnet whose torrent has another name, by which it is recorded now.
async fn forget_note(link: &Arc<Link>, identity: Arc<Identity>) {
    let Some(store) = link.store.clone() else { return };
    let forget = move || match identity.note() {
        Some(note) if note.id != identity.id() => persist::magnet::forget(&*store, &note),
        _ => Ok(()),
    };
    if let Ok(Err(error)) = tokio::task::spawn_blocking(forget).await {
        // Once more it is looked for, and found to be there.
        tracing::warn!(%error, "the record of a magnet stays behind");
    }
}

/// Which files were chosen. A torrent may have a million, and the program may decide by a function.
async fn decide(chosen: &Chosen, meta: &Arc<Meta>) -> Result<Selection, AddError> {
    let (files, meta) = (chosen.files.clone(), meta.clone());
    let decided = tokio::task::spawn_blocking(move || files.decide(&meta));
    decided.await.map_err(|_| AddError::Cancelled)?
}

pub(in crate::session) fn with(options: AddOptions, files: Selection, chosen: &Chosen) -> AddOptions {
    let [down_limit, up_limit] = chosen.limits;
    let mut trackers = options.trackers;
    trackers.extend(lacking(&trackers.clone(), &chosen.trackers));
    AddOptions { files, order: chosen.order, down_limit, up_limit, trackers, ..options }
}

/// What counts as soon as it is known what a torrent is.
struct Told {
    entry: Entry,
    meta: Arc<Meta>,
    /// What its file names.
    trackers: Vec<(u32, String)>,
    peers: Vec<SocketAddr>,
    /// Trackers that its link names, and that its file does not know of: not for a private torrent.
    foreign: Vec<String>,
}

impl Told {
    fn of(entry: &Entry, meta: &Arc<Meta>, options: &MagnetOptions, file: Option<&AddOptions>) -> Self {
        let (mut named, mut foreign) = (Vec::new(), Vec::new());
        if let Some(file) = file {
            let tiers = file.torrent.trackers().iter().cloned();
            let tiers = tiers.chain(file.trackers.iter().map(|url| vec![url.clone()]));
            let tiers = (entry.identity.next_tier()..).zip(tiers);
            named = tiers.flat_map(|(tier, urls)| urls.into_iter().map(move |url| (tier, url))).collect();
            let own = named.iter().map(|(_, url)| url).chain(&options.trackers);
            if meta.private() {
                foreign = lacking(own, &options.magnet.trackers);
            }
        }
        let peers = file.map(|file| file.peers.clone()).unwrap_or_default();
        Self { entry: entry.clone(), meta: meta.clone(), trackers: named, peers, foreign }
    }

    /// Tells the engine, on the reactor's thread.
    fn to(self, link: &Link, plane: &mut Plane) -> Result<(), AddError> {
        let (now, key) = (plane.now(), self.entry.key);
        let engine = plane.engine();
        for url in &self.foreign {
            engine.remove_tracker(now, key, url);
        }
        if self.meta.private() {
            engine.declare_private(now, key);
        }
        let (old, id) = (self.entry.identity.id(), self.meta.id());
        if old != id {
            let is_free = engine.torrent_key(id).is_none_or(|other| other == key);
            if !is_free || !link.registry.rename(old, id) {
                return Err(AddError::Duplicate(id));
            }
            engine.rename(now, key, id);
            link.tell(Event::Renamed { torrent: id, from: old });
        }
        for (tier, url) in &self.trackers {
            engine.add_tracker(now, key, *tier, url);
        }
        engine.add_peers(now, key, &self.peers, Source::User, Scope::Loopback);
        self.entry.identity.found(self.meta);
        engine.described(now, key);
        Ok(())
    }
}

/// A torrent with what its magnet names besides, unless it is private (BEP 27).
fn enriched(meta: &Arc<Meta>, magnet: &Magnet) -> Arc<Meta> {
    let new_trackers = lacking(meta.trackers().iter().flatten(), &magnet.trackers);
    let new_seeds = lacking(meta.web_seeds(), &magnet.web_seeds);
    if meta.private() || new_trackers.is_empty() && new_seeds.is_empty() {
        return meta.clone();
    }
    let edited = || {
        let file = persist::torrent_file(meta).ok()?;
        let mut edit = Edit::new(&file).ok()?;
        let tiers = new_trackers.into_iter().map(|url| vec![url]);
        edit.set_trackers(&meta.trackers().iter().cloned().chain(tiers).collect::<Vec<_>>());
        edit.set_web_seeds(&[meta.web_seeds(), &new_seeds].concat());
        Meta::parse(&edit.finish().ok()?).ok()
    };
    // Too large with them: it does without.
    edited().map_or_else(|| meta.clone(), Arc::new)
}

/// Those of some addresses that are not among others.
fn lacking<'a>(known: impl IntoIterator<Item = &'a String>, named: &[String]) -> Vec<String> {
    let known: BTreeSet<&String> = known.into_iter().collect();
    named.iter().filter(|url| !known.contains(url)).cloned().collect()
}

/// The torrent that an info dictionary describes, with the trackers and web seeds of its magnet.
fn parse(info: &[u8], magnet: &Magnet, layers: Option<&Layers>) -> Result<Arc<Meta>, AddError> {
    let parsed = || {
        let mut edit = Edit::from_info(info)?;
        edit.set_from_magnet(magnet);
        if let Some(layers) = layers {
            edit.set_piece_layers(layers.iter());
        }
        Meta::parse(&edit.finish()?)
    };
    parsed().map(Arc::new).map_err(AddError::Metadata)
}

/// A torrent that runs, and whose files are open now.
pub(in crate::session) struct Ready {
    entry: Entry,
    /// With what is chosen, `chosen`.
    opened: Opened,
    held: watch::Sender<()>,
    chosen: Chosen,
    /// Whether its record says something else.
    is_chosen_again: bool,
}

impl Ready {
    /// Opened with options as was `chosen`.
    pub(in crate::session) fn new(
        entry: Entry,
        opened: Opened,
        held: watch::Sender<()>,
        chosen: Chosen,
    ) -> Self {
        Self { entry, opened, held, chosen, is_chosen_again: false }
    }

    /// Makes it whole, with what is chosen by then.
    pub(in crate::session) async fn run(self, link: &Arc<Link>) -> Result<(), AddError> {
        let mut ready = self;
        loop {
            ready = ready.choose().await?;
            let beginner = link.clone();
            match link.ask(move |plane| ready.begin(&beginner, plane)).await?? {
                None => return Ok(()),
                Some(again) => ready = *again,
            }
        }
    }

    /// With what is chosen by now.
    async fn choose(mut self) -> Result<Self, AddError> {
        if self.entry.identity.is_chosen_so(&self.chosen) {
            return Ok(self);
        }
        self.chosen = self.entry.identity.chosen();
        let Begun { files, options, .. } = &mut self.opened.begun;
        let selection = decide(&self.chosen, &options.torrent).await?;
        if selection != options.files {
            let (files, left_out) = (files.clone(), selection.left_out(&options.torrent));
            let kept = tokio::task::spawn_blocking(move || files.set_skipped(&left_out));
            kept.await.map_err(|_| AddError::Cancelled)??;
        }
        *options = with(options.clone(), selection, &self.chosen);
        self.is_chosen_again = true;
        Ok(self)
    }

    /// Runs it, on the reactor's thread, with choices that hold before the first request goes out. Gives it back if something else
    /// was chosen even now.
    fn begin(self, link: &Link, plane: &mut Plane) -> Result<Option<Box<Self>>, AddError> {
        if !self.entry.identity.is_chosen_so(&self.chosen) {
            return Ok(Some(Box::new(self)));
        }
        let Self { entry, opened, held, chosen, is_chosen_again } = self;
        let Begun { files, have, partial, peers, kept, unverified, unseen, finish, options, .. } =
            opened.begun;
        let meta = &options.torrent;
        let priorities = add::priorities(&options);
        let claimed = Claimed { files, claim: opened.claim.into(), held: held.into() };
        let place = Place::of(&claimed);
        let store = plane.disk().attach(Arc::new(claimed), meta.clone());
        let (now, is_full) = (plane.now(), have.is_full());
        let add = AddTorrent {
            verify: options.verify,
            partial,
            unverified,
            unseen,
            recorded: kept.is_some(),
            seed_only: !options.create,
            ..AddTorrent::new(meta.clone(), store, have)
        };
        if !plane.engine().furnish(now, entry.key, add, priorities) {
            plane.disk().detach(store);
            return Err(AddError::Cancelled);
        }
        kept.iter().for_each(|kept| kept.set_paused(chosen.paused));
        if let Some(kept) = kept.as_ref().filter(|_| is_chosen_again) {
            kept.choose(|choices| {
                choices.priorities = options.files.encode(meta);
                choices.order = wanted::recorded(options.order);
                (choices.down_limit, choices.up_limit) = (options.down_limit, options.up_limit);
                choices.trackers.clone_from(&options.trackers);
            });
            link.saver.changed(meta.id());
        }
        entry.identity.opened(Running { store, place, writes: options.create, kept, finish });
        link.saver.writes(meta.id(), options.create && !is_full);
        plane.engine().set_order(now, entry.key, options.order);
        plane.engine().set_torrent_limit(now, entry.key, Direction::Read, options.down_limit);
        plane.engine().set_torrent_limit(now, entry.key, Direction::Write, options.up_limit);
        for url in &options.trackers {
            // Those of an earlier run; others are there.
            plane.engine().add_tracker(now, entry.key, entry.identity.next_tier(), url);
        }
        plane.engine().add_peers(now, entry.key, &peers, Source::Resume, Scope::Loopback);
        Ok(None)
    }
}
