//! Logs of the libraries, on standard error.

use tracing_subscriber::EnvFilter;

use crate::flags::General;

/// Starts logging as loud as the flags say.
pub(crate) fn start(general: &General) {
    let level = match (general.quiet, general.verbose) {
        (true, _) => return,
        (_, 0) => "warn",
        (_, 1) => "info",
        (_, 2) => "debug",
        _ => "trace",
    };
    let ours = ["unchoke", "storage", "swarm", "unchoke_storage", "unchoke_swarm"];
    let filter = ours.iter().fold(String::from("warn"), |filter, name| format!("{filter},{name}={level}"));
    let is_plain = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    tracing_subscriber::fmt()
        .with_env_filter(EnvFilter::new(filter))
        .with_writer(std::io::stderr)
        .with_ansi(!is_plain && std::io::IsTerminal::is_terminal(&std::io::stderr()))
        .with_target(general.verbose > 1)
        .init();
}
