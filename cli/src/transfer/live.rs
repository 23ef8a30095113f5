//! The line that people watch.

use std::time::{Duration, Instant};

use anyhow::Result;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use swarm::engine::{Activity, TorrentStatus};

use super::origins::Origins;
use super::seek::{Seek, waiting};
use crate::output::Console;
use crate::output::human::{count, percent, rate, size, span};

/// Between two lines where the last one cannot be drawn over.
const INTERVAL: Duration = Duration::from_secs(10);

/// A line that is drawn over on a terminal, and printed now and then elsewhere.
pub(crate) struct Live<'a> {
    console: &'a Console,
    bar: ProgressBar,
    printed: Option<Instant>,
}

impl<'a> Live<'a> {
    pub(crate) fn new(console: &'a Console) -> Self {
        let bar = ProgressBar::with_draw_target(Some(1), ProgressDrawTarget::stderr());
        if !console.is_live() {
            bar.set_draw_target(ProgressDrawTarget::hidden());
        }
        style(&bar, "{bar:20.cyan/dim} {wide_msg}");
        Self { console, bar, printed: None }
    }

    /// Shows a check of what is there.
    pub(crate) fn checking(&mut self, done: u64, total: u64) {
        let text = format!("checking  {}  {} of {}", percent(done, total), size(done), size(total));
        self.show(done, total, text);
    }

    /// Shows how the torrent is.
    pub(super) fn status(&mut self, status: &TorrentStatus, origins: &Origins, seek: &Seek) {
        self.show(status.done, status.wanted, line(status, origins, seek));
    }

    /// Shows what a magnet link is waiting for.
    pub(super) fn waiting(&mut self, status: &TorrentStatus, seek: &Seek) {
        let Activity::Metadata { have, pieces, .. } = status.activity else { return };
        let text = match status.peers {
            0 => seek.words(),
            _ => waiting(status),
        };
        self.show(have.into(), pieces.unwrap_or(1).into(), text);
    }

    /// Says something above the line.
    pub(crate) fn note(&self, text: &str) {
        self.bar.suspend(|| self.console.note(text));
    }

    /// Prints a result above the line.
    pub(crate) fn print(&self, text: &str) -> Result<()> {
        self.bar.suspend(|| self.console.print(text))
    }

    /// Takes the line away.
    pub(crate) fn clear(&self) {
        self.bar.finish_and_clear();
    }

    fn show(&mut self, done: u64, total: u64, text: String) {
        if self.console.is_live() {
            self.bar.set_length(total.max(1));
            self.bar.set_position(if total == 0 { 1 } else { done });
            self.bar.set_message(text);
        } else if self.printed.is_none_or(|at| at.elapsed() >= INTERVAL) {
            self.printed = Some(Instant::now());
            self.console.note(&text);
        }
    }
}

/// Sets the looks of a bar.
pub(crate) fn style(bar: &ProgressBar, template: &str) {
    // The templates are ours and right.
    if let Ok(style) = ProgressStyle::with_template(template) {
        bar.set_style(style.progress_chars("━╸─"));
    }
}

/// How long it takes at the present rate.
pub(crate) fn eta(status: &TorrentStatus) -> Option<Duration> {
    let left = status.wanted.saturating_sub(status.done + status.in_progress);
    let is_moving = status.activity == Activity::Downloading && status.down_rate > 0;
    is_moving.then(|| Duration::from_secs(left.div_ceil(status.down_rate.max(1))))
}

/// A torrent in one line.
fn line(status: &TorrentStatus, origins: &Origins, seek: &Seek) -> String {
    let from = Some(origins.words()).filter(|words| !words.is_empty());
    let from = from.map(|words| format!(": {words}")).unwrap_or_default();
    let peers = match (status.peers, status.seeds) {
        (0, _) if status.activity == Activity::Seeding => String::from("no peers"),
        (0, _) => seek.words(),
        (n, 0) => format!("{}{from}", count(n as u64, "peer")),
        (n, seeds) => format!("{} ({}){from}", count(n as u64, "peer"), count(u64::from(seeds), "seed")),
    };
    let up = format!("up {}", rate(status.up_rate));
    let sent = status.totals.uploaded;
    if status.activity == Activity::Seeding {
        let ratio = sent as f64 / status.wanted.max(1) as f64;
        return format!("seeding  {up}  {peers}  sent {}, ratio {ratio:.2}", size(sent));
    }
    let share = percent(status.done, status.wanted);
    let eta = eta(status).map(|eta| format!("  {} left", span(eta))).unwrap_or_default();
    let pieces = format!("{}/{} pieces", status.pieces_done, status.pieces);
    let down = format!("down {}", rate(status.down_rate));
    format!("{share} of {}  {down}{eta}  {up}  {peers}  {pieces}", size(status.wanted))
}
