//! A folder of its own for each test, and the program in it.

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::net::{SocketAddr, TcpListener};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Output, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tempfile::TempDir;

/// What hangs ends after this. It is no bound on how long things take.
pub(crate) const LIMIT: Duration = Duration::from_secs(300);

/// A folder in which the program runs without the settings of whoever tests.
pub(crate) struct Env {
    dir: TempDir,
}

/// What a run left behind.
pub(crate) struct Ran {
    pub(crate) code: Option<i32>,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Env {
    pub(crate) fn new() -> Self {
        Self { dir: TempDir::new().unwrap() }
    }

    pub(crate) fn path(&self, name: impl AsRef<Path>) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Writes a file, and the folders above it.
    pub(crate) fn write(&self, name: &str, bytes: impl AsRef<[u8]>) {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }

    pub(crate) fn read(&self, name: &str) -> Vec<u8> {
        fs::read(self.path(name)).unwrap()
    }

    /// Content that is the same in every run.
    pub(crate) fn content(&self, name: &str, len: usize) {
        let mut state = 88_172_645_463_325_252_u64 ^ len as u64;
        let bytes = std::iter::repeat_with(|| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state.to_le_bytes()
        });
        self.write(name, bytes.flatten().take(len).collect::<Vec<u8>>());
    }

    /// A folder `album` of four files.
    pub(crate) fn album(&self) {
        self.content("album/one.flac", 300_000);
        self.content("album/two.flac", 150_001);
        self.content("album/more/cover.jpg", 20_000);
        self.write("album/empty.txt", "");
    }

    pub(crate) fn command(&self, words: &[&str]) -> Command {
        self.program(env!("CARGO_BIN_EXE_unchoke"), words)
    }

    /// Another program, with the same surroundings.
    fn program(&self, program: &str, words: &[&str]) -> Command {
        let mut command = Command::new(program);
        command.args(words).current_dir(self.dir.path()).stdin(Stdio::null());
        command.env_clear().env("PATH", std::env::var_os("PATH").unwrap_or_default());
        command.env("HOME", self.dir.path()).env("TMPDIR", self.dir.path());
        command
    }

    pub(crate) fn run(&self, words: &[&str]) -> Ran {
        ran(self.command(words).output().unwrap())
    }

    /// Runs it, and sees that all went well.
    pub(crate) fn ok(&self, words: &[&str]) -> String {
        let ran = self.run(words);
        assert_eq!(ran.code, Some(0), "{words:?}: {}{}", ran.out, ran.err);
        ran.out
    }

    /// Runs it, and reads what it prints as one JSON object.
    pub(crate) fn json(&self, words: &[&str]) -> Value {
        serde_json::from_str(&self.ok(words)).unwrap()
    }

    /// Runs it, and sees that it fails with this status and one line that holds these words.
    pub(crate) fn fails(&self, code: i32, words: &[&str], says: &str) {
        let ran = self.run(words);
        assert_eq!(ran.code, Some(code), "{words:?}: {}{}", ran.out, ran.err);
        let line = ran.err.lines().find(|line| line.starts_with("unchoke: ")).unwrap_or_default();
        assert!(line.contains(says), "{words:?}: {}", ran.err);
    }

    /// Runs it until its standard error has said this, and then stops it by SIGTERM.
    pub(crate) fn run_until(&self, words: &[&str], says: &str) -> Ran {
        let mut child = self.command(words).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap());
        let (mut err, mut out) = (String::new(), String::new());
        while !err.contains(says) {
            assert!(lines.read_line(&mut err).unwrap() > 0, "{words:?} ended without {says:?}: {err}");
        }
        kill_process(Pid::from_child(&child), Signal::TERM).unwrap();
        child.stdout.take().unwrap().read_to_string(&mut out).unwrap();
        lines.read_to_string(&mut err).unwrap();
        Ran { code: child.wait().unwrap().code(), out, err }
    }

    /// Starts it, and reads its events.
    pub(crate) fn start(&self, words: &[&str]) -> Running {
        self.start_by(env!("CARGO_BIN_EXE_unchoke"), words)
    }

    /// Starts it by another program, which becomes it.
    pub(crate) fn start_by(&self, program: &str, words: &[&str]) -> Running {
        let mut command = self.program(program, words);
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap());
        Running { child, lines }
    }
}

pub(crate) fn ran(output: Output) -> Ran {
    let text = |bytes| String::from_utf8(bytes).unwrap();
    Ran { code: output.status.code(), out: text(output.stdout), err: text(output.stderr) }
}

/// A program that goes on. Dropping it ends it.
pub(crate) struct Running {
    child: Child,
    lines: BufReader<ChildStdout>,
}

impl Running {
    /// Reads events until one of this kind.
    pub(crate) fn until(&mut self, kind: &str) -> Value {
        self.until_one(kind, |event| event["event"] == kind)
    }

    /// Reads events until one for which this holds.
    pub(crate) fn until_one(&mut self, what: &str, holds: impl Fn(&Value) -> bool) -> Value {
        let mut seen = Vec::new();
        let end = Instant::now() + LIMIT;
        loop {
            assert!(Instant::now() < end, "no {what}, but {seen:?}");
            let mut line = String::new();
            if self.lines.read_line(&mut line).unwrap() == 0 {
                let mut err = String::new();
                self.child.stderr.take().unwrap().read_to_string(&mut err).unwrap();
                panic!("no {what}, but {seen:?} and {err}");
            }
            let event: Value = serde_json::from_str(&line).unwrap();
            if holds(&event) {
                return event;
            }
            seen.push(event);
        }
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    /// Closes its output, and gives its status at the end.
    pub(crate) fn unread(mut self) -> Option<i32> {
        let (reader, _) = std::io::pipe().unwrap();
        self.lines = BufReader::new(OwnedFd::from(reader).into());
        self.end()
    }

    /// Its status at the end.
    pub(crate) fn end(mut self) -> Option<i32> {
        let end = Instant::now() + LIMIT;
        while Instant::now() < end {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status.code();
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        panic!("it does not end");
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The address at which a started session listens.
pub(crate) fn listening(started: &Value) -> SocketAddr {
    started["listen"][0].as_str().unwrap().parse().unwrap()
}

/// A port of this machine that somebody has.
pub(crate) fn taken() -> TcpListener {
    TcpListener::bind("127.0.0.1:0").unwrap()
}
