//! One module for each command.

mod completions;
mod create;
mod demo;
mod dht;
mod download;
mod edit;
mod files;
mod magnet;
mod man;
mod scrape;
mod seed;
mod show;
mod verify;

use anyhow::Result;

use crate::exit::Exit;
use crate::flags::Command;
use crate::output::Console;

/// Runs a command.
pub(crate) fn run(command: Command, console: &Console) -> Result<Exit> {
    match command {
        Command::Download(args) => download::run(&args, console),
        Command::Seed(args) => seed::run(&args, console),
        Command::Magnet(args) => magnet::run(&args, console),
        Command::Create(args) => create::run(&args, console),
        Command::Show(args) => show::run(&args, console),
        Command::Verify(args) => verify::run(&args, console),
        Command::Edit(args) => edit::run(&args, console),
        Command::Move(args) => files::relocate(&args, console),
        Command::Rename(args) => files::rename(&args, console),
        Command::Remove(args) => files::remove(&args, console),
        Command::Scrape(args) => scrape::run(&args, console),
        Command::Dht(args) => dht::run(&args, console),
        Command::Demo(args) => demo::run(&args, console),
        Command::Completions(args) => completions::run(&args, console),
        Command::Man(args) => man::run(&args, console),
    }
}
