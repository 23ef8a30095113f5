//! `unchoke completions`

use anyhow::Result;

use crate::exit::Exit;
use crate::flags::{self, Completions};
use crate::output::Console;

pub(super) fn run(args: &Completions, console: &Console) -> Result<Exit> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut flags::command(), "unchoke", &mut script);
    console.print(&String::from_utf8_lossy(&script))?;
    Ok(Exit::Done)
}
