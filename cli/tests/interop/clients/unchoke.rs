//! The program under test, through the same command line that a user has.

use std::ffi::OsStr;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};

use crate::client::{Client, Job, Running, State};
use crate::process::{JsonProcess, Process, command, version_line};

pub(crate) const PROGRAM: &str = env!("CARGO_BIN_EXE_unchoke");

pub(crate) struct Unchoke;

impl Client for Unchoke {
    fn name(&self) -> &'static str {
        "unchoke"
    }

    fn version(&self) -> Option<String> {
        version_line(Path::new(PROGRAM), "--version")
    }

    fn start(&self, job: &Job<'_>) -> Result<Box<dyn Running>> {
        Self::start_with(job, &[])
    }
}

impl Unchoke {
    /// With more flags.
    pub(crate) fn start_with(job: &Job<'_>, flags: &[&OsStr]) -> Result<Box<dyn Running>> {
        let seeds = std::fs::read_dir(&job.data)?.next().is_some();
        Self::run(job, seeds, flags)
    }

    /// As a leecher, whatever there is.
    pub(crate) fn download(job: &Job<'_>) -> Result<Box<dyn Running>> {
        Self::run(job, false, &[])
    }

    /// The same, killed as soon as it has so many bytes.
    pub(crate) fn killed_at(job: &Job<'_>, bytes: u64) -> Result<()> {
        let mut peer = Self::process(job, false, &[])?;
        loop {
            let line = peer.next(Duration::from_secs(120))?.context("it says nothing")?;
            ensure!(line["event"] != "complete", "it was too fast");
            if line["event"] == "progress" && line["done"].as_u64().is_some_and(|done| done >= bytes) {
                return Ok(());
            }
        }
    }

    fn run(job: &Job<'_>, seeds: bool, flags: &[&OsStr]) -> Result<Box<dyn Running>> {
        Ok(Box::new(Peer { process: Self::process(job, seeds, flags)?, state: State::Busy }))
    }

    fn process(job: &Job<'_>, seeds: bool, flags: &[&OsStr]) -> Result<JsonProcess> {
        let mut command = command(Path::new(PROGRAM));
        // The settings of whoever runs the tests do not count here.
        command.env("XDG_CONFIG_HOME", &job.work).env("XDG_DATA_HOME", &job.work).env("HOME", &job.work);
        let magnet = job.magnet_link(&[]);
        if job.magnet {
            command.args(["download", &magnet, "--seed", "-o"]).arg(&job.data);
        } else if seeds {
            command.arg("seed").arg(job.torrent_file(&[])?).arg("-d").arg(&job.data);
        } else {
            command.arg("download").arg(job.torrent_file(&[])?).arg("-o").arg(&job.data).arg("--seed");
        }
        command.args(["--json", "--listen", &job.listen.ip().to_string()]);
        command.args(["--port", &job.listen.port().to_string()]);
        for peer in job.peers.iter().filter(|_| !job.magnet) {
            command.args(["--peer", &peer.to_string()]);
        }
        for (is_used, flag) in [(job.dht.is_some(), "--no-dht"), (job.pex, "--no-pex"), (job.lsd, "--no-lsd")]
        {
            if !is_used {
                command.arg(flag);
            }
        }
        for node in job.dht.iter().flatten() {
            command.args(["--bootstrap", &node.to_string()]);
        }
        if job.down_limit > 0 {
            command.args(["--down-limit", &job.down_limit.to_string()]);
        }
        command.args(flags);
        Process::start_json("unchoke", command, &job.work)
    }
}

struct Peer {
    process: JsonProcess,
    state: State,
}

impl Running for Peer {
    fn state(&mut self) -> Result<State> {
        while let Some(line) = self.process.next(Duration::ZERO)? {
            self.state = match line["event"].as_str() {
                Some("started" | "progress") if self.state != State::Complete => State::Downloading,
                Some("complete") => State::Complete,
                Some("error" | "stopped") | None => bail!("unchoke: {line}"),
                Some(_) => self.state,
            };
        }
        Ok(self.state)
    }

    fn log_tail(&self) -> String {
        self.process.process.log_tail()
    }
}
