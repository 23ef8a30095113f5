//! The unchoke command line.
//!
//! It is thin: `flags` reads words into plain values, `settings` turns those into what the libraries take,
//! `commands` calls the libraries, `output` and `progress` say what happened, and `exit` gives the status.
#![forbid(unsafe_code)]

mod commands;
mod config;
mod dht_state;
mod exit;
mod flags;
mod input;
mod output;
mod progress;
mod settings;
mod stop;
mod transfer;

use std::process::ExitCode;

use crate::exit::Exit;
use crate::flags::Args;
use crate::output::Console;

fn main() -> ExitCode {
    match run() {
        Ok(exit) => exit.into(),
        Err(error) => exit::report(&error).into(),
    }
}

fn run() -> anyhow::Result<Exit> {
    let args = match config::arguments()? {
        Ok(args) => args,
        Err(shown) => return exit::usage(&shown),
    };
    let Args { general, command } = args;
    output::log::start(&general);
    commands::run(command, &Console::new(&general))
}
