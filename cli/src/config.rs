//! What the configuration file and the environment say of flags: the command line goes over the environment, and that over
//! the file.
//!
//! Both become defaults of the flags, so that they give way to what stands on the command line, also to a flag that excludes
//! them. Keys of the file are the long names of flags. At the top they hold for every command that has the flag, in a table
//! for the command of that name. What `edit` is to change stands in its own table only: a key that `create` shares with it
//! would change every torrent file that is edited.
//!
//! ```toml
//! up-limit = "2M"
//! [download]
//! output = "/srv/incoming"
//! ```

use std::borrow::Cow;
use std::env;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use anyhow::Result;
use clap::builder::{FalseyValueParser, Resettable, TypedValueParser};
use clap::error::{ContextKind, ContextValue, ErrorKind as ClapKind};
use clap::parser::ValueSource;
use clap::{Arg, ArgAction, Command, FromArgMatches};
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::exit::{Exit, failure};
use crate::flags::{self, Args, OwnLimits};

/// Flags of which one can be set.
const EXCLUSIVE: [&str; 3] = ["v1", "v2", "hybrid"];

/// A value that the file or the environment gives to a flag.
#[derive(Debug)]
struct Setting {
    flag: String,
    values: Vec<OsString>,
    /// Where it stands, for messages.
    origin: String,
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
    let (mut command, mut settings) = match read()? {
        Some((path, text)) => apply(flags::command(), &path, &text)?,
        None => (flags::command(), Vec::new()),
    };
    command = with_variables(command, &mut settings, &|name| env::var_os(name));
    match parse(command, &words) {
        Err(error) if error.kind() != ClapKind::MissingRequiredArgument => {
            blame(&error, &settings).map_or(Ok(Err(error)), Err)
        }
        other => Ok(other),
    }
}

fn parse(command: Command, words: &[OsString]) -> std::result::Result<Args, clap::Error> {
    let matches = command.try_get_matches_from(words)?;
    let mut args = Args::from_arg_matches(&matches)?;
    if matches.value_source("verbose") == Some(ValueSource::CommandLine) {
        args.general.quiet = false;
    }
    if let (flags::Command::Download(download), Some((_, given))) = (&mut args.command, matches.subcommand())
    {
        let is_given = |id: &str| given.value_source(id) == Some(ValueSource::CommandLine);
        download.net.own_limits = OwnLimits { down: is_given("down_limit"), up: is_given("up_limit") };
    }
    Ok(args)
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
        holders
            .iter()
            .filter(|holder| !is_own(holder, key.get_ref()))
            .try_for_each(|holder| self.assign(holder, key, value))
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
        let values: Vec<OsString> = values.into_iter().map(OsString::from).collect();
        let origin = format!("{}, line {line}: {name}", self.path.display());
        self.settings.push(Setting { flag: name.into(), values: values.clone(), origin });
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

/// Whether a key at the top of the file says nothing to this command.
fn is_own(holder: &Command, name: &str) -> bool {
    holder.get_name() == "edit" && flags::command().get_arguments().all(|arg| arg.get_long() != Some(name))
}

/// The flag of this long name that can be set: it has an environment variable too.
fn flag<'a>(command: &'a Command, name: &str) -> Option<&'a Arg> {
    command.get_arguments().find(|arg| arg.get_long() == Some(name) && arg.get_env().is_some())
}

fn set(command: Command, holder: &str, name: &str, values: Vec<OsString>) -> Command {
    let default = |holder: Command| default(holder, name, values);
    if command.get_name() == holder { default(command) } else { command.mut_subcommand(holder, default) }
}

/// Gives a flag of this command a default. It may be secret, and is not shown in help.
fn default(mut holder: Command, name: &str, values: Vec<OsString>) -> Command {
    let Some(arg) = flag(&holder, name) else { return holder };
    let (id, takes_value) = (arg.get_id().clone(), arg.get_action().takes_values());
    if EXCLUSIVE.contains(&name) && values.iter().any(|value| is_true(value)) {
        for other in EXCLUSIVE.into_iter().filter(|other| *other != name) {
            holder = holder.mut_arg(other, |arg| arg.default_value("false"));
        }
    }
    holder.mut_arg(id, |arg| arg.default_values(values).hide_default_value(takes_value))
}

/// Whether this sets a switch.
fn is_true(value: &OsStr) -> bool {
    FalseyValueParser::new().parse_ref(&Command::default(), None, value).unwrap_or(false)
}

/// Takes what the environment says, for this command and those below it.
fn with_variables(
    mut command: Command,
    settings: &mut Vec<Setting>,
    variable: &dyn Fn(&OsStr) -> Option<OsString>,
) -> Command {
    let mut found = Vec::new();
    for arg in command.get_arguments() {
        let (Some(name), Some(long)) = (arg.get_env(), arg.get_long()) else { continue };
        // An empty variable is as good as none.
        let Some(value) = variable(name).filter(|value| !value.is_empty()) else { continue };
        let values = if is_list(arg) { lines(&value) } else { vec![value] };
        found.push((long.to_owned(), values, name.to_string_lossy().into_owned()));
    }
    for (flag, values, origin) in found {
        command = default(command, &flag, values.clone());
        settings.push(Setting { flag, values, origin });
    }
    let command = command.mut_args(|arg| arg.env(Resettable::Reset));
    command.mut_subcommands(|sub| with_variables(sub, settings, variable))
}

/// Whether a variable holds one value of the flag on each line: other flags that repeat have a delimiter of their own.
fn is_list(arg: &Arg) -> bool {
    matches!(arg.get_action(), ArgAction::Append) && arg.get_value_delimiter().is_none()
}

fn lines(value: &OsStr) -> Vec<OsString> {
    match value.to_str() {
        Some(text) => text.lines().filter(|line| !line.is_empty()).map(OsString::from).collect(),
        None => vec![value.to_owned()],
    }
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

/// Names the line of the file or the variable if a value there is what the parser refuses.
fn blame(error: &clap::Error, settings: &[Setting]) -> Option<anyhow::Error> {
    let text = |kind| match error.get(kind) {
        Some(ContextValue::String(text)) => Some(text.as_str()),
        _ => None,
    };
    let (arg, value) = (text(ContextKind::InvalidArg)?, text(ContextKind::InvalidValue)?);
    let name = arg.trim_start_matches("--").split([' ', '=', '[']).next()?;
    let holds =
        |v: &OsString| v == value || v.to_str().is_some_and(|v| v.split(' ').any(|part| part == value));
    // What was set last goes over what was set before.
    let found = settings.iter().rev().find(|s| s.flag == name && s.values.iter().any(holds))?;
    let why = std::error::Error::source(error).map(|why| format!(": {why}")).unwrap_or_default();
    let text = format!("{} cannot be {value:?}{why}", found.origin);
    Some(failure(Exit::Usage, text))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn applied(text: &str, words: &[&str]) -> std::result::Result<Args, String> {
        let path = Path::new("c.toml");
        let (command, settings) = apply(flags::command(), path, text).map_err(|e| e.to_string())?;
        let words: Vec<OsString> = words.iter().map(OsString::from).collect();
        parse(command, &words).map_err(|error| match blame(&error, &settings) {
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

    /// What a command line means beside these variables and this file.
    fn layered(file: &str, variables: &[(&str, &str)], words: &[&str]) -> std::result::Result<Args, String> {
        let (command, mut settings) =
            apply(flags::command(), Path::new("c.toml"), file).map_err(|e| e.to_string())?;
        let variable = |name: &OsStr| {
            let found = variables.iter().find(|(known, _)| *known == name);
            found.map(|(_, value)| OsString::from(value))
        };
        let command = with_variables(command, &mut settings, &variable);
        let words: Vec<OsString> = words.iter().map(OsString::from).collect();
        parse(command, &words).map_err(|error| match blame(&error, &settings) {
            Some(blamed) => blamed.to_string(),
            None => error.to_string(),
        })
    }

    #[test]
    fn one_of_exclusive_flags_holds_from_the_strongest_layer() {
        let kinds = |file: &str, variables: &[(&str, &str)], more: &[&str]| {
            let words = [&["unchoke", "create", "a"], more].concat();
            let flags::Command::Create(create) = layered(file, variables, &words).unwrap().command else {
                panic!("another command");
            };
            [create.v1, create.v2, create.hybrid]
        };
        let (v1, v2, hybrid) = ([true, false, false], [false, true, false], [false, false, true]);
        let variable = [("UNCHOKE_V1", "1")];
        assert_eq!(kinds("", &variable, &[]), v1);
        assert_eq!(kinds("", &variable, &["--v2"]), v2);
        assert_eq!(kinds("v2 = true", &variable, &[]), v1);
        assert_eq!(kinds("v2 = true", &variable, &["--hybrid"]), hybrid);
        assert_eq!(kinds("v1 = true", &[("UNCHOKE_HYBRID", "yes")], &[]), hybrid);
        assert_eq!(kinds("v2 = true", &[("UNCHOKE_V1", "")], &[]), v2);
        assert_eq!(kinds("v2 = true", &[("UNCHOKE_V1", "0")], &[]), v2);
    }

    #[test]
    fn the_command_line_is_loud_where_a_variable_is_quiet() {
        let general = |variables: &[(&str, &str)], words: &[&str]| {
            let general = layered("", variables, words).unwrap().general;
            (general.quiet, general.verbose)
        };
        let quiet = [("UNCHOKE_QUIET", "1")];
        assert_eq!(general(&quiet, &["unchoke", "show", "a"]), (true, 0));
        assert_eq!(general(&quiet, &["unchoke", "-v", "show", "a"]), (false, 1));
        assert_eq!(general(&quiet, &["unchoke", "show", "-vv", "a"]), (false, 2));
        assert_eq!(general(&[("UNCHOKE_VERBOSE", "2")], &["unchoke", "show", "a"]), (false, 2));
    }

    #[test]
    fn variables_hold_lists_and_are_named_when_they_are_wrong() {
        let download = |variables: &[(&str, &str)]| {
            layered("", variables, &["unchoke", "download", "a"]).map(|args| match args.command {
                flags::Command::Download(download) => download,
                _ => panic!("another command"),
            })
        };
        assert_eq!(download(&[("UNCHOKE_SELECT", "*.iso\na b.txt\n")]).unwrap().select.len(), 2);
        assert_eq!(download(&[("UNCHOKE_PORT", "")]).unwrap().net.port, None);
        let peers = download(&[("UNCHOKE_PEER", "127.0.0.1:1 127.0.0.2:2")]).unwrap().net.peer;
        assert_eq!(peers.len(), 2);
        let error = download(&[("UNCHOKE_PORT", "x")]).unwrap_err();
        assert!(error.starts_with("UNCHOKE_PORT cannot be \"x\": "), "{error}");
        let error = download(&[("UNCHOKE_PEER", "127.0.0.1:1 x")]).unwrap_err();
        assert!(error.starts_with("UNCHOKE_PEER cannot be \"x\": "), "{error}");
    }

    #[test]
    fn what_the_top_says_of_new_torrents_changes_none_that_is_edited() {
        let edit = |file: &str| match layered(file, &[("UNCHOKE_COMMENT", "v")], &["unchoke", "edit", "a"]) {
            Ok(Args { command: flags::Command::Edit(edit), .. }) => (edit.comment, edit.no_date),
            other => panic!("{other:?}"),
        };
        assert_eq!(edit("comment = \"top\"\nno-date = true\n"), (None, false));
        assert_eq!(edit("[edit]\ncomment = \"own\"\n"), (Some("own".into()), false));
    }
}
