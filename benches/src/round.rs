//! One transfer of one subject, measured.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde_json::Value;
use tempfile::TempDir;

use crate::payload::Payload;
use crate::process::{Cpu, Process, monotonic};
use crate::subject::{Job, Role, Subject};

/// How long one transfer may take.
const LIMIT: Duration = Duration::from_secs(300);
/// How often memory is looked at while a subject works.
const TICK: Duration = Duration::from_millis(10);

/// What all rounds of a run have in common.
pub struct Setting<'a> {
    /// What is moved.
    pub payload: &'a Payload,
    /// Its `.torrent` file.
    pub torrent: &'a Path,
    /// Its info-hash.
    pub info_hash: [u8; 20],
    /// The folder that holds the payload for seeds.
    pub seed_data: &'a Path,
    /// The folder for what is written.
    pub scratch: &'a Path,
    /// Subject on the first core, everything else on the second.
    pub pinned: bool,
    /// Connections to a seed.
    pub connections: u32,
}

/// What one transfer took.
#[derive(Clone, Copy, Debug)]
pub struct Round {
    /// Leech: from adding to completion. Seed: from the moment it unchoked to the last byte.
    pub seconds: f64,
    /// How much of it passed before a leecher's first request.
    pub start: Option<f64>,
    /// CPU seconds of the subject for it; what it does after completion counts too.
    pub cpu: Cpu,
    /// Resident at the most, in bytes.
    pub peak: u64,
    /// Not mapped from a file at the most, in bytes, as far as seen.
    pub anonymous: u64,
}

/// Runs `subject` in `role` once.
pub fn measure(setting: &Setting<'_>, subject: &Subject, role: Role) -> Result<Round> {
    run(setting, subject, role, |command| command)
}

/// Runs it once under strace and answers the number of system calls, or nothing without strace.
pub fn count_syscalls(setting: &Setting<'_>, subject: &Subject, role: Role) -> Result<Option<u64>> {
    if Command::new("strace").arg("-V").output().is_err() {
        return Ok(None);
    }
    let table = setting.scratch.join("strace.txt");
    run(setting, subject, role, |command| {
        let mut traced = Command::new("strace");
        traced.args(["-f", "-c", "-o"]).arg(&table).arg(command.get_program()).args(command.get_args());
        for (name, value) in command.get_envs() {
            value.map(|value| traced.env(name, value));
        }
        traced
    })?;
    Ok(total_calls(&fs::read_to_string(&table)?))
}

/// A port that is free now.
pub fn free_port() -> Result<u16> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port())
}

fn run(
    setting: &Setting<'_>,
    subject: &Subject,
    role: Role,
    wrap: impl FnOnce(Command) -> Command,
) -> Result<Round> {
    let dir = TempDir::new_in(setting.scratch)?;
    let (work, out) = (dir.path().join("work"), dir.path().join("out"));
    fs::create_dir_all(&work)?;
    fs::create_dir_all(&out)?;
    let job = Job {
        role,
        torrent: setting.torrent,
        data: if role == Role::Seed { setting.seed_data } else { &out },
        work: &work,
        listen: SocketAddr::from((Ipv4Addr::LOCALHOST, free_port()?)),
    };
    let command = wrap(subject.command(&job)?);
    let round = match role {
        Role::Leech => measure_leech(setting, &job, &command),
        Role::Seed => measure_seed(setting, &job, &command),
    };
    round.with_context(|| format!("{} as {role:?}", subject.name()))
}

/// Lets the system have memory at hand for the page cache of what is written. A virtual machine gives memory that is free
/// for two seconds back to its host, and then the first touch of each page costs more than everything else that is
/// done to its bytes; whether that happened would decide every comparison.
fn warm_memory(payload: u64) {
    let most = available_memory().unwrap_or(0) / 2;
    let len = usize::try_from((payload + payload / 4).min(most)).unwrap_or(0);
    drop(std::hint::black_box(vec![1_u8; len]));
}

/// Bytes that programs may still take.
fn available_memory() -> Option<u64> {
    let table = fs::read_to_string("/proc/meminfo").ok()?;
    let line = table.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    Some(line.trim().strip_suffix(" kB")?.parse::<u64>().ok()? * 1024)
}

fn measure_leech(setting: &Setting<'_>, job: &Job<'_>, command: &Command) -> Result<Round> {
    let mut counterpart = counterpart(setting, job, "peer-seed")?;
    warm_memory(setting.payload.size());
    let mut start = monotonic();
    let mut subject = Process::start(command, setting.pinned.then_some(0), job.work)?;
    let mut before = Cpu::default();
    loop {
        let line = subject.next_json(TICK);
        subject.sample_memory();
        match line.as_ref().map(said) {
            Some(Said::Ready) => {
                before = subject.cpu()?;
                start = monotonic();
            }
            Some(Said::Complete) => break,
            Some(Said::Error) => bail!("{}", line.unwrap_or_default()),
            Some(Said::Other) | None => {}
        }
        if job.done_file().exists() {
            break;
        }
        // What it said last may not have been read yet.
        if line.is_none()
            && subject.has_ended()?
            && subject.next_json(TICK).is_none_or(|l| said(&l) != Said::Error)
        {
            break;
        }
        if monotonic() - start > LIMIT.as_secs_f64() {
            bail!("not complete after {} s: {}", LIMIT.as_secs(), subject.log_tail());
        }
    }
    let seconds = monotonic() - start;
    let memory = subject.sample_memory();
    let log = subject.log_tail();
    let cpu = less(subject.stop()?, before);
    let written = fs::metadata(job.data.join(crate::payload::NAME)).map_or(0, |file| file.len());
    if written != setting.payload.size() {
        bail!("it ended with {written} bytes: {log}\ncounterpart: {}", counterpart.log_tail());
    }
    let first = counterpart.next_json(TICK).and_then(|line| line["monotonic"].as_f64());
    Ok(Round {
        seconds,
        start: first.map(|first| first - start),
        cpu,
        peak: memory.peak,
        anonymous: memory.anonymous,
    })
}

fn measure_seed(setting: &Setting<'_>, job: &Job<'_>, command: &Command) -> Result<Round> {
    let mut subject = Process::start(command, setting.pinned.then_some(0), job.work)?;
    let mut counterpart = counterpart(setting, job, "peer-leech")?;
    let end = Instant::now() + LIMIT;
    let wait = |counterpart: &mut Process, subject: &mut Process, event: &str| -> Result<Value> {
        loop {
            // Looked at first: what it said before it ended is still there to be read.
            let over = Instant::now() > end || counterpart.has_ended()? || subject.has_ended()?;
            match counterpart.next_json(TICK) {
                Some(line) if line["event"] == event => return Ok(line),
                None if over => {
                    bail!("no {event}: {}\ncounterpart: {}", subject.log_tail(), counterpart.log_tail());
                }
                Some(_) | None => {}
            }
            subject.sample_memory();
        }
    };
    wait(&mut counterpart, &mut subject, "unchoked")?;
    let before = subject.cpu()?;
    counterpart.tell("go")?;
    let done = wait(&mut counterpart, &mut subject, "done")?;
    let seconds = done["seconds"].as_f64().context("the counterpart says no time")?;
    let memory = subject.sample_memory();
    let cpu = less(subject.stop()?, before);
    Ok(Round { seconds, start: None, cpu, peak: memory.peak, anonymous: memory.anonymous })
}

fn counterpart(setting: &Setting<'_>, job: &Job<'_>, word: &str) -> Result<Process> {
    let mut command = Command::new(std::env::current_exe()?);
    let hash: String = setting.info_hash.iter().map(|byte| format!("{byte:02x}")).collect();
    command.arg(word).args(["--to", &job.listen.to_string(), "--info-hash", &hash]);
    command.args(["--size", &setting.payload.size().to_string()]);
    command.args(["--piece-size", &setting.payload.piece().to_string()]);
    if word == "peer-leech" {
        command.args(["--connections", &setting.connections.to_string()]);
    }
    let work = job.work.join("counterpart");
    fs::create_dir_all(&work)?;
    Process::start(&command, setting.pinned.then_some(1), &work)
}

#[derive(PartialEq, Eq)]
enum Said {
    Ready,
    Complete,
    Error,
    Other,
}

fn said(line: &Value) -> Said {
    match (line["event"].as_str(), line["state"].as_str()) {
        (Some("ready"), _) => Said::Ready,
        (Some("complete"), _) | (_, Some("complete")) => Said::Complete,
        (Some("error"), _) => Said::Error,
        _ => Said::Other,
    }
}

fn less(after: Cpu, before: Cpu) -> Cpu {
    Cpu { user: after.user - before.user, system: after.system - before.system }
}

/// The number of calls in the last line of strace's table.
fn total_calls(table: &str) -> Option<u64> {
    let total = table.lines().rev().find(|line| line.ends_with("total"))?;
    total.split_ascii_whitespace().nth(3)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_are_read_with_and_without_errors() {
        let line = "100.00    0.000395           1       270        14 total\n";
        assert_eq!(total_calls(line), Some(270));
        assert_eq!(total_calls("100.00    0.000395           1       270           total\n"), Some(270));
        assert_eq!(total_calls(""), None);
    }
}
