//! Telling people or programs what happens.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Result;
use metainfo::Torrent;
use storage::StorageError;
use swarm::engine::{Activity, TorrentStatus};
use swarm::session::{self, Recalled};

use super::event::{Event, Reason, State, Waiting};
use super::live::{Live, eta};
use super::origins::Origins;
use super::seek::{Seek, waiting};
use super::waits::Waits;
use super::{Plan, Role, What, recall};
use crate::output::Console;
use crate::output::human::{LABEL, count, plain, rate, size, took};
use crate::output::json::FileJson;

/// Between two events of progress.
pub(super) const STEP: Duration = Duration::from_secs(1);

/// Says what happens, as lines for people or as JSON.
pub(super) struct Report<'a> {
    plan: &'a Plan,
    console: &'a Console,
    is_json: bool,
    live: Live<'a>,
    started: Instant,
    told: Option<Instant>,
    /// Why it waits.
    waits: Waits,
    /// It was told that something of what is there cannot be read.
    lacks: bool,
    /// What was last told of records that fail.
    unrecorded: Option<String>,
    /// What the torrent is called, as far as that is known.
    name: String,
    /// Of a magnet link: what it names was not told yet.
    is_unknown: bool,
    /// Trackers whose failure was told.
    failed: BTreeSet<String>,
    /// Bytes of files that are being moved: done, and in total.
    moving: Option<(u64, u64)>,
    /// Bytes that were sent in earlier runs.
    sent: u64,
    /// That what is seeded differs was told.
    differs: bool,
    /// What the torrent is, once that is known.
    torrent: Option<Arc<Torrent>>,
    /// What was chosen before, to be told when it is known what the torrent is.
    recalled: Option<Recalled>,
}

impl<'a> Report<'a> {
    pub(super) fn new(plan: &'a Plan, console: &'a Console, is_json: bool) -> Self {
        Self {
            plan,
            console,
            is_json,
            live: Live::new(console),
            started: Instant::now(),
            told: None,
            waits: Waits::default(),
            lacks: false,
            unrecorded: None,
            name: plan.what.name(),
            is_unknown: matches!(plan.what, What::Magnet(..)),
            failed: BTreeSet::new(),
            moving: None,
            sent: 0,
            differs: false,
            torrent: plan.what.torrent().cloned(),
            recalled: None,
        }
    }

    /// How often there is something to show.
    pub(super) fn pace(&self) -> Duration {
        if self.console.is_live() && !self.is_json { STEP / 4 } else { STEP }
    }

    /// `sent` bytes in earlier runs.
    pub(super) fn started(&mut self, listening: &[SocketAddr], sent: u64) -> Result<()> {
        self.sent = sent;
        let torrent = self.plan.what.torrent();
        if self.is_json {
            return self.console.json(&Event::Started {
                info_hash: self.info_hash(),
                name: &self.name,
                total: torrent.map(|torrent| torrent.layout().payload()),
                pieces: torrent.map(|torrent| torrent.geometry().piece_count()),
                piece_length: torrent.map(|torrent| torrent.geometry().piece_length()),
                dir: self.plan.dir.display().to_string(),
                listen: listening.iter().map(ToString::to_string).collect(),
                magnet: self.plan.what.magnet(),
            });
        }
        let what = match self.plan.role {
            Role::Download(_) => "downloading to",
            Role::Seed => "seeding from",
        };
        let mut at: Vec<u16> = listening.iter().map(SocketAddr::port).collect();
        at.dedup();
        let ports = at.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
        let name = plain(&self.name);
        let dir = plain(&self.plan.dir.display().to_string());
        self.live.note(&format!("{LABEL}{name}{LABEL:#}: {what} {dir}, listening at port {ports}"));
        Ok(())
    }

    /// It is known what a magnet link names. Told once.
    pub(super) fn metadata(&mut self, torrent: &Arc<Torrent>) -> Result<()> {
        if !std::mem::take(&mut self.is_unknown) {
            return Ok(());
        }
        self.torrent = Some(torrent.clone());
        self.name = torrent.name().to_owned();
        let (geometry, total) = (torrent.geometry(), torrent.layout().payload());
        let files = FileJson::all(torrent);
        if !self.is_json {
            let files = count(files.len() as u64, "file");
            let private =
                if torrent.private() { "; it is private: peers come from trackers only" } else { "" };
            let name = plain(&self.name);
            self.live.note(&format!("{LABEL}{name}{LABEL:#}: {} in {files}{private}", size(total)));
            self.tell_recalled();
            return Ok(());
        }
        self.console.json(&Event::Metadata {
            info_hash: self.info_hash(),
            name: &self.name,
            total,
            pieces: geometry.piece_count(),
            piece_length: geometry.piece_length(),
            private: torrent.private(),
            files,
        })?;
        self.tell_recalled();
        Ok(())
    }

    fn tell_recalled(&mut self) {
        let Some(torrent) = self.torrent.clone() else { return };
        if let Some(choices) = self.recalled.take() {
            let text = format!("{}: {}", plain(&self.name), recall::text(&choices, &torrent));
            self.tell(&recall::event(self.info_hash(), &choices, &torrent), &text);
        }
    }

    /// Whether it is time to tell how it goes.
    pub(super) fn is_due(&self) -> bool {
        // A timer that fires a little early is no reason to leave a second out.
        !self.is_json || self.told.is_none_or(|at| at.elapsed() >= STEP.mul_f64(0.95))
    }

    pub(super) fn status(&mut self, status: &TorrentStatus, origins: &Origins, seek: &Seek) -> Result<()> {
        if !self.is_json {
            match (&status.activity, self.moving) {
                (Activity::Metadata { .. } | Activity::Layers { .. }, _) => self.live.waiting(status, seek),
                (_, Some((done, total))) => self.live.moving(done, total),
                (Activity::Checking { done, total }, _) => {
                    self.live.verifying((*done).into(), (*total).into());
                }
                _ => {
                    let mut status = status.clone();
                    status.totals.uploaded = status.totals.uploaded.saturating_add(self.sent);
                    self.live.status(&status, origins, seek);
                }
            }
            return Ok(());
        }
        self.told = Some(Instant::now());
        self.console.json(&Event::Progress {
            info_hash: self.info_hash(),
            state: State::of(status),
            down_rate: status.down_rate,
            up_rate: status.up_rate,
            peers: status.peers,
            seeds: status.seeds,
            sources: *origins,
            waiting: Waiting::of(status),
            eta: eta(status).map(|eta| eta.as_secs()),
        })
    }

    pub(super) fn complete(&mut self, status: &TorrentStatus) -> Result<()> {
        let time = self.started.elapsed();
        if self.is_json {
            return self.console.json(&Event::Complete {
                info_hash: self.info_hash(),
                state: State::of(status),
                seconds: time.as_secs_f64(),
            });
        }
        if self.plan.role == Role::Seed {
            return Ok(());
        }
        let name = plain(&self.name);
        let came = status.totals.downloaded;
        let how = if came == 0 {
            String::from("everything was there already")
        } else {
            let speed = rate((came as f64 / time.as_secs_f64().max(0.001)) as u64);
            format!("received {} in {}, {speed}", size(came), took(time))
        };
        self.live.print(&format!("{name}: complete, {}; {how}\n", size(status.wanted)))
    }

    pub(super) fn stopped(
        &mut self,
        status: &TorrentStatus,
        is_complete: bool,
        reason: Reason,
    ) -> Result<()> {
        if self.is_json {
            let (info_hash, state) = (self.info_hash(), State::of(status));
            return self.console.json(&Event::Stopped { info_hash, state, complete: is_complete, reason });
        }
        self.live.clear();
        let name = plain(&self.name);
        let sent = size(status.totals.uploaded);
        let text = if is_complete {
            format!("{name}: stopped seeding, sent {sent}\n")
        } else if self.plan.role == Role::Seed {
            let lost = count((status.pieces - status.pieces_done).into(), "piece");
            format!("{name}: stopped seeding, sent {sent}; {lost} could not be served\n")
        } else {
            match status.activity {
                Activity::Metadata { .. } => {
                    format!("{name}: stopped before a peer told what it is; it was {}\n", waiting(status))
                }
                Activity::Layers { .. } => {
                    format!(
                        "{name}: stopped before peers gave the hashes of its pieces; it was {}\n",
                        waiting(status)
                    )
                }
                _ => {
                    let (done, total) = (size(status.done), size(status.wanted));
                    format!("{name}: stopped with {done} of {total}; the same command goes on from there\n")
                }
            }
        };
        self.console.print(&text)
    }

    /// It waits for its disk. Told once until it goes on, or waits for something else.
    pub(super) fn paused(&mut self, error: &StorageError, retry_in: Option<Duration>) -> Result<()> {
        if !self.waits.is_news(error) {
            return Ok(());
        }
        let message = super::start::advised(error);
        if self.is_json {
            let (info_hash, retry_in) = (self.info_hash(), retry_in.map(|wait| wait.as_secs_f64()));
            return self.console.json(&Event::Paused { info_hash, message, retry_in });
        }
        self.live.note(&format!("{}. It goes on by itself when it can", plain(&message)));
        Ok(())
    }

    /// A file cannot be read. What is there of others is served on.
    pub(super) fn unreadable(&mut self, error: &StorageError, message: String, pieces: u32) -> Result<()> {
        (self.differs, self.lacks) = (true, true);
        if self.is_json {
            return self.console.json(&Event::Unreadable {
                info_hash: self.info_hash(),
                file: error.path.display().to_string(),
                offset: error.offset,
                message,
                pieces,
            });
        }
        self.live.note(&plain(&message));
        Ok(())
    }

    /// It does not wait any more.
    fn resumed(&mut self) {
        let lacked = std::mem::take(&mut self.lacks);
        if !self.waits.end() && !lacked {
            return;
        }
        if self.is_json {
            // A closed standard output is noticed by the next event that matters.
            let _ = self.console.json(&Event::Resumed { info_hash: self.info_hash() });
        } else {
            let what = if lacked { "what could not be read is there" } else { "the disk can be used" };
            self.live.note(&format!("{what} again; it goes on"));
        }
    }

    /// Something that happened in the session.
    pub(super) fn event(&mut self, event: &session::Event) {
        use session::Event::{
            Anew, Checking, FinishFailed, Linked, MoveFailed, Moved, Moving, PeerBanned, PieceFailed,
            Recalled, RecordFailed, Reused, StorageRecovered, TrackerAnswered, TrackerFailed, Verified,
        };
        match event {
            Checking { done, total, .. } if !self.is_json => self.live.checking(*done, *total),
            TrackerFailed { tracker, failure, .. } if self.failed.insert(tracker.clone()) => {
                let (tracker, failure) = (plain(tracker), plain(&failure.to_string()));
                self.note(&format!("tracker {tracker}: {failure}; it is asked again later"));
            }
            TrackerAnswered { tracker, warning, .. } => {
                self.failed.remove(tracker);
                if let Some(warning) = warning {
                    self.note(&format!("tracker {} warns: {}", plain(tracker), plain(warning)));
                }
            }
            PieceFailed { piece, .. }
                if self.plan.role == Role::Seed && !std::mem::replace(&mut self.differs, true) =>
            {
                let dir = plain(&self.plan.dir.display().to_string());
                self.note(&format!(
                    "piece {} in {dir} is not what the torrent says and is not served; unchoke verify shows where",
                    piece.get()
                ));
            }
            Anew { dir, .. } => {
                let dir = plain(&dir.display().to_string());
                self.note(&format!("{dir} was deleted since it was downloaded to; it starts anew"));
            }
            Recalled { choices, .. } => {
                self.recalled = Some(choices.clone());
                self.tell_recalled();
            }
            RecordFailed { error, .. } => {
                let text = error.to_string();
                if self.unrecorded.as_ref() != Some(&text) {
                    self.live.note(&format!("{}; more has to be checked at the next start", plain(&text)));
                    self.unrecorded = Some(text);
                }
            }
            Verified { lost, .. } => {
                let (name, lost) = (plain(&self.name), *lost);
                let text = match lost {
                    0 => format!("{name}: read back from the disk, and right"),
                    _ => format!(
                        "{name}: read back from the disk; {} not what was written, and downloaded again: look after the disk",
                        if lost == 1 { String::from("1 piece is") } else { format!("{lost} pieces are") }
                    ),
                };
                self.tell(&Event::Verified { info_hash: self.info_hash(), lost }, &text);
            }
            StorageRecovered { .. } => self.resumed(),
            Moving { done, total, .. } => self.moving = Some((*done, *total)),
            Moved { to, .. } => {
                self.moving = None;
                let dir = to.display().to_string();
                let text = format!("{}: moved to {}", plain(&self.name), plain(&dir));
                self.tell(&Event::Moved { info_hash: self.info_hash(), dir }, &text);
            }
            Linked { to, linked, .. } => {
                let dir = to.display().to_string();
                let session_linked = *linked;
                let text = format!("{}: {} in {}", plain(&self.name), given(session_linked), plain(&dir));
                let storage::Linked { linked, cloned, copied, there } = session_linked;
                let event = Event::Linked { info_hash: self.info_hash(), dir, linked, cloned, copied, there };
                self.tell(&event, &text);
            }
            Reused { files, bytes, error, .. } => {
                let (files, bytes) = (*files, *bytes);
                let text = format!(
                    "{}: took {} ({}) from files that are there",
                    plain(&self.name),
                    count(files as u64, "file"),
                    size(bytes)
                );
                let message = error.as_ref().map(super::start::advised);
                let why = message.clone();
                self.tell(&Event::Reused { info_hash: self.info_hash(), files, bytes, message }, &text);
                if let Some(why) = why {
                    self.note(&format!("--reuse: {}; it is downloaded instead", plain(&why)));
                }
            }
            FinishFailed { error, .. } | MoveFailed { error, .. } => {
                self.moving = None;
                let message = super::start::why(error);
                let text = format!("{}; it is tried again once a minute", plain(&message));
                self.tell(&Event::Unsettled { info_hash: self.info_hash(), message }, &text);
            }
            PeerBanned { addr, .. } => {
                self.live.note(&format!("{} sent wrong data and was banned", addr.ip()));
            }
            _ => {}
        }
    }

    /// Takes the live line away.
    pub(super) fn end(&self) {
        self.live.clear();
    }

    fn note(&self, text: &str) {
        if !self.is_json {
            self.live.note(text);
        }
    }

    /// Says something to people or to programs.
    fn tell(&self, event: &Event<'_>, text: &str) {
        if self.is_json {
            // A closed standard output is noticed by the next event that matters.
            let _ = self.console.json(event);
        } else {
            self.live.note(text);
        }
    }

    fn info_hash(&self) -> String {
        self.plan.what.id().to_hex()
    }
}

/// How files were given to another folder.
fn given(linked: storage::Linked) -> String {
    let storage::Linked { linked, cloned, copied, there } = linked;
    let ways =
        [(linked, "hard-linked"), (cloned, "with shared bytes"), (copied, "copied"), (there, "there before")];
    let parts =
        ways.iter().filter(|(n, _)| *n > 0).map(|(n, how)| format!("{} {how}", count(*n as u64, "file")));
    parts.collect::<Vec<_>>().join(", ")
}
