//! What is printed, and where.

pub(crate) mod human;
pub(crate) mod json;
pub(crate) mod log;
pub(crate) mod torrent;

use std::io::{self, IsTerminal, Write};

use anyhow::Result;
use serde::Serialize;

use crate::flags::General;

/// Where results and progress go: results to standard output, everything else to standard error.
pub(crate) struct Console {
    is_quiet: bool,
    is_live: bool,
}

impl Console {
    pub(crate) fn new(general: &General) -> Self {
        let is_terminal =
            io::stderr().is_terminal() && std::env::var_os("TERM").is_none_or(|term| term != "dumb");
        Self { is_quiet: general.quiet, is_live: is_terminal && !general.quiet }
    }

    /// Whether progress may be drawn over.
    pub(crate) fn is_live(&self) -> bool {
        self.is_live
    }

    /// Columns that a line of progress has, where that is known.
    pub(crate) fn width(&self) -> Option<usize> {
        let size = rustix::termios::tcgetwinsize(io::stderr()).ok()?;
        Some(usize::from(size.ws_col)).filter(|columns| *columns > 0)
    }

    /// Prints a result.
    pub(crate) fn print(&self, text: &str) -> Result<()> {
        let mut out = anstream::AutoStream::auto(io::stdout().lock());
        out.write_all(text.as_bytes())?;
        Ok(out.flush()?)
    }

    /// Prints a result as JSON on one line.
    pub(crate) fn json(&self, value: &impl Serialize) -> Result<()> {
        let mut out = io::stdout().lock();
        out.write_all(json::line(value)?.as_bytes())?;
        Ok(out.flush()?)
    }

    /// Says something that is no result.
    pub(crate) fn note(&self, text: &str) {
        if !self.is_quiet {
            // A closed standard error is no reason to stop.
            let _ = writeln!(anstream::stderr(), "{text}");
        }
    }
}
