//! A program that prints JSON lines.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use serde_json::Value;

/// What hangs ends after this. It is no bound on how long things take.
pub(crate) const LIMIT: Duration = Duration::from_secs(300);

/// A running program. Dropping it kills it.
pub(crate) struct Process {
    child: Child,
    lines: Receiver<(Instant, Value)>,
    errors: PathBuf,
    /// What it printed, with the time at which it came.
    pub(crate) seen: Vec<(Instant, Value)>,
}

impl Process {
    /// Its errors go to a file.
    pub(crate) fn start(mut command: Command, errors: &Path) -> Self {
        let file = File::options().append(true).create(true).open(errors).expect("a file");
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(file);
        let mut child = command.spawn().expect("the program starts");
        let out = BufReader::new(child.stdout.take().expect("it is piped"));
        let (sender, lines) = channel();
        std::thread::spawn(move || {
            for line in out.lines().map_while(Result::ok) {
                // A line that was being written when the program was killed is no line.
                let Ok(value) = serde_json::from_str(&line) else { break };
                if sender.send((Instant::now(), value)).is_err() {
                    break;
                }
            }
        });
        Self { child, lines, errors: errors.to_owned(), seen: Vec::new() }
    }

    /// The next line, if one comes before the time is over; an error at the end of the program.
    pub(crate) fn next(&mut self, wait: Duration) -> Result<Option<Value>, String> {
        match self.lines.recv_timeout(wait) {
            Ok(line) => {
                self.seen.push(line.clone());
                Ok(Some(line.1))
            }
            Err(RecvTimeoutError::Timeout) => Ok(None),
            Err(RecvTimeoutError::Disconnected) => Err(self.last_words()),
        }
    }

    /// Reads until a line fits.
    pub(crate) fn until(&mut self, fits: impl Fn(&Value) -> bool) -> Value {
        let end = Instant::now() + LIMIT;
        while Instant::now() < end {
            match self.next(Duration::from_millis(50)) {
                Ok(Some(line)) if fits(&line) => return line,
                Ok(_) => {}
                Err(words) => panic!("it ended by itself: {words}"),
            }
        }
        panic!("it takes too long; last: {:?}", self.seen.last());
    }

    /// Ends it where it stands, and gives what it printed.
    pub(crate) fn kill(mut self) -> Vec<(Instant, Value)> {
        self.end();
        while let Ok(line) = self.lines.recv() {
            self.seen.push(line);
        }
        std::mem::take(&mut self.seen)
    }

    fn end(&mut self) {
        // It may have ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    fn last_words(&mut self) -> String {
        self.end();
        format!("{} {:?}", self.errors(), self.seen.last())
    }

    /// What it said on standard error.
    pub(crate) fn errors(&self) -> String {
        std::fs::read_to_string(&self.errors).expect("its errors")
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.end();
    }
}
