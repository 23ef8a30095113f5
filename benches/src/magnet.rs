//! How long it takes from a magnet link to the first byte of content, with one seed known to a tracker on this machine.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::counterpart::MagnetSeed;
use crate::payload::Payload;
use crate::process::{Process, monotonic};
use crate::round::free_port;
use crate::subject::{Job, Role, Subject};

/// How long one round may take.
const LIMIT: Duration = Duration::from_secs(60);
/// How often the seed is asked.
const TICK: Duration = Duration::from_millis(1);
/// One block, and so one piece.
const SIZE: u32 = 16 * 1024;

/// Runs every subject in turn, round by round, and gives the seconds of each.
///
/// The clock starts with the program, or when it says that it is ready to be given the link, and stops when the seed has
/// given the block.
pub fn measure(subjects: &[Subject], runs: u32) -> Result<Value> {
    let mut seconds = vec![Vec::new(); subjects.len()];
    for number in 0..runs {
        let mut turns: Vec<_> = subjects.iter().zip(&mut seconds).collect();
        if number % 2 == 1 {
            turns.reverse();
        }
        for (subject, seconds) in turns {
            let took = once(subject).with_context(|| format!("{} by a magnet link", subject.name()))?;
            eprintln!("magnet {number}: {} took {:.1} ms", subject.name(), took * 1e3);
            seconds.push(took);
        }
    }
    let results = subjects.iter().zip(seconds).map(|(subject, mut seconds)| {
        seconds.sort_by(f64::total_cmp);
        let median = seconds.get(seconds.len() / 2).copied();
        json!({ "subject": subject.name(), "median": median, "seconds": seconds })
    });
    Ok(json!({ "scenario": "magnet", "results": results.collect::<Vec<_>>() }))
}

fn once(subject: &Subject) -> Result<f64> {
    let payload = Payload::new(SIZE.into(), SIZE)?;
    let (torrent, info_hash) = payload.torrent()?;
    let info = metainfo::Torrent::parse(&torrent)?.info_bytes().to_vec();
    let seed = MagnetSeed::start(info_hash, info, payload.slice(0, SIZE as usize).to_vec())?;
    let dir = TempDir::new()?;
    let (work, out) = (dir.path().join("work"), dir.path().join("out"));
    fs::create_dir_all(&work)?;
    fs::create_dir_all(&out)?;
    let link = seed.link(info_hash);
    let job = Job {
        role: Role::Leech,
        torrent: link.as_ref(),
        data: &out,
        work: &work,
        listen: SocketAddr::from((Ipv4Addr::LOCALHOST, free_port()?)),
    };
    let command = subject.command(&job)?;
    let mut start = monotonic();
    let mut process = Process::start(&command, None, &work)?;
    loop {
        if let Some(line) = process.next_json(TICK)
            && line["event"] == "ready"
        {
            start = monotonic();
        }
        if let Some(first) = seed.first_byte() {
            process.stop()?;
            return Ok(first - start);
        }
        if monotonic() - start > LIMIT.as_secs_f64() {
            bail!("no block was asked for in {} s: {}", LIMIT.as_secs(), process.log_tail());
        }
    }
}
