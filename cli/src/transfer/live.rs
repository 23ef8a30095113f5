//! The line that people watch.

use std::time::{Duration, Instant};

use anyhow::Result;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use swarm::engine::{Activity, TorrentStatus};

use super::origins::Origins;
use super::seek::{Seek, waiting};
use crate::output::human::{count, percent, rate, size, span};
use crate::output::{Console, log};

/// Between two lines where the last one cannot be drawn over.
const INTERVAL: Duration = Duration::from_secs(10);

/// A line that is drawn over on a terminal, and printed now and then elsewhere.
pub(crate) struct Live<'a> {
    console: &'a Console,
    bar: ProgressBar,
    printed: Option<Instant>,
}

/// Columns of the bar where there is room.
const BAR: usize = 20;
/// Columns of the bar on a narrow terminal.
const SHORT_BAR: usize = 8;
/// Columns of a terminal that does not tell.
const USUAL: usize = 80;
/// A terminal with fewer columns is narrow.
const NARROW: usize = 110;

impl<'a> Live<'a> {
    pub(crate) fn new(console: &'a Console) -> Self {
        let bar = ProgressBar::with_draw_target(Some(1), ProgressDrawTarget::stderr());
        if !console.is_live() {
            bar.set_draw_target(ProgressDrawTarget::hidden());
        }
        let live = Self { console, bar, printed: None };
        live.shape(BAR);
        log::above(&live.bar);
        live
    }

    /// Shows a check of what is there.
    pub(crate) fn checking(&mut self, done: u64, total: u64) {
        let text = format!("checking  {}  {} of {}", percent(done, total), size(done), size(total));
        self.show(done, total, text);
    }

    /// Shows how pieces of what was downloaded are read back.
    pub(super) fn verifying(&mut self, done: u64, total: u64) {
        let text = format!("reading back  {}  {done} of {}", percent(done, total), count(total, "piece"));
        self.show(done, total, text);
    }

    /// Shows how complete files are being moved.
    pub(super) fn moving(&mut self, done: u64, total: u64) {
        let text = format!("moving  {}  {} of {}", percent(done, total), size(done), size(total));
        self.show(done, total, text);
    }

    /// Shows how the torrent is.
    pub(super) fn status(&mut self, status: &TorrentStatus, origins: &Origins, seek: &Seek) {
        let columns = self.console.is_live().then(|| self.console.width().unwrap_or(USUAL));
        let bar = if columns.is_some_and(|columns| columns < NARROW) { SHORT_BAR } else { BAR };
        self.shape(bar);
        let room = columns.map_or(usize::MAX, |columns| columns.saturating_sub(bar + 1));
        self.show(status.done, status.wanted, line(status, origins, seek, room));
    }

    /// Shows what a magnet link is waiting for.
    pub(super) fn waiting(&mut self, status: &TorrentStatus, seek: &Seek) {
        let (have, pieces) = match status.activity {
            Activity::Metadata { have, pieces, .. } => (have, pieces),
            Activity::Layers { have, requests, .. } => (have, Some(requests)),
            _ => return,
        };
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

    fn shape(&self, columns: usize) {
        style(&self.bar, &format!("{{bar:{columns}.cyan/dim}} {{wide_msg}}"));
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

/// How much of a torrent's line there is room for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Detail {
    Peers,
    Rates,
    Short,
    Whole,
    Origins,
}

/// A torrent in one line: with as much as fits into `room` columns, but at least with how far it is, at which rate, and with
/// its pieces and peers.
fn line(status: &TorrentStatus, origins: &Origins, seek: &Seek, room: usize) -> String {
    let details = [Detail::Origins, Detail::Whole, Detail::Short, Detail::Rates];
    let mut lines = details.into_iter().map(|detail| text(status, origins, seek, detail));
    let fitting = lines.find(|line| line.chars().count() <= room);
    fitting.unwrap_or_else(|| text(status, origins, seek, Detail::Peers))
}

fn text(status: &TorrentStatus, origins: &Origins, seek: &Seek, detail: Detail) -> String {
    let peers = peers(status, origins, seek, detail);
    let is_short = detail < Detail::Whole;
    let up = if is_short {
        format!("↑ {}", rate(status.up_rate))
    } else {
        format!("up {}", rate(status.up_rate))
    };
    if status.activity == Activity::Seeding {
        let sent = status.totals.uploaded;
        let ratio = sent as f64 / status.wanted.max(1) as f64;
        return format!("seeding  {up}  {peers}  sent {}, ratio {ratio:.2}", size(sent));
    }
    let mut parts = vec![percent(status.done, status.wanted)];
    if !is_short {
        parts[0].push_str(&format!(" of {}", size(status.wanted)));
    }
    let arrow = if is_short { "↓" } else { "down" };
    parts.push(format!("{arrow} {}", rate(status.down_rate)));
    parts.extend(eta(status).map(|eta| format!("{} left", span(eta))));
    if detail > Detail::Rates {
        parts.push(up);
    }
    let unit = if detail == Detail::Peers { "" } else { " pieces" };
    parts.push(format!("{}/{}{unit}", status.pieces_done, status.pieces));
    parts.push(peers);
    parts.join("  ")
}

fn peers(status: &TorrentStatus, origins: &Origins, seek: &Seek, detail: Detail) -> String {
    let from = Some(origins.words()).filter(|words| detail == Detail::Origins && !words.is_empty());
    let from = from.map(|words| format!(": {words}")).unwrap_or_default();
    match (status.peers, status.seeds) {
        (0, _) if status.activity == Activity::Seeding => String::from("no peers"),
        (0, _) => seek.words(),
        (n, 0) => format!("{}{from}", count(n as u64, "peer")),
        (n, _) if detail == Detail::Peers => count(n as u64, "peer"),
        (n, seeds) => format!("{} ({}){from}", count(n as u64, "peer"), count(u64::from(seeds), "seed")),
    }
}

#[cfg(test)]
mod tests {
    use metainfo::TorrentId;
    use swarm::engine::Totals;

    use super::*;

    fn status() -> TorrentStatus {
        TorrentStatus {
            id: TorrentId([7; 20]),
            activity: Activity::Downloading,
            wanted: 60_000_000,
            done: 49_000_000,
            pieces: 1234,
            pieces_done: 1021,
            peers: 12,
            seeds: 3,
            down_rate: 32_000_000,
            up_rate: 1_300_000,
            in_progress: 0,
            unreadable: 0,
            retry_in: None,
            totals: Totals::default(),
        }
    }

    #[test]
    fn every_width_shows_rate_time_pieces_and_peers() {
        let (origins, seek) = (Origins::default(), Seek::default());
        for columns in [60, 80, 100, 120, 200] {
            let bar = if columns < NARROW { SHORT_BAR } else { BAR };
            let line = line(&status(), &origins, &seek, columns - bar - 1);
            assert!(line.chars().count() < columns - bar, "{columns}: {line}");
            for word in ["81.6%", "30.5 MiB/s", "left", "1021/1234", "12 peers"] {
                assert!(line.contains(word), "{columns}: {line}");
            }
        }
    }

    #[test]
    fn a_line_with_room_says_where_peers_come_from_and_where_others_are_looked_for() {
        let mut origins = Origins::default();
        (origins.tracker, origins.pex, origins.lsd) = (9, 2, 1);
        let wide = line(&status(), &origins, &Seek::default(), usize::MAX);
        assert!(wide.ends_with("12 peers (3 seeds): 9 by tracker, 2 by PEX, 1 by LSD"), "{wide}");
        let narrow = line(&status(), &origins, &Seek::default(), 90);
        assert!(narrow.ends_with("12 peers (3 seeds)"), "{narrow}");
        let alone = TorrentStatus { peers: 0, seeds: 0, down_rate: 0, ..status() };
        let text = line(&alone, &Origins::default(), &Seek::default(), usize::MAX);
        assert!(text.ends_with("waiting for peers"), "{text}");
    }

    #[test]
    fn a_wide_line_has_everything() {
        let text = line(&status(), &Origins::default(), &Seek::default(), usize::MAX);
        let expected =
            "81.6% of 57.2 MiB  down 30.5 MiB/s  1s left  up 1.2 MiB/s  1021/1234 pieces  12 peers (3 seeds)";
        assert_eq!(text, expected);
    }
}
