//! Ctrl-C and SIGTERM: the first asks the work to stop, the second ends the process at once.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context, Result};
use signal_hook::consts::{SIGXFSZ, TERM_SIGNALS};
use signal_hook::flag;
use tokio::signal::unix::{SignalKind, signal};

/// What a shell reports for a program that Ctrl-C ended.
const INTERRUPTED: i32 = 130;

/// Whether somebody asked to stop.
#[derive(Clone, Debug, Default)]
pub(crate) struct Stop(Arc<AtomicBool>);

impl Stop {
    /// Starts to listen to signals.
    pub(crate) fn on_signals() -> Result<Self> {
        let stop = Self::default();
        for &signal in TERM_SIGNALS {
            // In this order: the first signal finds the flag down and raises it, the second finds it up.
            flag::register_conditional_shutdown(signal, INTERRUPTED, Arc::clone(&stop.0))
                .and_then(|_| flag::register(signal, Arc::clone(&stop.0)))
                .context("cannot listen to signals")?;
        }
        // A file that may not grow is an error of its disk (EFBIG), and not the end of the process.
        flag::register(SIGXFSZ, Arc::default()).context("cannot listen to signals")?;
        Ok(stop)
    }

    /// Whether it was asked.
    pub(crate) fn is_asked(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    /// Waits until it is asked.
    pub(crate) async fn asked(&self) -> Result<()> {
        let cannot = "cannot listen to signals";
        let mut interrupt = signal(SignalKind::interrupt()).context(cannot)?;
        let mut terminate = signal(SignalKind::terminate()).context(cannot)?;
        let mut quit = signal(SignalKind::quit()).context(cannot)?;
        if self.is_asked() {
            return Ok(());
        }
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
            _ = quit.recv() => {}
        }
        Ok(())
    }

    /// For work that looks at a flag.
    pub(crate) fn flag(&self) -> &AtomicBool {
        &self.0
    }
}
