//! The words of the command line as plain values.
//!
//! Every flag has an environment variable `UNCHOKE_...`, and a value in the configuration file below that.

mod create;
mod demo;
mod dht;
mod download;
mod edit;
mod files;
mod magnet;
mod net;
mod placing;
mod print;
mod scrape;
mod seed;
mod show;
pub(crate) mod values;
mod verify;

pub(crate) use create::Create;
pub(crate) use demo::Demo;
pub(crate) use dht::{Dht, DhtAction, DhtGet, DhtPut};
pub(crate) use download::Download;
pub(crate) use edit::Edit;
pub(crate) use files::{Move, Recorded, Remove, Rename};
pub(crate) use magnet::Magnet;
pub(crate) use net::{Check, Net, OwnLimits};
pub(crate) use placing::{Link, Placing, Preallocate};
pub(crate) use print::{Completions, Man};
pub(crate) use scrape::Scrape;
pub(crate) use seed::Seed;
pub(crate) use show::Show;
pub(crate) use verify::Verify;

use clap::builder::FalseyValueParser;
use clap::{ArgAction, CommandFactory, Parser, Subcommand};

/// A light BitTorrent client.
///
/// It downloads and seeds torrents, and makes, shows, checks and edits torrent files.
#[derive(Clone, Debug, Parser)]
#[command(name = "unchoke", version, max_term_width = 100, after_help = AFTER)]
pub(crate) struct Args {
    #[command(flatten)]
    pub general: General,
    #[command(subcommand)]
    pub command: Command,
}

const AFTER: &str = "\
Every flag can also be given by the environment variable that its help names, or
in the file $XDG_CONFIG_HOME/unchoke/config.toml (or ~/.config/unchoke/config.toml)
by its long name, at the top for all commands or in a table for one:

    up-limit = \"2M\"
    [download]
    output = \"/srv/incoming\"

The command line goes over the environment, and the environment over the file.
An empty variable counts as none. Several values of a flag are separated by
spaces, those of --select and --priority by line ends.

Exit status:
    0  done
    1  failed
    2  wrong usage
    3  a file or path that was named does not exist
    4  a URL cannot be reached, or an address cannot be listened at
    5  data do not match their hashes
    6  the disk refuses
    7  stopped before the end
  130  ended by a second Ctrl-C";

/// Flags of every command.
#[derive(Clone, Copy, Debug, clap::Args)]
pub(crate) struct General {
    /// Print results and errors only, no progress
    #[arg(
        short,
        long,
        global = true,
        env = "UNCHOKE_QUIET",
        conflicts_with = "verbose",
        help_heading = "General"
    )]
    pub quiet: bool,
    /// Log to standard error what happens to torrents, trackers and files; twice for peers and records too, three times for
    /// requests to trackers, orders to the disk and pieces too
    #[arg(short, long, global = true, env = "UNCHOKE_VERBOSE", action = ArgAction::Count, help_heading = "General")]
    pub verbose: u8,
}

#[derive(Clone, Debug, Subcommand)]
pub(crate) enum Command {
    Download(Download),
    Seed(Seed),
    Magnet(Magnet),
    Create(Create),
    Show(Show),
    Verify(Verify),
    Edit(Edit),
    Move(Move),
    Rename(Rename),
    Remove(Remove),
    Scrape(Scrape),
    Dht(Dht),
    Demo(Demo),
    Completions(Completions),
    Man(Man),
}

/// The parser, without what the configuration file says.
pub(crate) fn command() -> clap::Command {
    switches(Args::command())
}

/// Lets `UNCHOKE_JSON=1` and `=no` mean what they look like, in all commands.
fn switches(command: clap::Command) -> clap::Command {
    let command = command.mut_args(|arg| match arg.get_action() {
        ArgAction::SetTrue => arg.value_parser(FalseyValueParser::new()),
        _ => arg,
    });
    command.mut_subcommands(switches)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    #[test]
    fn the_parser_is_sound() {
        command().debug_assert();
    }

    #[test]
    fn every_flag_has_a_variable_of_one_meaning() {
        let command = command();
        let mut meanings: BTreeMap<String, String> = BTreeMap::new();
        let nested = command.get_subcommands().flat_map(clap::Command::get_subcommands);
        for holder in std::iter::once(&command).chain(command.get_subcommands()).chain(nested) {
            for arg in holder.get_arguments().filter(|arg| arg.get_long().is_some()) {
                let long = arg.get_long().unwrap_or_default();
                if ["help", "version"].contains(&long) {
                    continue;
                }
                let name = format!("--{long} of {}", holder.get_name());
                let variable = arg.get_env().unwrap_or_else(|| panic!("{name} has no variable"));
                let variable = variable.to_str().unwrap().to_owned();
                assert!(variable.starts_with("UNCHOKE_"), "{name}: {variable}");
                let values = format!("--{long} {:?}", arg.get_value_names());
                let known = meanings.entry(variable.clone()).or_insert_with(|| values.clone());
                assert_eq!(*known, values, "{variable} means two things");
            }
        }
    }
}
