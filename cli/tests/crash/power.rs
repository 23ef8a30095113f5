//! A disk whose power is cut: ext4 in a file, shut down with all that it has not written.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use tempfile::TempDir;

use crate::apart::sh;

/// `EXT4_IOC_SHUTDOWN` without flushing the journal: nothing more gets to the disk.
const CUT: &str = "import fcntl, os, struct, sys
fcntl.ioctl(os.open(sys.argv[1], os.O_RDONLY), 0x8004587D, struct.pack('I', 2))";

/// The folders that lie on it.
const FOLDERS: [&str; 2] = ["victim", "state"];

/// It belongs to a mount namespace in which nobody else mounts anything.
pub(crate) struct Disk {
    dir: TempDir,
}

impl Disk {
    /// A new one; none where that is not possible, or a power cut shows no effect.
    pub(crate) fn new() -> Option<Self> {
        let disk = Self { dir: TempDir::new().ok()? };
        let made = "mount -t tmpfs -o size=200m none \"$1\" && mkdir \"$1/disk\" && truncate -s 128m \"$1/image\" \
                    && mkfs.ext4 -q \"$1/image\" && mount -o loop \"$1/image\" \"$1/disk\" && cd \"$1/disk\" \
                    && mkdir victim state && sync -f .";
        let can = sh(made, &[disk.dir.path()]) && {
            let disk = disk.dir.path().join("disk");
            std::fs::write(disk.join("unsynced"), "x").is_ok() && cut(&disk) && sh("umount \"$1\"", &[&disk])
        };
        let lost =
            "mount -o loop \"$1/image\" \"$1/disk\" && ! test -e \"$1/disk/unsynced\" && umount \"$1/disk\"";
        (can && sh(lost, &[disk.dir.path()])).then_some(disk)
    }

    /// Mounts it, and puts its folders into this one.
    pub(crate) fn mount(&self, root: &Path) {
        assert!(
            sh("mount -o loop \"$1/image\" \"$1/disk\"", &[self.dir.path()]),
            "the disk can be mounted again"
        );
        for folder in FOLDERS {
            let (from, to) = (self.dir.path().join("disk").join(folder), root.join(folder));
            std::fs::create_dir_all(&to).expect("a folder");
            assert!(sh("mount --bind \"$1\" \"$2\"", &[&from, &to]));
        }
    }

    pub(crate) fn sync(&self) {
        assert!(sh("sync -f \"$1\"", &[&self.dir.path().join("disk")]));
    }

    /// What was not written by now never will be.
    pub(crate) fn cut(&self) {
        assert!(cut(&self.dir.path().join("disk")));
    }

    /// Whoever used it must be gone.
    pub(crate) fn unmount(&self, root: &Path) {
        let mounts =
            FOLDERS.map(|folder| root.join(folder)).into_iter().chain([self.dir.path().join("disk")]);
        for mount in mounts {
            let quietly = || sh("umount \"$1\" 2> /dev/null", &[&mount]);
            // The system may be about to close the last file.
            let is_unmounted = (0..200).any(|_| {
                let done = quietly();
                if !done {
                    std::thread::sleep(Duration::from_millis(50));
                }
                done
            });
            assert!(is_unmounted || std::thread::panicking(), "{} is in use", mount.display());
        }
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // The namespace ends soon; without this its folder could not be removed.
        let _ = sh("umount -l \"$1\"", &[self.dir.path()]);
    }
}

fn cut(disk: &Path) -> bool {
    Command::new("python3").args(["-c", CUT]).arg(disk).status().is_ok_and(|status| status.success())
}
