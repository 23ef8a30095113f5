//! The life of a transfer: start, check, run, stop.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use metainfo::Magnet;
use storage::StorageError;
use swarm::engine::{Activity, TorrentStatus};
use swarm::session::{Event, Events, FilesError, MagnetOptions, Session, Torrent, Unavailable};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until};

use super::event::Reason;
use super::live::Live;
use super::origins::Origins;
use super::report::Report;
use super::seek::{self, Seek};
use super::{Plan, Role, damage, records, start};
use crate::dht_state::{DhtFile, Keeper};
use crate::exit::{self, Exit, failure, of_io};
use crate::flags::Net;
use crate::flags::values::SeedGoal;
use crate::output::Console;
use crate::stop::Stop;

/// A moment that does not come.
const NEVER: Duration = Duration::from_secs(1 << 32);

/// Runs a torrent until it is complete, or as long as it is to be seeded.
pub(super) async fn run(plan: &Plan, net: &Net, stop: &Stop, console: &Console) -> Result<Exit> {
    let until = Instant::now() + net.stop_after.unwrap_or(NEVER).min(NEVER);
    let peers = start::peers(&net.peer).await?;
    // A private torrent has no part in the DHT (BEP 27).
    let uses_dht = !net.no_dht && !plan.what.is_private();
    let file = if uses_dht { DhtFile::open() } else { None };
    let dht = uses_dht.then(|| start::dht(net, file.as_ref(), false));
    let session = start::session(net, records::store(net, console)?, dht).await?;
    let keeper = Keeper::start(file, session.dht());
    let mut report = Report::new(plan, console, net.json);
    let outcome = in_session(&session, plan, net, peers, stop, until, &mut report).await;
    report.end();
    let patience = stop.patience();
    let kept = tokio::time::timeout(patience, keeper.end());
    let (kept, ended) = tokio::join!(kept, session.shutdown(patience));
    if kept.is_err() {
        tracing::warn!("the nodes of the DHT are not kept: the disk was not done in time");
    }
    if let Err(late) = ended {
        tracing::warn!("{late}");
    }
    outcome
}

/// Gets what a magnet names, and nothing of its content.
pub(super) async fn metadata(
    magnet: &Magnet,
    net: &Net,
    stop: &Stop,
    console: &Console,
) -> Result<Arc<metainfo::Torrent>> {
    let until = Instant::now() + net.stop_after.unwrap_or(NEVER).min(NEVER);
    let peers = start::peers(&net.peer).await?;
    let file = if net.no_dht { None } else { DhtFile::open() };
    let dht = (!net.no_dht).then(|| start::dht(net, file.as_ref(), true));
    let session = start::session(net, None, dht).await?;
    let outcome = fetch(&session, magnet, peers, stop, until, console).await;
    if let Err(late) = session.shutdown(stop.patience()).await {
        tracing::warn!("{late}");
    }
    outcome
}

async fn fetch(
    session: &Session,
    magnet: &Magnet,
    peers: Vec<std::net::SocketAddr>,
    stop: &Stop,
    until: Instant,
    console: &Console,
) -> Result<Arc<metainfo::Torrent>> {
    let refused = |error| failure(Exit::Failed, format!("cannot get the torrent: {error}"));
    let options = MagnetOptions { peers, ..MagnetOptions::metadata(magnet.clone()) };
    let torrent = session.add_magnet(options).await.map_err(|error| refused(error.to_string()))?;
    let mut live = Live::new(console);
    let (found, asked) = (torrent.wait_metadata(), stop.asked());
    tokio::pin!(found, asked);
    let mut tick = interval(super::report::STEP / 4);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let over = |status: &TorrentStatus, why: &str| {
        let text = format!("{why} before a peer told what the torrent is; it was {}", seek::waiting(status));
        failure(Exit::Unfinished, text)
    };
    let outcome = loop {
        tokio::select! {
            found = &mut found => break found.map_err(|error| refused(error.to_string())),
            _ = tick.tick() => {
                // If it is gone, the other branch knows why.
                if let (Ok(seek), Ok(status)) = (Seek::of(session, &torrent).await, torrent.status().await) {
                    live.waiting(&status, &seek);
                }
            }
            asked = &mut asked => {
                asked?;
                break Err(over(&torrent.status().await?, "stopped"));
            }
            () = sleep_until(until) => break Err(over(&torrent.status().await?, "the time was over")),
        }
    };
    live.clear();
    outcome
}

async fn in_session<'a>(
    session: &Session,
    plan: &'a Plan,
    net: &Net,
    peers: Vec<std::net::SocketAddr>,
    stop: &Stop,
    until: Instant,
    report: &mut Report<'a>,
) -> Result<Exit> {
    let mut events = session.events();
    let mut unusable = None;
    let (adding, asked) = (start::add(session, plan, net, peers), stop.asked());
    tokio::pin!(adding, asked);
    let torrent = loop {
        tokio::select! {
            // What happened before it was added is told before.
            biased;
            Some(event) = events.next() => {
                report.event(&event);
                if let Some(error) = of_no_use(plan, &event) {
                    return Err(error);
                }
                if let Event::StorageFailed { error, .. } = event {
                    unusable.get_or_insert(error);
                }
            }
            added = &mut adding => break added.map_err(|error| start::refused(plan, &error))?,
            asked = &mut asked => {
                asked?;
                return Err(failure(Exit::Unfinished, "stopped before what is on disk was checked"));
            }
            () = sleep_until(until) => {
                return Err(failure(Exit::Unfinished, "the time was over before what is on disk was checked"));
            }
        }
    };
    let status = torrent.status().await?;
    if let (Role::Seed, Some(meta)) = (plan.role, torrent.meta())
        && status.pieces_done < status.pieces
    {
        return Err(incomplete(meta.name(), plan, &status, unusable.as_ref()));
    }
    report.started(session.listening(), torrent.earlier().uploaded)?;
    let mut run = Run {
        plan,
        session: session.clone(),
        torrent,
        events,
        report,
        complete_since: None,
        is_there: false,
        settled: Settled::No,
    };
    run.until_end(stop, until).await
}

fn incomplete(
    name: &str,
    plan: &Plan,
    status: &TorrentStatus,
    unusable: Option<&StorageError>,
) -> anyhow::Error {
    let missing = status.pieces - status.pieces_done;
    let dir = plan.dir.display();
    let hint = match unusable {
        Some(error) => start::advised(error),
        None => String::from("unchoke verify shows where, unchoke download --seed gets them"),
    };
    let text = format!(
        "cannot seed {name:?}: {missing} of {} pieces are missing in {dir} or differ; {hint}",
        status.pieces
    );
    failure(Exit::Mismatch, text)
}

/// Why what was named will never be there, if this says so.
fn of_no_use(plan: &Plan, event: &Event) -> Option<anyhow::Error> {
    match event {
        Event::Refused { error, .. } => Some(start::refused(plan, error)),
        Event::Contradicts { piece, .. } => {
            let text = format!(
                "the torrent contradicts itself: what it is by v1 and what it is by v2 differ in piece {}, so it can never be \
                 complete. It was made wrong, or to deceive; look for another torrent of the same content",
                piece.get()
            );
            Some(failure(Exit::Mismatch, text))
        }
        _ => None,
    }
}

/// A torrent that runs.
struct Run<'a, 'r> {
    plan: &'a Plan,
    session: Session,
    torrent: Torrent,
    events: Events,
    report: &'r mut Report<'a>,
    complete_since: Option<Instant>,
    /// All that is wanted is there.
    is_there: bool,
    settled: Settled,
}

/// Whether complete files are where they are to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Settled {
    No,
    Yes,
    /// Not now; it is tried again.
    Failed,
}

impl Run<'_, '_> {
    async fn until_end(&mut self, stop: &Stop, until: Instant) -> Result<Exit> {
        match self.go_on(stop, until).await {
            Err(error) if error.downcast_ref() == Some(&Unavailable::Removed) => {
                Err(self.why_removed().await.unwrap_or(error))
            }
            // Nobody reads what is printed any more.
            Err(error) if exit::status(&error) == Exit::Done && self.complete_since.is_none() => {
                Ok(Exit::Unfinished)
            }
            outcome => outcome,
        }
    }

    /// Why the torrent is gone, which nobody here asked for: what a magnet named is of no use.
    async fn why_removed(&mut self) -> Option<anyhow::Error> {
        while let Some(event) = self.events.next().await {
            match event {
                Event::Removed { .. } => return None,
                event => {
                    if let Some(error) = of_no_use(self.plan, &event) {
                        return Some(error);
                    }
                }
            }
        }
        None
    }

    async fn go_on(&mut self, stop: &Stop, until: Instant) -> Result<Exit> {
        let (asked, torrent) = (stop.asked(), self.torrent.clone());
        let settling = torrent.wait_settled();
        tokio::pin!(asked, settling);
        let mut tick = interval(self.report.pace());
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let reason = tokio::select! {
                _ = tick.tick() => {
                    let status = self.torrent.status().await?;
                    if let Some(exit) = self.look(&status)? {
                        return Ok(exit);
                    }
                    self.show(&status).await?;
                    continue;
                }
                event = self.events.next() => {
                    let event = event.context("the session ended by itself")?;
                    self.report.event(&event);
                    if let Some(error) = of_no_use(self.plan, &event) {
                        return Err(error);
                    }
                    let is_turn = matches!(
                        event,
                        Event::Complete { .. }
                            | Event::Metadata { .. }
                            | Event::StorageFailed { .. }
                            | Event::Missed(_)
                    );
                    if is_turn {
                        let status = self.torrent.status().await?;
                        if let Some(exit) = self.look(&status)? {
                            return Ok(exit);
                        }
                        // What a torrent waits for is told as such.
                        if let Event::StorageFailed { error, .. } = &event
                            && !matches!(status.activity, Activity::Failed(_))
                        {
                            let meta = self.torrent.meta().map(Arc::as_ref);
                            let (message, pieces) = damage::tell(error, meta, &status).await;
                            self.report.unreadable(error, message, pieces)?;
                        }
                    }
                    continue;
                }
                settled = &mut settling, if self.is_there && self.settled == Settled::No => {
                    self.settled(settled)?;
                    if let Some(exit) = self.look(&self.torrent.status().await?)? {
                        return Ok(exit);
                    }
                    continue;
                }
                asked = &mut asked => asked.map(|()| Reason::Signal)?,
                () = sleep_until(until) => Reason::Time,
            };
            let status = self.torrent.status().await?;
            // It may have become complete just now.
            if let Some(exit) = self.look(&status)? {
                return Ok(exit);
            }
            let is_complete = self.complete_since.is_some() && self.is_whole(&status);
            self.report.stopped(&status, is_complete, reason)?;
            return Ok(match &status.activity {
                _ if is_complete => Exit::Done,
                Activity::Failed(error) => of_io(&error.cause),
                _ if self.plan.role == Role::Seed => Exit::Mismatch,
                _ => Exit::Unfinished,
            });
        }
    }

    /// Complete files are where they are to be, or cannot go there.
    fn settled(&mut self, settled: Result<(), FilesError>) -> Result<()> {
        self.settled = match settled {
            Ok(()) => Settled::Yes,
            Err(FilesError::Unavailable(unavailable)) => return Err(unavailable.into()),
            Err(error) if self.plan.role == Role::Download(SeedGoal::No) => {
                let hint = "everything is there, and the same command goes on from there";
                let text = format!("cannot finish {:?}: {}; {hint}", self.torrent.name(), start::why(&error));
                return Err(failure(start::exit_of(&error), text));
            }
            // The event tells of it.
            Err(_) => Settled::Failed,
        };
        Ok(())
    }

    /// Whether all that is to be there is there still: a seed may have lost some of it.
    fn is_whole(&self, status: &TorrentStatus) -> bool {
        match self.plan.role {
            Role::Seed => status.pieces_done == status.pieces,
            Role::Download(_) => status.done == status.wanted,
        }
    }

    /// Tells how it goes.
    async fn show(&mut self, status: &TorrentStatus) -> Result<()> {
        if !self.report.is_due() {
            return Ok(());
        }
        let origins = Origins::of(&self.torrent.peers().await?);
        let seek = if Seek::is_needed(status) {
            Seek::of(&self.session, &self.torrent).await?
        } else {
            Seek::default()
        };
        self.report.status(status, &origins, &seek)
    }

    /// Reacts to what the torrent is now. Gives the status if that is the end.
    fn look(&mut self, status: &TorrentStatus) -> Result<Option<Exit>> {
        if let Some(meta) = self.torrent.meta() {
            self.report.metadata(meta)?;
        }
        match &status.activity {
            // These pass when somebody makes room or brings the disk back. Whatever else it is: what is there is served, and the
            // rest fetched when the cause is gone. With nothing there, the command was wrong.
            Activity::Failed(error)
                if error.is_full() || error.is_gone() || status.done > 0 || status.unreadable > 0 =>
            {
                self.report.paused(error, status.retry_in)?;
                return Ok(None);
            }
            Activity::Failed(error) => {
                return Err(failure(of_io(&error.cause), start::advised(error)));
            }
            Activity::Downloading
            | Activity::Cold { .. }
            | Activity::Metadata { .. }
            | Activity::Layers { .. }
            | Activity::Checking { .. }
            | Activity::Paused => {
                return Ok(None);
            }
            Activity::Seeding => {}
        }
        self.is_there = true;
        if self.settled == Settled::No && self.torrent.is_to_settle() {
            return Ok(None);
        }
        let since = match self.complete_since {
            Some(since) => since,
            None => {
                let now = *self.complete_since.insert(Instant::now());
                self.report.complete(status)?;
                now
            }
        };
        let is_over = match self.plan.role {
            Role::Download(SeedGoal::No) => return Ok(Some(Exit::Done)),
            Role::Seed | Role::Download(SeedGoal::Forever) => false,
            Role::Download(SeedGoal::Time(time)) => since.elapsed() >= time,
            Role::Download(SeedGoal::Ratio(ratio)) => {
                // It is the torrent's, not that of a run.
                let sent = self.torrent.earlier().uploaded.saturating_add(status.totals.uploaded);
                sent as f64 >= ratio * status.wanted as f64
            }
        };
        if !is_over {
            return Ok(None);
        }
        let is_whole = self.is_whole(status);
        self.report.stopped(status, is_whole, Reason::Goal)?;
        Ok(Some(if is_whole { Exit::Done } else { Exit::Unfinished }))
    }
}
