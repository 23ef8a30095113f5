//! Opening files beneath a folder, whatever links someone planted in it.
//!
//! On Linux the kernel does it (`openat2`); elsewhere, or where that call is not allowed, each folder on the way is
//! opened from the one above and none may be a link. No path is ever joined to the path of the root.

use metainfo::FilePath;
use rustix::fs::{AtFlags, CWD, Mode, OFlags};
use rustix::io::Errno;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

/// A folder that was opened, and everything beneath it.
#[derive(Debug)]
pub(super) struct Root {
    dir: OwnedFd,
    shown: PathBuf,
    device: u64,
    /// Whether the kernel refused to resolve paths for us.
    walks: AtomicBool,
}

const FOLDER: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);

impl Root {
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        let dir = rustix::fs::openat(CWD, path, FOLDER, Mode::empty())?;
        let device = rustix::fs::fstat(&dir)?.st_dev;
        let walks = AtomicBool::new(!cfg!(target_os = "linux"));
        Ok(Self { dir, shown: path.to_path_buf(), device, walks })
    }

    /// Opens folder by folder, as if the kernel could not resolve paths for us.
    #[cfg(test)]
    pub(super) fn walk_only(self) -> Self {
        self.walks.store(true, Ordering::Relaxed);
        self
    }

    /// How a person would name a file beneath it. Not for opening.
    pub(super) fn show(&self, path: &str) -> PathBuf {
        self.shown.join(path)
    }

    /// Opens a file or folder. Links anywhere on the way, and at its end, are errors.
    pub(super) fn open_at(&self, path: &str, flags: OFlags, mode: Mode) -> io::Result<OwnedFd> {
        if !path.split('/').all(is_plain) {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "a part of the path is no file name"));
        }
        if !self.walks.load(Ordering::Relaxed) {
            match super::sys::open_beneath(self.dir.as_fd(), path, flags, mode) {
                // A sandbox may know no better answer to a call it does not know than that it is not permitted.
                Err(Errno::NOSYS | Errno::PERM) => {}
                opened => return Ok(opened?),
            }
            let opened = self.walk(path, flags, mode)?;
            self.walks.store(true, Ordering::Relaxed);
            return Ok(opened);
        }
        self.walk(path, flags, mode)
    }

    /// Makes the folders that lead to the file. Tells `made` of each that was not there.
    pub(super) fn make_folders(&self, path: &FilePath, mut made: impl FnMut(&str)) -> io::Result<()> {
        let whole = path.as_str();
        for (end, _) in whole.match_indices('/') {
            let folder = &whole[..end];
            let (above, name) = folder.rsplit_once('/').unwrap_or(("", folder));
            let opened;
            let dir = if above.is_empty() {
                self.dir.as_fd()
            } else {
                opened = self.open_at(above, FOLDER, Mode::empty())?;
                opened.as_fd()
            };
            match rustix::fs::mkdirat(dir, name, Mode::from_raw_mode(0o777)) {
                Ok(()) => made(folder),
                Err(Errno::EXIST) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    /// Makes the names in a folder durable; an empty path is the root.
    pub(super) fn sync_folder(&self, path: &str) -> io::Result<()> {
        if path.is_empty() {
            return Ok(rustix::fs::fsync(&self.dir)?);
        }
        Ok(rustix::fs::fsync(self.open_at(path, FOLDER, Mode::empty())?)?)
    }

    /// Makes everything on its file system durable; false when that is not certain.
    pub(super) fn sync_file_system(&self) -> bool {
        super::sys::sync_file_system(self.dir.as_fd())
    }

    /// The file system it is on.
    pub(super) fn device(&self) -> u64 {
        self.device
    }

    /// The length of what the path names, if it is a regular file.
    pub(super) fn file_len(&self, path: &FilePath) -> io::Result<u64> {
        let folder = path.as_str().rsplit_once('/').map(|(folder, _)| folder);
        let opened = folder.map(|folder| self.open_at(folder, FOLDER, Mode::empty())).transpose()?;
        let dir = opened.as_ref().map_or(self.dir.as_fd(), AsFd::as_fd);
        let stat = rustix::fs::statat(dir, path.name(), AtFlags::SYMLINK_NOFOLLOW)?;
        if !rustix::fs::FileType::from_raw_mode(stat.st_mode).is_file() {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file"));
        }
        Ok(u64::try_from(stat.st_size).unwrap_or(0))
    }

    fn walk(&self, path: &str, flags: OFlags, mode: Mode) -> io::Result<OwnedFd> {
        let mut above: Option<OwnedFd> = None;
        let (folders, name) = path.rsplit_once('/').unwrap_or(("", path));
        for part in folders.split('/').filter(|part| !part.is_empty()) {
            let dir = above.as_ref().map_or(self.dir.as_fd(), AsFd::as_fd);
            above = Some(open_part(dir, part, FOLDER, Mode::empty())?);
        }
        let dir = above.as_ref().map_or(self.dir.as_fd(), AsFd::as_fd);
        open_part(dir, name, flags, mode)
    }
}

fn open_part(dir: BorrowedFd<'_>, part: &str, flags: OFlags, mode: Mode) -> io::Result<OwnedFd> {
    Ok(rustix::fs::openat(dir, part, flags | OFlags::NOFOLLOW, mode)?)
}

/// Whether it can only name something in the folder itself.
fn is_plain(part: &str) -> bool {
    !part.is_empty() && part != "." && part != ".." && !part.contains(['/', '\0'])
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    /// A folder `in` to stay beneath, beside a folder `out` that holds a secret.
    fn planted() -> (tempfile::TempDir, [Root; 2]) {
        let dir = tempfile::tempdir().unwrap();
        for folder in ["in", "out", "in/real"] {
            std::fs::create_dir(dir.path().join(folder)).unwrap();
        }
        std::fs::write(dir.path().join("out/secret"), "secret").unwrap();
        std::fs::write(dir.path().join("in/real/file"), "plain").unwrap();
        symlink(dir.path().join("out"), dir.path().join("in/absolute")).unwrap();
        symlink("../out", dir.path().join("in/relative")).unwrap();
        symlink("real", dir.path().join("in/inside")).unwrap();
        symlink("../../out/secret", dir.path().join("in/real/link")).unwrap();
        let open = || Root::open(&dir.path().join("in")).unwrap();
        let roots = [open(), open().walk_only()];
        (dir, roots)
    }

    #[test]
    fn nothing_outside_can_be_opened() {
        let (_dir, roots) = planted();
        let escapes = [
            "absolute/secret",
            "relative/secret",
            "inside/file",
            "real/link",
            "../out/secret",
            "real/../../out/secret",
            "real/./file",
            "/etc/passwd",
            "real//file",
            "",
            "nul\0",
        ];
        for root in &roots {
            for path in escapes {
                assert!(root.open_at(path, OFlags::RDONLY, Mode::empty()).is_err(), "{path:?}");
                let create = OFlags::RDWR | OFlags::CREATE;
                assert!(root.open_at(path, create, Mode::RUSR).is_err(), "{path:?}");
            }
            assert!(root.open_at("real/file", OFlags::RDONLY, Mode::empty()).is_ok());
        }
    }
}
