//! Ctrl-C, SIGTERM and the end of the terminal: the first asks the work to stop, the second ends the process at once.

use std::fs;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use anyhow::{Context, Result};
use signal_hook::consts::{SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGXFSZ};
use signal_hook::iterator::Signals;
use signal_hook::{flag, low_level};
use tokio::signal::unix::{SignalKind, signal};

/// What a shell reports for a program that Ctrl-C ended.
const INTERRUPTED: i32 = 130;

/// How long the end may take when a person waits for it.
const PERSON: Duration = Duration::from_millis(4500);
/// How long it may take otherwise: whoever stops a program that does not end kills it after ten seconds.
const SYSTEM: Duration = Duration::from_secs(8);

/// Whether somebody asked to stop.
#[derive(Clone, Debug, Default)]
pub(crate) struct Stop {
    asked: Arc<AtomicBool>,
    by_person: Arc<AtomicBool>,
}

impl Stop {
    /// Starts to listen to signals.
    pub(crate) fn on_signals() -> Result<Self> {
        let stop = Self::default();
        for signal in signals() {
            // In this order: the first signal finds the flag down and raises it, the second finds it up.
            flag::register_conditional_shutdown(signal, INTERRUPTED, Arc::clone(&stop.asked))
                .and_then(|_| stop.raise_at(signal))
                .context("cannot listen to signals")?;
        }
        // A file that may not grow is an error of its disk (EFBIG), and not the end of the process.
        flag::register(SIGXFSZ, Arc::default()).context("cannot listen to signals")?;
        Ok(stop)
    }

    /// Starts to listen to signals. The second removes the folder, once there is one, before it ends the process.
    pub(crate) fn removing(folder: Arc<OnceLock<PathBuf>>) -> Result<Self> {
        let stop = Self::default();
        for signal in signals() {
            stop.raise_at(signal).context("cannot listen to signals")?;
        }
        let mut received = Signals::new(signals()).context("cannot listen to signals")?;
        let second = move || {
            if received.forever().nth(1).is_some() {
                if let Some(folder) = folder.get() {
                    // Files that are being made may keep it from being empty: once more then.
                    let _ = fs::remove_dir_all(folder).or_else(|_| fs::remove_dir_all(folder));
                }
                low_level::exit(INTERRUPTED);
            }
        };
        std::thread::Builder::new().name("signals".into()).spawn(second).context("cannot start a thread")?;
        Ok(stop)
    }

    fn raise_at(&self, signal: i32) -> std::io::Result<()> {
        if signal == SIGINT {
            flag::register(signal, Arc::clone(&self.by_person))?;
        }
        flag::register(signal, Arc::clone(&self.asked)).map(|_| ())
    }

    /// How long the end may take: until a slow disk has taken what came.
    pub(crate) fn patience(&self) -> Duration {
        if self.by_person.load(Ordering::Relaxed) { PERSON } else { SYSTEM }
    }

    /// Whether it was asked.
    pub(crate) fn is_asked(&self) -> bool {
        self.asked.load(Ordering::Relaxed)
    }

    /// Waits until it is asked.
    pub(crate) async fn asked(&self) -> Result<()> {
        let cannot = "cannot listen to signals";
        let mut interrupt = signal(SignalKind::interrupt()).context(cannot)?;
        let mut terminate = signal(SignalKind::terminate()).context(cannot)?;
        let mut quit = signal(SignalKind::quit()).context(cannot)?;
        let mut hangup =
            if is_hangup_ignored() { None } else { Some(signal(SignalKind::hangup()).context(cannot)?) };
        let hung_up = async {
            match &mut hangup {
                Some(hangup) => hangup.recv().await,
                None => std::future::pending().await,
            }
        };
        if self.is_asked() {
            return Ok(());
        }
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
            _ = quit.recv() => {}
            _ = hung_up => {}
        }
        Ok(())
    }

    /// For work that looks at a flag.
    pub(crate) fn flag(&self) -> &AtomicBool {
        &self.asked
    }
}

/// The signals that ask for the end.
fn signals() -> Vec<i32> {
    let mut signals = vec![SIGINT, SIGTERM, SIGQUIT];
    if !is_hangup_ignored() {
        signals.push(SIGHUP);
    }
    signals
}

/// Whether the program was started to outlive its terminal, as `nohup` does. Where the system does not tell, it is taken
/// for true.
fn is_hangup_ignored() -> bool {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let ignored = ignored.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    ignored.is_none_or(|mask| mask & (1 << (SIGHUP - 1)) != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_asked_for_the_end_does_not_wait_longer_than_was_promised() {
        let stop = Stop::default();
        assert!(stop.patience() < Duration::from_secs(10), "then whoever asked kills it");
        stop.by_person.store(true, Ordering::Relaxed);
        assert!(stop.patience() < Duration::from_secs(5), "a person");
    }
}
