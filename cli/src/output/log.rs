//! Logs of the libraries, on standard error.

use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

use crate::flags::General;

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
        .with_writer(std::io::stderr)
        .with_ansi(false)
        .with_target(general.verbose > 1);
    tracing_subscriber::registry().with(filter).with(lines).init();
}
