use std::path::PathBuf;

use clap_complete::Shell;

/// Print a completion script for a shell
#[derive(Clone, Debug, clap::Args)]
#[command(
    after_help = "Example:\n  unchoke completions bash > ~/.local/share/bash-completion/completions/unchoke"
)]
pub(crate) struct Completions {
    /// The shell
    pub shell: Shell,
}

/// Print the manual page
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = "Example:\n  unchoke man -o ~/.local/share/man/man1")]
pub(crate) struct Man {
    /// Write the pages of all commands into this folder instead
    #[arg(short, long, env = "UNCHOKE_MAN_OUTPUT", value_name = "DIR")]
    pub output: Option<PathBuf>,
}
