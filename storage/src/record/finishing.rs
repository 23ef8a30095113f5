//! How files are kept until they are complete, and what is done with them then.

use super::bytes::{Reader, Writer};
use super::error::Damage;
use crate::LinkMode;
use std::path::PathBuf;

/// How files are kept until they are complete, and what is done with them then.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Finishing {
    /// What the names of files end in until they are complete.
    pub suffix: Option<String>,
    /// The folder that the files lie in until all that is wanted is there; `None` when they are in the torrent's own.
    pub unfinished_in: Option<PathBuf>,
    /// Where files are given as well when all that is wanted is there.
    pub link: Option<LinkTo>,
}

/// A folder that complete files are given to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LinkTo {
    /// Which folder.
    pub dir: PathBuf,
    /// How.
    pub mode: LinkMode,
    /// Files that were complete when that was done last.
    pub done: u32,
}

impl Finishing {
    pub(super) fn write(&self, out: &mut Writer) {
        let Self { suffix, unfinished_in, link } = self;
        out.text(suffix.as_deref().unwrap_or_default());
        out.flag(unfinished_in.is_some());
        unfinished_in.iter().for_each(|folder| out.path(folder));
        out.flag(link.is_some());
        if let Some(LinkTo { dir, mode, done }) = link {
            out.path(dir);
            out.byte(match mode {
                LinkMode::Auto => 0,
                LinkMode::Hard => 1,
                LinkMode::Reflink => 2,
                LinkMode::Copy => 3,
            });
            out.number(*done);
        }
    }

    pub(super) fn read(from: &mut Reader<'_>) -> Result<Self, Damage> {
        let suffix = from.text(MAX_SUFFIX, "a suffix")?;
        if suffix.contains(['/', '\0']) {
            return Err(Damage::Value("a suffix"));
        }
        Ok(Self {
            suffix: Some(suffix).filter(|suffix| !suffix.is_empty()),
            unfinished_in: if from.flag("a folder")? { Some(from.path("a folder")?) } else { None },
            link: if from.flag("links")? { Some(LinkTo::read(from)?) } else { None },
        })
    }
}

impl LinkTo {
    fn read(from: &mut Reader<'_>) -> Result<Self, Damage> {
        Ok(Self {
            dir: from.path("a folder")?,
            mode: match from.byte()? {
                0 => LinkMode::Auto,
                1 => LinkMode::Hard,
                2 => LinkMode::Reflink,
                3 => LinkMode::Copy,
                _ => return Err(Damage::Value("a way to link")),
            },
            done: from.small("files")?,
        })
    }
}

/// Bytes of a suffix.
const MAX_SUFFIX: usize = 255;
