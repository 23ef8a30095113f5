//! The programs that are measured, each described by how it is started.
//!
//! A subject is started on one torrent and listens on an address; the counterpart dials it. A leecher
//! says that it is complete in one of three ways: a line of JSON on standard output whose `event` or
//! `state` is `complete`, ending with status 0, or making the file [`Job::done_file`]. A line with the
//! event `ready` restarts the clock, so that the start of an interpreter does not count.

mod rivals;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

/// What a subject does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Gets the payload and checks it.
    Leech,
    /// Gives the payload, which it has.
    Seed,
}

/// What a subject is started for.
pub struct Job<'a> {
    /// Which side it is.
    pub role: Role,
    /// The `.torrent` file, or a magnet link.
    pub torrent: &'a Path,
    /// The folder that holds the payload, or gets it.
    pub data: &'a Path,
    /// A folder for settings and logs.
    pub work: &'a Path,
    /// Where to listen.
    pub listen: SocketAddr,
}

impl Job<'_> {
    /// The magnet link, if that is what it is.
    pub fn link(&self) -> Option<&str> {
        self.torrent.to_str().filter(|text| text.starts_with("magnet:"))
    }

    /// A file that a subject may make when it is complete.
    pub fn done_file(&self) -> PathBuf {
        self.work.join("done")
    }
}

/// A program to measure.
pub struct Subject {
    name: String,
    how: How,
}

enum How {
    Unchoke(PathBuf),
    Libtorrent(PathBuf),
    Aria2(PathBuf),
    Transmission(PathBuf),
    Qbittorrent(PathBuf),
    Rtorrent(PathBuf),
    Template(Vec<String>),
}

impl Subject {
    /// A program that this benchmark knows, or nothing if it is not installed.
    pub fn known(name: &str, unchoke: &Path) -> Result<Option<Subject>> {
        let how = match name {
            "unchoke" => unchoke.is_file().then(|| How::Unchoke(unchoke.to_owned())),
            "libtorrent" => rivals::python_with_libtorrent().map(How::Libtorrent),
            "aria2" => rivals::find("aria2c").map(How::Aria2),
            "transmission" => rivals::find("transmission-daemon").map(How::Transmission),
            "qbittorrent" => rivals::find("qbittorrent-nox").map(How::Qbittorrent),
            "rtorrent" => rivals::find("rtorrent").map(How::Rtorrent),
            _ => anyhow::bail!("no such subject: {name}"),
        };
        Ok(how.map(|how| Subject { name: name.to_owned(), how }))
    }

    /// A leecher given as `NAME=PROGRAM ARGUMENT...`, where `{torrent}`, `{data}`, `{ip}` and `{port}` are
    /// filled in.
    pub fn template(text: &str) -> Result<Subject> {
        let (name, command) = text.split_once('=').context("a subject is NAME=COMMAND")?;
        let words: Vec<String> = command.split_whitespace().map(str::to_owned).collect();
        ensure!(!name.is_empty() && !words.is_empty(), "a subject is NAME=COMMAND");
        Ok(Subject { name: name.to_owned(), how: How::Template(words) })
    }

    /// What it is called in the report.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Whether it can be started with a magnet link. Transmission takes one when it runs only.
    pub const fn takes_links(&self) -> bool {
        !matches!(self.how, How::Template(_) | How::Transmission(_))
    }

    /// Whether it can take this side.
    pub const fn can(&self, role: Role) -> bool {
        !matches!((&self.how, role), (How::Template(_), Role::Seed))
    }

    /// How it is started for a job. Settings files are written on the way.
    pub fn command(&self, job: &Job<'_>) -> Result<Command> {
        let mut command = match &self.how {
            How::Unchoke(program) => unchoke(program, job),
            How::Libtorrent(python) => rivals::libtorrent(python, job),
            How::Aria2(program) => rivals::aria2(program, job)?,
            How::Transmission(program) => rivals::transmission(program, job)?,
            How::Qbittorrent(program) => rivals::qbittorrent(program, job)?,
            How::Rtorrent(program) => rivals::rtorrent(program, job)?,
            How::Template(words) => fill_in(words, job)?,
        };
        command.env("HOME", job.work).env("XDG_CONFIG_HOME", job.work);
        for name in ["http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"] {
            command.env_remove(name);
        }
        Ok(command)
    }
}

fn unchoke(program: &Path, job: &Job<'_>) -> Command {
    let mut command = Command::new(program);
    match job.role {
        Role::Leech => command.arg("download").arg(job.torrent).arg("-o").arg(job.data),
        Role::Seed => command.arg("seed").arg(job.torrent).arg("-d").arg(job.data),
    };
    command.args(["--json", "--no-dht", "--no-pex", "--no-lsd", "--no-nat", "--transport", "tcp"]);
    command.args(["--listen", &job.listen.ip().to_string(), "--port", &job.listen.port().to_string()]);
    command
}

fn fill_in(words: &[String], job: &Job<'_>) -> Result<Command> {
    let text = |path: &Path| path.to_str().map(str::to_owned).context("a path that is not UTF-8");
    let (torrent, data) = (text(job.torrent)?, text(job.data)?);
    let mut filled = words.iter().map(|word| {
        word.replace("{torrent}", &torrent)
            .replace("{data}", &data)
            .replace("{ip}", &job.listen.ip().to_string())
            .replace("{port}", &job.listen.port().to_string())
    });
    let mut command = Command::new(filled.next().context("an empty command")?);
    command.args(filled);
    Ok(command)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_template_is_filled_in() {
        let job = Job {
            role: Role::Leech,
            torrent: Path::new("a b.torrent"),
            data: Path::new("out"),
            work: Path::new("work"),
            listen: "127.0.0.1:7000".parse().unwrap(),
        };
        let subject = Subject::template("mine=prog -o {data} {torrent} --at={ip}:{port}").unwrap();
        let command = subject.command(&job).unwrap();
        let words: Vec<_> = command.get_args().map(|word| word.to_str().unwrap()).collect();
        assert_eq!(words, ["-o", "out", "a b.torrent", "--at=127.0.0.1:7000"]);
        assert!(!subject.can(Role::Seed));
    }

    #[test]
    fn a_template_needs_a_name_and_a_command() {
        for text in ["prog", "=prog", "name=", "name= "] {
            assert!(Subject::template(text).is_err(), "{text:?}");
        }
    }
}
