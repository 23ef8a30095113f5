//! Logs of the libraries, on standard error.

use std::io::{self, Write};
use std::sync::{Mutex, PoisonError};

use indicatif::ProgressBar;
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

use crate::flags::General;

/// The line of progress, if there is one.
static LINE: Mutex<Option<ProgressBar>> = Mutex::new(None);

/// Starts logging as loud as the flags say.
pub(crate) fn start(general: &General) {
    let level = match (general.quiet, general.verbose) {
        (true, _) => return,
        (_, 0) => LevelFilter::WARN,
        (_, 1) => LevelFilter::INFO,
        (_, 2) => LevelFilter::DEBUG,
        _ => LevelFilter::TRACE,
    };
    let ours = ["unchoke", "storage", "swarm"];
    let filter = Targets::new().with_default(LevelFilter::WARN).with_targets(ours.map(|name| (name, level)));
    let lines = tracing_subscriber::fmt::layer()
        .with_writer(|| Above)
        .with_ansi(false)
        .with_target(general.verbose > 1);
    tracing_subscriber::registry().with(filter).with(lines).init();
}

/// Has log lines written above this line from now on.
pub(crate) fn above(line: &ProgressBar) {
    *LINE.lock().unwrap_or_else(PoisonError::into_inner) = Some(line.clone());
}

/// Writes to standard error without tearing the line of progress. It gets whole lines.
struct Above;

impl Write for Above {
    fn write(&mut self, lines: &[u8]) -> io::Result<usize> {
        let line = LINE.lock().unwrap_or_else(PoisonError::into_inner).clone();
        match line {
            Some(line) => line.suspend(|| io::stderr().write(lines)),
            None => io::stderr().write(lines),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
