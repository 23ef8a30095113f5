//! Programs that cannot outlive the test that started them, free ports, and waiting with a limit.

use std::env;
use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::net::{IpAddr, SocketAddr, TcpListener, UdpSocket};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, kill_process_group};
use serde_json::Value;

/// A running program. Dropping it kills its process group.
pub(crate) struct Process {
    name: &'static str,
    child: Child,
    log: PathBuf,
}

impl Process {
    /// Starts `command` with its output in a log file below `dir`.
    pub(crate) fn start(name: &'static str, mut command: Command, dir: &Path) -> Result<Process> {
        let log = dir.join(format!("{name}.log"));
        let file = File::create(&log)?;
        command.stdin(Stdio::null()).stdout(file.try_clone()?).stderr(file);
        Process::spawn(name, command, log)
    }

    /// Starts `command` and reads its standard output as one JSON object per line.
    pub(crate) fn start_json(name: &'static str, mut command: Command, dir: &Path) -> Result<JsonProcess> {
        let log = dir.join(format!("{name}.log"));
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(File::create(&log)?);
        let mut process = Process::spawn(name, command, log)?;
        let stdin = process.child.stdin.take();
        let stdout = process.child.stdout.take().context("standard output is not piped")?;
        let (send, lines) = mpsc::channel();
        thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                if send.send(line).is_err() {
                    break;
                }
            }
        });
        Ok(JsonProcess { process, lines, _stdin: stdin })
    }

    /// Fails, with the end of its log, if the program is no longer there.
    pub(crate) fn check_alive(&mut self) -> Result<()> {
        if let Some(status) = self.child.try_wait()? {
            bail!("{} ended with {status}: {}", self.name, self.log_tail());
        }
        Ok(())
    }

    /// Waits for the program to end by itself.
    pub(crate) fn wait_exit(&mut self, limit: Duration) -> Result<std::process::ExitStatus> {
        let name = self.name;
        wait_for(&format!("the end of {name}"), limit, || Ok(self.child.try_wait()?))
    }

    /// The last lines of what it printed.
    pub(crate) fn log_tail(&self) -> String {
        let text = fs::read(&self.log).unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(15)..].join("\n")
    }

    fn spawn(name: &'static str, mut command: Command, log: PathBuf) -> Result<Process> {
        let child = command.process_group(0).spawn().with_context(|| format!("starting {name}"))?;
        Ok(Process { name, child, log })
    }

    fn group(&self) -> Pid {
        Pid::from_child(&self.child)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Until it is waited for, its id cannot belong to another process.
        if let Ok(None) = self.child.try_wait() {
            let _ = kill_process_group(self.group(), Signal::KILL);
            let _ = self.child.wait();
        }
    }
}

/// A program that reports in JSON lines.
pub(crate) struct JsonProcess {
    pub(crate) process: Process,
    lines: Receiver<String>,
    _stdin: Option<ChildStdin>,
}

impl JsonProcess {
    /// The next line, or nothing if none came within `limit`.
    pub(crate) fn next(&mut self, limit: Duration) -> Result<Option<Value>> {
        match self.lines.recv_timeout(limit) {
            Ok(line) => {
                let value = serde_json::from_str(&line).with_context(|| format!("not JSON: {line}"))?;
                Ok(Some(value))
            }
            Err(RecvTimeoutError::Timeout) => Ok(None),
            Err(RecvTimeoutError::Disconnected) => {
                let status = self.process.wait_exit(Duration::from_secs(5))?;
                bail!("{} ended with {status}: {}", self.process.name, self.process.log_tail());
            }
        }
    }
}

/// The full path of a program, looked for in PATH and where daemons live.
pub(crate) fn find(program: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    let system = ["/usr/sbin", "/usr/local/sbin"].map(PathBuf::from);
    env::split_paths(&path).chain(system).map(|dir| dir.join(program)).find(|file| file.is_file())
}

/// A command that dies with the test's thread, and sees no proxy settings: they would send
/// loopback traffic away.
pub(crate) fn command(program: &Path) -> Command {
    let mut command = match find("setpriv") {
        Some(setpriv) => {
            let mut wrapped = Command::new(setpriv);
            wrapped.args(["--pdeathsig", "KILL", "--"]).arg(program);
            wrapped
        }
        None => Command::new(program),
    };
    without_proxies(&mut command);
    command
}

/// The same as user nobody, if the tests run as root.
pub(crate) fn command_as_nobody(program: &Path) -> Command {
    match find("setpriv") {
        Some(setpriv) if rustix::process::getuid().is_root() => {
            let mut command = Command::new(setpriv);
            command.args(["--reuid", "65534", "--regid", "65534", "--clear-groups"]);
            command.args(["--pdeathsig", "KILL", "--"]).arg(program);
            without_proxies(&mut command);
            command
        }
        _ => command(program),
    }
}

/// The first line that a program prints for its version flag.
pub(crate) fn version_line(program: &Path, flag: &str) -> Option<String> {
    let output = command(program).arg(flag).env("TERM", "dumb").stdin(Stdio::null()).output().ok()?;
    let text = [output.stdout, output.stderr].concat();
    String::from_utf8_lossy(&text).lines().map(str::trim).find(|line| !line.is_empty()).map(str::to_owned)
}

/// An address whose port is free for TCP and UDP and that no other test of this run was given.
///
/// The ports lie below those that the kernel hands out for outgoing connections.
pub(crate) fn free_addr(host: IpAddr) -> SocketAddr {
    const FIRST: u32 = 20_000;
    const COUNT: u32 = 12_000;
    static NEXT: AtomicU32 = AtomicU32::new(u32::MAX);
    let seed = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.subsec_nanos()) % COUNT;
    let _ = NEXT.compare_exchange(u32::MAX, seed, Ordering::Relaxed, Ordering::Relaxed);
    for _ in 0..COUNT {
        let port = FIRST + NEXT.fetch_add(1, Ordering::Relaxed) % COUNT;
        let addr = SocketAddr::new(host, u16::try_from(port).expect("below 32,000"));
        if TcpListener::bind(addr).is_ok() && UdpSocket::bind(addr).is_ok() {
            return addr;
        }
    }
    panic!("no free port on {host}");
}

/// Polls `test` until it answers. An error of `test` ends the wait.
pub(crate) fn wait_for<T>(
    what: &str,
    limit: Duration,
    mut test: impl FnMut() -> Result<Option<T>>,
) -> Result<T> {
    const PAUSE: Duration = Duration::from_millis(50);
    let end = Instant::now() + limit;
    loop {
        if let Some(value) = test().with_context(|| format!("waiting for {what}"))? {
            return Ok(value);
        }
        if Instant::now() >= end {
            bail!("waiting for {what}: nothing within {} s", limit.as_secs());
        }
        thread::sleep(PAUSE);
    }
}

fn without_proxies(command: &mut Command) {
    for (name, _) in env::vars_os() {
        if name.to_string_lossy().to_ascii_lowercase().ends_with("_proxy") {
            command.env_remove(name);
        }
    }
}
