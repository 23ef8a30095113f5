//! Opening files beneath a folder, whatever links someone planted in it.
//!
//! On Linux the kernel does it (`openat2`); elsewhere, or where that call is not allowed, each folder on the way is
//! opened from the one above and none may be a link. No path is ever joined to the path of the root.

use super::refusal::Refusal;
use super::{RootId, Stamp, calls, sys};
use rustix::fs::{CWD, FileType, Mode, OFlags, Stat};
use rustix::io::Errno;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

/// A folder that was opened, and everything beneath it.
#[derive(Debug)]
pub(super) struct Root {
    dir: OwnedFd,
    /// As the user names it.
    shown: PathBuf,
    /// The same, wherever the process is.
    whole: PathBuf,
    device: u64,
    inode: u64,
    /// Numbers of files there last as long as they are open.
    forgets: bool,
    /// Whether a sync of its whole file system does what it says.
    syncs_all: bool,
    /// What is known of it for as long as it lasts; nothing when that could not be asked.
    lasting: Option<RootId>,
    /// The marker that was found or put in it.
    pub(super) marker: OnceLock<u64>,
    /// Whether the kernel refused to resolve paths for us.
    walks: AtomicBool,
}

pub(super) const FOLDER: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);

impl Root {
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        let dir = calls::open(CWD, path, FOLDER, Mode::empty())?;
        let Stat { st_dev: device, st_ino: inode, .. } = calls::stat(&dir)?;
        let walks = AtomicBool::new(!cfg!(target_os = "linux"));
        let whole = std::path::absolute(path)?;
        let (forgets, shown) = (sys::is_forgetful(dir.as_fd()), path.to_path_buf());
        let syncs_all = sys::syncs_all(dir.as_fd());
        let (lasting, marker) = (None, OnceLock::new());
        let mut root = Self { dir, shown, whole, device, inode, forgets, syncs_all, lasting, marker, walks };
        root.lasting = root.id().ok();
        Ok(root)
    }

    /// The same folder opened anew, if its path leads to it on a device that came back with another number: what was opened
    /// before belongs to the device that went, and is dead. As long as it is open no other device gets its number.
    pub(super) fn came_back(&self) -> Option<Self> {
        let now = Self::open(&self.whole).ok().filter(|now| now.device != self.device)?;
        let was = RootId { marker: self.marker.get().copied(), ..self.lasting? };
        now.look_for_marker(&was).ok()?;
        let is_same = was.is_same(&now.id().ok()?);
        is_same.then(|| Self { shown: self.shown.clone(), whole: self.whole.clone(), ..now })
    }

    /// Makes the folder and all above it, where they are not there, so that a loss of power does not take them back.
    pub(super) fn make(path: &Path) -> io::Result<()> {
        let whole = std::path::absolute(path)?;
        let missing: Vec<&Path> = whole.ancestors().take_while(|above| !above.exists()).collect();
        std::fs::create_dir_all(path)?;
        for above in missing.into_iter().filter_map(Path::parent) {
            // Some file systems know no sync of folders; what is written there says more.
            let _ = calls::open(CWD, above, FOLDER, Mode::empty()).and_then(calls::sync);
        }
        Ok(())
    }

    /// Opens folder by folder, as if the kernel could not resolve paths for us.
    #[cfg(test)]
    pub(super) fn walk_only(self) -> Self {
        self.walks.store(true, Ordering::Relaxed);
        self
    }

    /// The folder as the user named it.
    pub(super) fn path(&self) -> &Path {
        &self.shown
    }

    /// How a person would name a file beneath it. Not for opening.
    pub(super) fn show(&self, path: &str) -> PathBuf {
        self.shown.join(path)
    }

    /// The file system it is on.
    pub(super) fn device(&self) -> u64 {
        self.device
    }

    /// What tells it from other folders, also after a restart.
    pub(super) fn id(&self) -> io::Result<RootId> {
        let file_system = sys::file_system_name(&calls::stat_file_system(&self.dir)?);
        let born_ns = sys::born(self.dir.as_fd());
        let inode = if self.forgets { 0 } else { self.inode };
        let marker = self.marker.get().copied();
        Ok(RootId { device: self.device, inode, born_ns, file_system, marker, mount: None })
    }

    /// Whether both are the same folder, however they are spelled.
    pub(super) fn is_same(&self, other: &Self) -> bool {
        (self.device, self.inode) == (other.device, other.inode)
    }

    /// Whether its path still leads to it. A disk that was unmounted leaves an empty folder in its place, and that must not
    /// be filled.
    pub(super) fn check(&self) -> io::Result<()> {
        match calls::stat_path(&self.whole) {
            Ok(found) if (found.st_dev, found.st_ino) == (self.device, self.inode) => Ok(()),
            Ok(_) => Err(Refusal::Elsewhere.into()),
            Err(Errno::NOENT | Errno::NOTDIR) => Err(Refusal::Gone.into()),
            Err(errno) => Err(errno.into()),
        }
    }

    /// Bytes that a user may still take there.
    pub(super) fn free_space(&self) -> io::Result<u64> {
        let found = calls::stat_file_system(&self.dir)?;
        Ok(found.f_bavail.saturating_mul(found.f_frsize))
    }

    /// Whether numbers of files there last only as long as they are open, and times are counted in steps of two seconds.
    pub(super) fn forgets(&self) -> bool {
        self.forgets
    }

    /// What lasts of how a file there looks.
    pub(super) fn lasting(&self, stamp: impl Into<Stamp>) -> Stamp {
        let stamp = stamp.into();
        if self.forgets { stamp.coarse() } else { stamp }
    }

    /// Whether no file there can have 4 GiB.
    pub(super) fn is_fat(&self) -> bool {
        sys::is_fat(self.dir.as_fd())
    }

    /// Opens a file or folder. Links anywhere on the way, and at its end, are errors.
    pub(super) fn open_at(&self, path: &str, flags: OFlags, mode: Mode) -> io::Result<OwnedFd> {
        if !path.split('/').all(is_plain) {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "a part of the path is no file name"));
        }
        if !self.walks.load(Ordering::Relaxed) {
            match calls::open_beneath(&self.dir, path, flags, mode) {
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

    /// Calls `run` with the folder that the path's last part is in, and that part.
    pub(super) fn in_folder_of<T>(
        &self,
        path: &str,
        run: impl FnOnce(BorrowedFd<'_>, &str) -> io::Result<T>,
    ) -> io::Result<T> {
        match path.rsplit_once('/') {
            None if is_plain(path) => run(self.dir.as_fd(), path),
            Some((folder, name)) if is_plain(name) => {
                run(self.open_at(folder, FOLDER, Mode::empty())?.as_fd(), name)
            }
            _ => Err(io::Error::new(io::ErrorKind::InvalidInput, "a part of the path is no file name")),
        }
    }

    /// Makes the folders that lead to the file. Tells `made` of each that was not there.
    pub(super) fn make_folders(&self, path: &str, mut made: impl FnMut(&str)) -> io::Result<()> {
        for (end, _) in path.match_indices('/') {
            let folder = &path[..end];
            let is_new = self.in_folder_of(folder, |above, name| match calls::make_folder(above, name) {
                Ok(()) => Ok(true),
                Err(Errno::EXIST) => Ok(false),
                Err(errno) => Err(errno.into()),
            })?;
            if is_new {
                made(folder);
            }
        }
        Ok(())
    }

    /// Makes the names in a folder durable; an empty path is the root.
    pub(super) fn sync_folder(&self, path: &str) -> io::Result<()> {
        if path.is_empty() {
            return Ok(calls::sync(&self.dir)?);
        }
        Ok(calls::sync(self.open_at(path, FOLDER, Mode::empty())?)?)
    }

    /// Whether a sync of its whole file system makes all of it durable, and says so when it does not.
    pub(super) fn syncs_all(&self) -> bool {
        self.syncs_all
    }

    /// Makes everything on its file system durable; false where the system cannot do that at once.
    pub(super) fn sync_file_system(&self) -> io::Result<bool> {
        Ok(calls::sync_file_system(&self.dir)?)
    }

    /// What the path names, through no link; an error if that is no regular file.
    pub(super) fn stat_file(&self, path: &str) -> io::Result<Stat> {
        regular(self.stat_name(path)?)
    }

    /// What the path names, be it a link that leads nowhere.
    pub(super) fn stat_name(&self, path: &str) -> io::Result<Stat> {
        self.in_folder_of(path, |folder, name| Ok(calls::stat_name(folder, name)?))
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
    Ok(calls::open(dir, part, flags | OFlags::NOFOLLOW, mode)?)
}

/// The same, if it is a regular file.
pub(super) fn regular(stat: Stat) -> io::Result<Stat> {
    let kind = FileType::from_raw_mode(stat.st_mode);
    if kind.is_dir() {
        return Err(io::Error::new(io::ErrorKind::IsADirectory, "a folder is in the place of the file"));
    }
    if kind.is_symlink() {
        let text =
            "a link is in the place of the file, and links are not followed; put the file itself there";
        return Err(io::Error::new(io::ErrorKind::InvalidInput, text));
    }
    if !kind.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file"));
    }
    Ok(stat)
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
