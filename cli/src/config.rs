//! The configuration file: defaults for flags, below the environment and the command line.
//!
//! Keys are the long names of flags. At the top they hold for every command that has the flag, in a table for
//! the command of that name:
//!
//! ```toml
//! up-limit = "2M"
//! [download]
//! output = "/srv/incoming"
//! ```

use std::borrow::Cow;
use std::env;
use std::ffi::OsString;
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use anyhow::Result;
use clap::error::{ContextKind, ContextValue, ErrorKind as ClapKind};
use clap::{Arg, ArgAction, Command, FromArgMatches};
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::exit::{Exit, failure};
use crate::flags::{self, Args};

/// A value that the file gives to a flag.
#[derive(Debug)]
struct Setting {
    flag: String,
    values: Vec<String>,
    line: usize,
}

/// Reads the command line, the environment and the file. The inner error is the parser's: help, version or a
/// usage error.
pub(crate) fn arguments() -> Result<std::result::Result<Args, clap::Error>> {
    let words: Vec<OsString> = env::args_os().collect();
    let plain = parse(flags::command(), &words);
    if let Err(error) = &plain
        && !error.use_stderr()
    {
        return Ok(plain);
    }
    let Some((path, text)) = read()? else { return Ok(plain) };
    let (command, settings) = apply(flags::command(), &path, &text)?;
    match parse(command, &words) {
        Err(error) if error.kind() != ClapKind::MissingRequiredArgument => {
            blame(&error, &path, &settings).map_or(Ok(Err(error)), Err)
        }
        other => Ok(other),
    }
}

fn parse(command: Command, words: &[OsString]) -> std::result::Result<Args, clap::Error> {
    Args::from_arg_matches(&command.try_get_matches_from(words)?)
}

/// The file's text, if there is one.
fn read() -> Result<Option<(PathBuf, String)>> {
    let absolute = |name: &str| env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let folder = absolute("XDG_CONFIG_HOME").or_else(|| absolute("HOME").map(|home| home.join(".config")));
    let Some(path) = folder.map(|folder| folder.join("unchoke/config.toml")) else { return Ok(None) };
    match fs::read_to_string(&path) {
        Ok(text) => Ok(Some((path, text))),
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => Ok(None),
        Err(error) => Err(failure(Exit::Usage, format!("cannot read {}: {error}", path.display()))),
    }
}

/// Makes the file's values the defaults of the flags.
fn apply(command: Command, path: &Path, text: &str) -> Result<(Command, Vec<Setting>)> {
    let mut applying = Applying { command, path, text, settings: Vec::new() };
    let table = DeTable::parse(text)
        .map_err(|error| applying.wrong(error.span().map_or(0, |span| span.start), error.message().trim()))?;
    // What a command's own table says goes over what the top says.
    let (tables, keys): (Vec<_>, Vec<_>) = table.get_ref().iter().partition(|(_, v)| v.get_ref().is_table());
    for (key, value) in keys {
        applying.top(key, value)?;
    }
    for (key, value) in tables {
        applying.table(key, value)?;
    }
    Ok((applying.command, applying.settings))
}

type Key<'a> = Spanned<Cow<'a, str>>;
type Value<'a> = Spanned<DeValue<'a>>;

struct Applying<'a> {
    command: Command,
    path: &'a Path,
    text: &'a str,
    settings: Vec<Setting>,
}

impl Applying<'_> {
    /// A key for all commands that have the flag.
    fn top(&mut self, key: &Key<'_>, value: &Value<'_>) -> Result<()> {
        let holders = holders(&self.command, key.get_ref());
        if holders.is_empty() {
            let why = "keys are the long names of flags, see unchoke --help";
            return Err(self.wrong(key.span().start, &format!("unknown key {:?}; {why}", key.get_ref())));
        }
        holders.iter().try_for_each(|holder| self.assign(holder, key, value))
    }

    /// The keys for one command.
    fn table(&mut self, key: &Key<'_>, value: &Value<'_>) -> Result<()> {
        let name = key.get_ref().as_ref();
        let Some(sub) = self.command.find_subcommand(name).cloned() else {
            let why = format!("unknown table [{name}]; tables are named as commands");
            return Err(self.wrong(key.span().start, &why));
        };
        for (key, value) in value.get_ref().as_table().into_iter().flatten() {
            let word = key.get_ref().as_ref();
            if flag(&sub, word).is_none() {
                let why = format!("unknown key {word:?}; unchoke {name} has no flag --{word}");
                return Err(self.wrong(key.span().start, &why));
            }
            self.assign(&sub, key, value)?;
        }
        Ok(())
    }

    fn assign(&mut self, holder: &Command, key: &Key<'_>, value: &Value<'_>) -> Result<()> {
        let name = key.get_ref().as_ref();
        let values = values(value, flag(holder, name))
            .map_err(|why| self.wrong(value.span().start, &format!("{name}: {why}")))?;
        let line = line_of(self.text, key.span().start);
        self.settings.push(Setting { flag: name.into(), values: values.clone(), line });
        self.command = set(std::mem::take(&mut self.command), holder.get_name(), name, values);
        Ok(())
    }

    fn wrong(&self, offset: usize, why: &str) -> anyhow::Error {
        let line = line_of(self.text, offset);
        failure(Exit::Usage, format!("{}, line {line}: {why}", self.path.display()))
    }
}

/// The commands that have this flag, the program itself among them.
fn holders(command: &Command, name: &str) -> Vec<Command> {
    let all = std::iter::once(command).chain(command.get_subcommands());
    all.filter(|holder| flag(holder, name).is_some()).cloned().collect()
}

/// The flag of this long name that can be set: it has an environment variable too.
fn flag<'a>(command: &'a Command, name: &str) -> Option<&'a Arg> {
    command.get_arguments().find(|arg| arg.get_long() == Some(name) && arg.get_env().is_some())
}

fn set(command: Command, holder: &str, name: &str, values: Vec<String>) -> Command {
    let default = |holder: Command| match flag(&holder, name).map(|arg| arg.get_id().clone()) {
        Some(id) => holder.mut_arg(id, |arg| arg.default_values(values)),
        None => holder,
    };
    if command.get_name() == holder { default(command) } else { command.mut_subcommand(holder, default) }
}

/// The words that would stand on the command line.
fn values(value: &Spanned<DeValue<'_>>, arg: Option<&Arg>) -> std::result::Result<Vec<String>, String> {
    let takes_many = arg.is_some_and(|arg| matches!(arg.get_action(), ArgAction::Append));
    match value.get_ref() {
        DeValue::Array(list) if takes_many => list.iter().map(|item| scalar(item.get_ref())).collect(),
        DeValue::Array(_) => Err("expected one value, found a list".into()),
        value => Ok(vec![scalar(value)?]),
    }
}

fn scalar(value: &DeValue<'_>) -> std::result::Result<String, String> {
    match value {
        DeValue::String(text) => Ok(text.as_ref().to_owned()),
        DeValue::Integer(number) => Ok(number.as_str().to_owned()),
        DeValue::Float(number) => Ok(number.as_str().to_owned()),
        DeValue::Boolean(truth) => Ok(truth.to_string()),
        DeValue::Datetime(_) => Err("expected text, a number or true or false, found a date".into()),
        DeValue::Array(_) | DeValue::Table(_) => Err("expected text, a number or true or false".into()),
    }
}

/// Lines count from 1.
fn line_of(text: &str, offset: usize) -> usize {
    let before = text.get(..offset).unwrap_or(text);
    before.bytes().filter(|byte| *byte == b'\n').count() + 1
}

/// Names the line of the file if a value there is what the parser refuses.
fn blame(error: &clap::Error, path: &Path, settings: &[Setting]) -> Option<anyhow::Error> {
    let text = |kind| match error.get(kind) {
        Some(ContextValue::String(text)) => Some(text.as_str()),
        _ => None,
    };
    let (arg, value) = (text(ContextKind::InvalidArg)?, text(ContextKind::InvalidValue)?);
    let name = arg.trim_start_matches("--").split([' ', '=', '[']).next()?;
    let found = settings.iter().find(|s| s.flag == name && s.values.iter().any(|v| v == value))?;
    let why = std::error::Error::source(error).map(|why| format!(": {why}")).unwrap_or_default();
    let text = format!("{}, line {}: {name} cannot be {value:?}{why}", path.display(), found.line);
    Some(failure(Exit::Usage, text))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn applied(text: &str, words: &[&str]) -> std::result::Result<Args, String> {
        let path = Path::new("c.toml");
        let (command, settings) = apply(flags::command(), path, text).map_err(|e| e.to_string())?;
        let words: Vec<OsString> = words.iter().map(OsString::from).collect();
        parse(command, &words).map_err(|error| match blame(&error, path, &settings) {
            Some(blamed) => blamed.to_string(),
            None => error.to_string(),
        })
    }

    #[test]
    fn unknown_keys_are_named_with_their_line() {
        for (text, expected) in [
            ("\n# x\nprot = 1\n", "c.toml, line 3: unknown key \"prot\""),
            ("[downlaod]\nport = 1\n", "c.toml, line 1: unknown table [downlaod]"),
            ("[show]\nport = 1\n", "c.toml, line 2: unknown key \"port\"; unchoke show has no flag --port"),
            ("json = [true]\n", "c.toml, line 1: json: expected one value"),
            ("json = \n", "c.toml, line 1: "),
            ("\nport = \"abc\"\n", "c.toml, line 2: port cannot be \"abc\""),
        ] {
            let error = applied(text, &["unchoke", "download", "a"]).unwrap_err();
            assert!(error.starts_with(expected), "{error}");
        }
    }

    #[test]
    fn a_table_goes_over_the_top_and_a_flag_over_both() {
        let text = "[seed]\nport = 2\n[create]\ntracker = [\"http://a/b\", \"udp://c:1\"]\n";
        let port = |text: &str, words: &[&str]| match applied(text, words).unwrap().command {
            flags::Command::Download(args) => args.net.port,
            flags::Command::Seed(args) => args.net.port,
            _ => None,
        };
        let text = format!("port = 1\n{text}");
        assert_eq!(port(&text, &["unchoke", "download", "a"]), Some(1));
        assert_eq!(port(&text, &["unchoke", "seed", "a"]), Some(2));
        assert_eq!(port(&text, &["unchoke", "seed", "a", "--port", "3"]), Some(3));
        let flags::Command::Create(create) = applied(&text, &["unchoke", "create", "a"]).unwrap().command
        else {
            panic!("another command");
        };
        assert_eq!(create.tracker.len(), 2);
    }
}
