//! A measured process: pinned, watched and ended.

use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process_group, waitid};
use rustix::time::{ClockId, clock_gettime};
use serde_json::Value;

/// CPU seconds of a process, its threads, and the children that it waited for.
#[derive(Clone, Copy, Debug, Default)]
pub struct Cpu {
    /// Seconds in the program.
    pub user: f64,
    /// Seconds in the kernel for it.
    pub system: f64,
}

/// Memory of a process, in bytes.
#[derive(Clone, Copy, Debug, Default)]
pub struct Memory {
    /// The most that was resident at any time, mapped files included.
    pub peak: u64,
    /// The most that was seen of it that is not a mapped file.
    pub anonymous: u64,
}

/// Seconds on the clock that all processes share.
pub fn monotonic() -> f64 {
    let now = clock_gettime(ClockId::Monotonic);
    now.tv_sec as f64 + now.tv_nsec as f64 / 1e9
}

/// A running process. Dropping it kills its process group.
pub struct Process {
    child: Child,
    stdin: Option<ChildStdin>,
    lines: Receiver<String>,
    log: PathBuf,
    memory: Memory,
}

impl Process {
    /// Starts `command` on one core, or anywhere. Its standard error goes to a file in `work`.
    pub fn start(command: &Command, core: Option<u32>, work: &Path) -> Result<Process> {
        // Should the benchmark be killed, what it started goes with it.
        let mut pinned = Command::new("setpriv");
        pinned.args(["--pdeathsig", "KILL", "--"]);
        if let Some(core) = core {
            pinned.args(["taskset", "-c", &core.to_string()]);
        }
        pinned.arg(command.get_program());
        pinned.args(command.get_args());
        for (name, value) in command.get_envs() {
            match value {
                Some(value) => pinned.env(name, value),
                None => pinned.env_remove(name),
            };
        }
        let log = work.join("stderr.log");
        pinned.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(fs::File::create(&log)?).process_group(0);
        let mut child = pinned.spawn().with_context(|| format!("starting {:?}", command.get_program()))?;
        let stdin = child.stdin.take();
        let stdout = child.stdout.take().context("standard output is not piped")?;
        let (send, lines) = mpsc::channel();
        thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                if send.send(line).is_err() {
                    break;
                }
            }
        });
        Ok(Process { child, stdin, lines, log, memory: Memory::default() })
    }

    /// The next JSON line, if one comes within `limit`; other lines are passed over.
    pub fn next_json(&mut self, limit: Duration) -> Option<Value> {
        let line = self.lines.recv_timeout(limit).ok()?;
        serde_json::from_str(&line).ok()
    }

    /// Sends a line to its standard input.
    pub fn tell(&mut self, line: &str) -> Result<()> {
        use std::io::Write;
        let stdin = self.stdin.as_mut().context("standard input is closed")?;
        Ok(writeln!(stdin, "{line}")?)
    }

    /// CPU seconds until now; of a process that has ended too, as long as it was not waited for.
    pub fn cpu(&self) -> Result<Cpu> {
        let text = fs::read_to_string(format!("/proc/{}/stat", self.child.id()))?;
        parse_stat(&text).with_context(|| format!("unexpected /proc/PID/stat: {text}"))
    }

    /// Notes how much memory it has now. The kernel keeps the peak, but only while the process lives.
    pub fn sample_memory(&mut self) -> Memory {
        let text = fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap_or_default();
        self.memory.peak = self.memory.peak.max(field(&text, "VmHWM:"));
        self.memory.anonymous = self.memory.anonymous.max(field(&text, "RssAnon:"));
        self.memory
    }

    /// Whether it has ended by itself. It is not waited for, so that its CPU time can still be read.
    pub fn has_ended(&self) -> Result<bool> {
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT | WaitIdOptions::NOHANG;
        Ok(waitid(WaitId::Pid(self.pid()), options)?.is_some())
    }

    /// Closes standard input, asks it to stop, and answers its CPU seconds at the end.
    pub fn stop(mut self) -> Result<Cpu> {
        const GRACE: Duration = Duration::from_secs(20);
        self.stdin = None;
        if !self.has_ended()? {
            kill_process_group(self.pid(), Signal::TERM)?;
        }
        let end = Instant::now() + GRACE;
        while !self.has_ended()? {
            if Instant::now() >= end {
                bail!("it did not stop: {}", self.log_tail());
            }
            thread::sleep(Duration::from_millis(2));
        }
        self.cpu()
    }

    /// The last lines of its standard error.
    pub fn log_tail(&self) -> String {
        let text = String::from_utf8_lossy(&fs::read(&self.log).unwrap_or_default()).into_owned();
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(10)..].join("\n")
    }

    fn pid(&self) -> Pid {
        Pid::from_child(&self.child)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if self.has_ended().is_ok_and(|ended| !ended) {
            let _ = kill_process_group(self.pid(), Signal::KILL);
        }
        let _ = self.child.wait();
    }
}

/// The fields after the program's name, which may hold anything.
fn parse_stat(text: &str) -> Option<Cpu> {
    let fields: Vec<&str> = text.rsplit_once(')')?.1.split_ascii_whitespace().collect();
    let ticks = |at: usize| fields.get(at).and_then(|field| field.parse::<f64>().ok());
    let per_second = rustix::param::clock_ticks_per_second() as f64;
    Some(Cpu { user: (ticks(11)? + ticks(13)?) / per_second, system: (ticks(12)? + ticks(14)?) / per_second })
}

/// A field of /proc/PID/status that is given in KiB.
fn field(text: &str, name: &str) -> u64 {
    let line = text.lines().find_map(|line| line.strip_prefix(name));
    line.and_then(|rest| rest.split_ascii_whitespace().next()).and_then(|kib| kib.parse().ok()).unwrap_or(0)
        * 1024
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cpu_time_is_found_behind_a_name_with_spaces_and_brackets() {
        let text = "42 (a) b c) S 1 2 3 4 5 6 7 8 9 10 100 200 300 400 20 0";
        let cpu = parse_stat(text).unwrap();
        let per_second = rustix::param::clock_ticks_per_second() as f64;
        assert_eq!((cpu.user, cpu.system), (400.0 / per_second, 600.0 / per_second));
    }

    #[test]
    fn memory_is_read_in_kib() {
        assert_eq!(field("Name:\tx\nVmHWM:\t    12 kB\n", "VmHWM:"), 12 * 1024);
    }
}
