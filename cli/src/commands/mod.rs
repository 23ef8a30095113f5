//! One module for each command.

mod completions;
mod create;
mod edit;
mod man;
mod show;
mod verify;

use anyhow::Result;

use crate::exit::Exit;
use crate::flags::Command;
use crate::output::Console;

/// Runs a command.
pub(crate) fn run(command: Command, console: &Console) -> Result<Exit> {
    match command {
        Command::Create(args) => create::run(&args, console),
        Command::Show(args) => show::run(&args, console),
        Command::Verify(args) => verify::run(&args, console),
        Command::Edit(args) => edit::run(&args, console),
        Command::Completions(args) => completions::run(&args, console),
        Command::Man(args) => man::run(&args, console),
        _ => unreachable!(),
    }
}
