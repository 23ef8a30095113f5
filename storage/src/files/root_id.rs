//! What tells the folder of a torrent from another one in the same place.

/// A folder's identity, to be recorded with what is known of the files beneath it. Whoever finds another one under the same
/// path later has another disk there, or none, and must not write.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct RootId {
    /// The device as the system numbers it. It may get another number when the system starts anew.
    pub device: u64,
    /// The folder's number on its file system; 0 where numbers do not last.
    pub inode: u64,
    /// When the folder was made, in nanoseconds of Unix time, where the file system keeps that.
    pub born_ns: Option<i64>,
    /// What the file system calls itself; 0 when it has no name.
    pub file_system: u64,
}

impl RootId {
    /// Whether it is the same folder, as far as can be known. Its number must be; and of the rest, the time it was made says
    /// most, because it is kept on the disk (by itself it would not do: systems count it in steps of milliseconds); next what
    /// the file system calls itself, or the device when neither changed.
    pub fn is_same(&self, now: &Self) -> bool {
        if self.inode != now.inode && self.inode != 0 && now.inode != 0 {
            return false;
        }
        match (self.born_ns, now.born_ns) {
            (Some(then), Some(now)) => then == now,
            _ if self.file_system != 0 && now.file_system != 0 => {
                self.file_system == now.file_system || self.device == now.device
            }
            _ => true,
        }
    }

    /// Whether a folder with that identity is on the same file system as this one, as far as can be known: by what the file
    /// system calls itself, else by the device.
    pub fn shares_file_system(&self, now: &Self) -> bool {
        if self.file_system != 0 && now.file_system != 0 {
            self.file_system == now.file_system
        } else {
            self.device == now.device
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_is_known_again_by_what_lasts() {
        let was = RootId { device: 1, inode: 2, born_ns: Some(3), file_system: 4 };
        let old = RootId { born_ns: None, ..was };
        let table = [
            (was, was, true),
            (was, RootId { device: 9, file_system: 9, ..was }, true),
            (was, RootId { born_ns: Some(9), ..was }, false),
            (was, RootId { inode: 9, ..was }, false),
            (was, RootId { inode: 0, ..was }, true),
            (was, old, true),
            (old, RootId { device: 9, ..old }, true),
            (old, RootId { file_system: 9, ..old }, true),
            (old, RootId { device: 9, file_system: 9, ..old }, false),
            (old, RootId { device: 9, file_system: 0, ..old }, true),
        ];
        for (was, now, same) in table {
            assert_eq!(was.is_same(&now), same, "{was:?} {now:?}");
        }
    }

    #[test]
    fn a_file_system_is_known_again_by_its_name_or_its_device() {
        let was = RootId { device: 1, inode: 2, born_ns: Some(3), file_system: 4 };
        let other = RootId { inode: 7, born_ns: Some(8), ..was };
        let nameless = RootId { file_system: 0, ..other };
        let table = [
            (other, true),
            (RootId { device: 9, ..other }, true),
            (RootId { file_system: 9, ..other }, false),
            (nameless, true),
            (RootId { device: 9, ..nameless }, false),
        ];
        for (now, same) in table {
            assert_eq!(was.shares_file_system(&now), same, "{now:?}");
        }
    }
}
