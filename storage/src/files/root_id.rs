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
    /// Which marker was put in it, where the file system tells nothing of a folder that lasts.
    pub marker: Option<u64>,
    /// How far above it the mount point is that it lies on, in steps of its path without links; 0 is the folder itself.
    /// `None` on the file system of `/`, or where that is not told.
    pub mount: Option<u16>,
}

impl RootId {
    /// Whether it is known to be the same folder.
    pub fn is_same(&self, now: &Self) -> bool {
        self.compare(now) == Some(true)
    }

    /// Whether it is known to be another folder.
    pub fn is_other(&self, now: &Self) -> bool {
        self.compare(now) == Some(false)
    }

    /// A marker says most. Without one the folder's number must be the same; and of the rest, the time it was made says most,
    /// because it is kept on the disk (by itself it would not do: systems count it in steps of milliseconds); next what the
    /// file system calls itself, or the device when neither changed. The number alone says nothing: many file systems give the
    /// same to their first folder.
    fn compare(&self, now: &Self) -> Option<bool> {
        if self.marker.is_some() {
            return Some(self.marker == now.marker);
        }
        if self.inode != now.inode && self.inode != 0 && now.inode != 0 {
            return Some(false);
        }
        match (self.born_ns, now.born_ns) {
            (Some(then), Some(now)) => Some(then == now),
            _ if self.file_system != 0 && now.file_system != 0 => {
                Some(self.file_system == now.file_system || self.device == now.device)
            }
            _ => None,
        }
    }

    /// Whether the file system tells anything of the folder that tells it from another one in its place.
    pub(super) fn tells(&self) -> bool {
        self.born_ns.is_some() || self.file_system != 0
    }

    /// Whether a folder with that identity is known to be on the same file system as this one, by what the file system calls
    /// itself. The number of a device says nothing: the next disk that is connected or mounted gets it.
    pub fn shares_file_system(&self, now: &Self) -> bool {
        self.file_system != 0 && self.file_system == now.file_system
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WAS: RootId =
        RootId { device: 0x801, inode: 2, born_ns: Some(3), file_system: 4, marker: None, mount: None };

    #[test]
    fn a_folder_is_known_again_by_what_lasts() {
        let was = WAS;
        let old = RootId { born_ns: None, ..was };
        let nameless = RootId { file_system: 0, ..old };
        let marked = RootId { marker: Some(7), ..nameless };
        let table = [
            (was, was, Some(true)),
            (was, RootId { device: 9, file_system: 9, ..was }, Some(true)),
            (was, RootId { born_ns: Some(9), ..was }, Some(false)),
            (was, RootId { inode: 9, ..was }, Some(false)),
            (was, RootId { inode: 0, ..was }, Some(true)),
            (was, old, Some(true)),
            (old, RootId { device: 9, ..old }, Some(true)),
            (old, RootId { file_system: 9, ..old }, Some(true)),
            (old, RootId { device: 9, file_system: 9, ..old }, Some(false)),
            (old, nameless, None),
            (nameless, nameless, None),
            (nameless, was, None),
            (nameless, RootId { inode: 9, ..nameless }, Some(false)),
            (marked, RootId { device: 9, inode: 9, ..marked }, Some(true)),
            (marked, RootId { marker: Some(8), ..nameless }, Some(false)),
            (marked, nameless, Some(false)),
            (nameless, marked, None),
        ];
        for (was, now, same) in table {
            assert_eq!(was.compare(&now), same, "{was:?} {now:?}");
            assert_eq!((was.is_same(&now), was.is_other(&now)), (same == Some(true), same == Some(false)));
        }
    }

    #[test]
    fn a_file_system_is_known_again_by_its_name() {
        let was = WAS;
        let other = RootId { inode: 7, born_ns: Some(8), ..was };
        let nameless = RootId { file_system: 0, ..other };
        let table = [
            (was, other, true),
            (was, RootId { device: 9, ..other }, true),
            (was, RootId { file_system: 9, ..other }, false),
            (was, nameless, false),
            (nameless, nameless, false),
        ];
        for (was, now, same) in table {
            assert_eq!(was.shares_file_system(&now), same, "{was:?} {now:?}");
        }
    }
}
