use std::path::PathBuf;

use clap::ValueEnum;

use super::values::suffix;

/// Flags that say where files lie until they are complete, and what is done with them then.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Files")]
pub(crate) struct Placing {
    /// Keep files in this folder until all that is wanted is there, then move them to the output folder
    ///
    /// It may be on another disk; peers are served meanwhile. An interrupted move goes on with the next start. What was begun
    /// in one folder stays in it, and need not be named again.
    #[arg(long, env = "UNCHOKE_INCOMPLETE_DIR", value_name = "DIR")]
    pub incomplete_dir: Option<PathBuf>,
    /// Let names of files end so until they are complete, such as .part
    ///
    /// Of no effect on a torrent with a file or folder whose own name ends so.
    #[arg(long, env = "UNCHOKE_INCOMPLETE_SUFFIX", value_name = "SUFFIX", value_parser = suffix)]
    pub incomplete_suffix: Option<String>,
    /// When all that is wanted is there, give the files to this folder as well, by --link
    #[arg(long, env = "UNCHOKE_LINK_TO", value_name = "DIR")]
    pub link_to: Option<PathBuf>,
    /// How files are given to --link-to, and taken from --reuse
    #[arg(long, env = "UNCHOKE_LINK", value_name = "MODE", default_value = "auto")]
    pub link: Link,
    /// Look at this file, or at all files in this folder, for content of the torrent, and take it instead of downloading it; may
    /// be given several times
    ///
    /// Files are known by length and content, whatever they are called. They are read, and never moved or changed. What is
    /// taken is checked as any data on disk. In the mode auto they are copied where they cannot be linked.
    #[arg(long, env = "UNCHOKE_REUSE", value_name = "PATH")]
    pub reuse: Vec<PathBuf>,
    /// When all that is wanted is there, read it back from the disk and check it; only then it counts as complete
    ///
    /// What is not as it was received is downloaded again. Holds for this run.
    #[arg(long, env = "UNCHOKE_VERIFY")]
    pub verify: bool,
    /// When files take room on the disk; if it is never given, sparse
    #[arg(long, env = "UNCHOKE_PREALLOCATE", value_name = "WHEN")]
    pub preallocate: Option<Preallocate>,
}

/// How files are given to another folder.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Link {
    /// With shared bytes, if the file system can do that, else as a hard link
    Auto,
    /// Under a second name: whoever changes one file changes both
    Hard,
    /// With shared bytes: each can be changed alone
    Reflink,
    /// As a copy, also on another disk
    Copy,
}

/// When files take room.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Preallocate {
    /// As they are written, with nothing reserved: what is free stays free until bytes come for it
    None,
    /// As they are written, a mebibyte at a time, so that pieces that come in any order lie together
    Sparse,
    /// All of it when they are first written
    Full,
}
