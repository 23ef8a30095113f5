//! Measures whole transfers over loopback, in time, CPU, memory and system calls, and prints JSON.

use std::fs;
use std::io::{self, Write};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::thread::available_parallelism;

use anyhow::{Context, Result, bail};
use clap::{Args, Parser, Subcommand, ValueEnum};
use serde_json::json;
use tempfile::TempDir;
use unchoke_benches::counterpart::{LeechOptions, leech, seed};
use unchoke_benches::magnet;
use unchoke_benches::payload::Payload;
use unchoke_benches::process::monotonic;
use unchoke_benches::report::Series;
use unchoke_benches::round::{Setting, count_syscalls, measure};
use unchoke_benches::subject::{Role, Subject};

/// The rival that ratios are given to.
const BASE: &str = "libtorrent";

/// Transfers over loopback: MB/s, CPU seconds per GiB, peak memory and system calls, as JSON.
#[derive(Parser)]
#[command(args_conflicts_with_subcommands = true)]
struct Cli {
    #[command(subcommand)]
    part: Option<Part>,
    #[command(flatten)]
    run: Run,
}

#[derive(Args)]
struct Run {
    /// What to measure
    #[arg(long, value_delimiter = ',', default_values = ["leech", "seed"])]
    scenario: Vec<Scenario>,
    /// Programs to measure, in turns; those that are not installed are left out
    #[arg(long, value_delimiter = ',', default_values = ["unchoke", "libtorrent", "aria2"])]
    subjects: Vec<String>,
    /// One more leecher; {torrent}, {data}, {ip} and {port} are filled in, and it says that it is complete as
    /// `download --json` does, or by ending
    #[arg(long, value_name = "NAME=COMMAND")]
    subject: Vec<String>,
    #[command(flatten)]
    shape: Shape,
    /// Rounds; each runs every subject once
    #[arg(long, default_value_t = 3)]
    runs: u32,
    /// Connections to a seed
    #[arg(long, default_value_t = 1)]
    connections: u32,
    /// Let everything run on any core
    #[arg(long)]
    unpinned: bool,
    /// Count system calls too, in one more round under strace
    #[arg(long)]
    syscalls: bool,
    /// The program to measure as `unchoke` [default: beside this one]
    #[arg(long, value_name = "FILE")]
    unchoke: Option<PathBuf>,
    /// Where payloads are read and written [default: the system's temporary folder]
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
}

#[derive(Args)]
struct Shape {
    /// Bytes to move; K, M and G count in 1024
    #[arg(long, default_value = "1G", value_parser = parse_size)]
    size: u64,
    /// Bytes in a piece
    #[arg(long, default_value = "1M", value_parser = parse_size)]
    piece_size: u64,
}

#[derive(Args)]
struct Peer {
    /// The subject's address
    #[arg(long)]
    to: SocketAddr,
    #[arg(long, value_parser = parse_hash)]
    info_hash: [u8; 20],
    #[command(flatten)]
    shape: Shape,
}

#[derive(Subcommand)]
enum Part {
    /// Measure the time from a magnet link to the first byte of content
    Magnet {
        /// Programs to measure, in turns; those that are not installed are left out
        #[arg(long, value_delimiter = ',', default_values = ["unchoke", "libtorrent", "aria2"])]
        subjects: Vec<String>,
        /// Rounds; each runs every subject once
        #[arg(long, default_value_t = 11)]
        runs: u32,
        /// The program to measure as `unchoke` [default: beside this one]
        #[arg(long, value_name = "FILE")]
        unchoke: Option<PathBuf>,
    },
    /// The counterpart of a leecher
    #[command(hide = true)]
    PeerSeed(Peer),
    /// The counterpart of a seed
    #[command(hide = true)]
    PeerLeech {
        #[command(flatten)]
        peer: Peer,
        #[arg(long, default_value_t = 1)]
        connections: u32,
        /// Requests in flight for each connection
        #[arg(long, default_value_t = 200)]
        depth: usize,
    },
}

#[derive(Clone, Copy, ValueEnum)]
enum Scenario {
    Leech,
    Seed,
}

fn main() -> Result<()> {
    let cli = Cli::parse();
    match cli.part {
        None => run(&cli.run),
        Some(Part::Magnet { subjects, runs, unchoke }) => {
            let mut subjects = known(&subjects, unchoke)?;
            subjects.retain(Subject::takes_links);
            print(&magnet::measure(&subjects, runs)?)
        }
        Some(Part::PeerSeed(peer)) => seed(peer.to, peer.info_hash, &payload(&peer.shape)?, || {
            say(&json!({ "event": "first", "monotonic": monotonic() }))
        }),
        Some(Part::PeerLeech { peer, connections, depth }) => {
            let options = LeechOptions { connections, depth };
            let seconds = leech(peer.to, peer.info_hash, &payload(&peer.shape)?, &options, wait_for_go)?;
            say(&json!({ "event": "done", "seconds": seconds }))
        }
    }
}

fn run(run: &Run) -> Result<()> {
    let payload = payload(&run.shape)?;
    let dir = match &run.dir {
        Some(dir) => TempDir::new_in(dir)?,
        None => TempDir::new()?,
    };
    let (seed_data, torrent) = (dir.path().join("seed"), dir.path().join("loopback.torrent"));
    fs::create_dir_all(&seed_data)?;
    let (bytes, info_hash) = payload.torrent()?;
    fs::write(&torrent, bytes)?;
    if run.scenario.iter().any(|scenario| matches!(scenario, Scenario::Seed)) {
        payload.write(&seed_data)?;
    }
    let pinned = !run.unpinned && available_parallelism()?.get() > 1;
    let setting = Setting {
        payload: &payload,
        torrent: &torrent,
        info_hash,
        seed_data: &seed_data,
        scratch: dir.path(),
        pinned,
        connections: run.connections,
    };
    let subjects = subjects(run)?;
    let mut results = Vec::new();
    for scenario in &run.scenario {
        let role = match scenario {
            Scenario::Leech => Role::Leech,
            Scenario::Seed => Role::Seed,
        };
        let series = measure_all(&setting, &subjects, role, run)?;
        let base = series.iter().find(|series| series.name == BASE);
        results.extend(series.iter().map(|one| one.to_json(base)));
    }
    let report = json!({
        "size": payload.size(), "piece_size": payload.piece(), "pinned": pinned,
        "connections": run.connections, "results": results,
    });
    print(&report)
}

fn print(report: &serde_json::Value) -> Result<()> {
    let mut out = io::stdout().lock();
    serde_json::to_writer_pretty(&mut out, report)?;
    Ok(writeln!(out)?)
}

fn subjects(run: &Run) -> Result<Vec<Subject>> {
    let mut subjects = known(&run.subjects, run.unchoke.clone())?;
    for text in &run.subject {
        subjects.push(Subject::template(text)?);
    }
    if subjects.is_empty() {
        bail!("nothing to measure");
    }
    Ok(subjects)
}

/// The programs of these names that are installed.
fn known(names: &[String], unchoke: Option<PathBuf>) -> Result<Vec<Subject>> {
    let beside = std::env::current_exe()?.with_file_name("unchoke");
    let unchoke = unchoke.unwrap_or(beside);
    let mut subjects = Vec::new();
    for name in names {
        match Subject::known(name, &unchoke)? {
            Some(subject) => subjects.push(subject),
            None => eprintln!("left out: {name} is not installed"),
        }
    }
    Ok(subjects)
}

/// Every subject in turn, round by round, so that a drift of the machine meets all of them.
fn measure_all(setting: &Setting<'_>, subjects: &[Subject], role: Role, run: &Run) -> Result<Vec<Series>> {
    let able = || subjects.iter().filter(|subject| subject.can(role));
    let size = setting.payload.size();
    let mut series: Vec<Series> = able()
        .map(|subject| Series {
            name: subject.name().to_owned(),
            role,
            size,
            rounds: Vec::new(),
            syscalls_per_gib: None,
        })
        .collect();
    for number in 1..=run.runs {
        let mut turns: Vec<_> = able().zip(&mut series).collect();
        // What ran before leaves warm memory behind or none: nobody always runs after the same one.
        if number % 2 == 0 {
            turns.reverse();
        }
        for (subject, series) in turns {
            let round = measure(setting, subject, role)?;
            let cpu = round.cpu.user + round.cpu.system;
            eprintln!("{role:?} {number}: {} took {:.2} s, {cpu:.2} s of CPU", subject.name(), round.seconds);
            series.rounds.push(round);
        }
    }
    if run.syscalls {
        for (subject, series) in able().zip(&mut series) {
            let calls = count_syscalls(setting, subject, role)?;
            series.syscalls_per_gib = calls.map(|calls| calls as f64 * (1 << 30) as f64 / size as f64);
        }
    }
    Ok(series)
}

fn payload(shape: &Shape) -> Result<Payload> {
    Payload::new(shape.size, u32::try_from(shape.piece_size).context("the piece is too long")?)
}

/// Says that the transfer can begin, and waits until the benchmark has read its clocks.
fn wait_for_go() -> Result<()> {
    say(&json!({ "event": "unchoked" }))?;
    let mut line = String::new();
    io::stdin().read_line(&mut line)?;
    Ok(())
}

fn say(line: &serde_json::Value) -> Result<()> {
    let mut out = io::stdout().lock();
    writeln!(out, "{line}")?;
    Ok(out.flush()?)
}

fn parse_size(text: &str) -> Result<u64, String> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit = match text[digits.len()..].to_ascii_uppercase().as_str() {
        "" => 1,
        "K" | "KIB" => 1 << 10,
        "M" | "MIB" => 1 << 20,
        "G" | "GIB" => 1 << 30,
        other => return Err(format!("unknown unit {other}")),
    };
    let number: u64 = digits.parse().map_err(|_| format!("not a number: {digits:?}"))?;
    number.checked_mul(unit).ok_or_else(|| "too many bytes".to_owned())
}

fn parse_hash(text: &str) -> Result<[u8; 20], String> {
    let digits: Option<Vec<u8>> =
        text.chars().map(|c| c.to_digit(16).and_then(|d| u8::try_from(d).ok())).collect();
    let digits = digits.filter(|digits| digits.len() == 40).ok_or("an info-hash is 40 hex digits")?;
    Ok(std::array::from_fn(|n| digits[2 * n] << 4 | digits[2 * n + 1]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_take_binary_units() {
        for (text, size) in [("7", 7), ("2k", 2048), ("1MiB", 1 << 20), ("3G", 3 << 30)] {
            assert_eq!(parse_size(text), Ok(size));
        }
        for text in ["", "G", "1.5G", "1T", "99999999999G"] {
            assert!(parse_size(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn hashes_are_read_in_hex() {
        assert_eq!(parse_hash(&"0f".repeat(20)), Ok([15; 20]));
        assert!(parse_hash("0f").is_err());
    }
}
