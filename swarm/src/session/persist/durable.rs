//! What a check found is made durable before a record claims it: it may have been written just before a crash.

use metainfo::Torrent;
use storage::{FileStorage, Storage, StorageError, Trouble};
use wire::peer::Bitfield;

use crate::engine::Unseen;

/// How often somebody may get at the files in between.
const TRIES: usize = 4;
/// Files that are looked at for one try at least.
const LOOKED_AT: usize = 256;

/// Makes the files that hold `found` durable. What somebody cut, replaced or took away since it was looked at is not of what we
/// `have`, but `unseen` then.
pub(super) fn make_durable(
    files: &FileStorage,
    meta: &Torrent,
    found: &Bitfield,
    have: &mut Bitfield,
    unseen: &mut Option<Unseen>,
) -> Result<(), StorageError> {
    let all = meta.layout().files();
    for (index, _) in all.iter().enumerate().filter(|(_, file)| !file.is_pad()) {
        if meta.layout().file_pieces(index).into_iter().flatten().any(|piece| found.get(piece)) {
            files.mark_unsynced(index);
        }
    }
    for _ in 0..TRIES + all.len() / LOOKED_AT {
        let Err(why) = files.sync() else { return Ok(()) };
        if !matches!(why.trouble(), Trouble::Missing | Trouble::Short) {
            return Err(why);
        }
        for change in files.look()? {
            let lost = meta.layout().file_pieces(change.file).into_iter().flatten();
            for piece in lost.filter(|piece| have.get(*piece)).collect::<Vec<_>>() {
                have.clear(piece);
                let nothing = || Bitfield::new(meta.geometry().piece_count());
                let unseen = unseen.get_or_insert_with(|| Unseen { pieces: nothing(), why: why.clone() });
                unseen.pieces.set(piece);
            }
        }
    }
    files.sync()
}

#[cfg(test)]
mod tests {
    use std::io::IoSlice;
    use std::sync::Arc;

    use metainfo::Builder;
    use storage::{FileOptions, ScanOptions, Verdict, recheck};
    use tempfile::TempDir;

    use super::super::strikes::whole;
    use super::*;

    #[test]
    fn what_somebody_cut_since_it_was_checked_is_to_be_checked_again() {
        let dir = TempDir::new().unwrap();
        let meta = whole(dir.path());
        let files = FileStorage::open(dir.path(), meta.clone(), FileOptions::default()).unwrap();
        let verdicts = recheck(&files, &meta, &ScanOptions::default()).verdicts;
        assert!(verdicts.iter().all(|verdict| matches!(verdict, Verdict::Good)));
        let (mut found, mut unseen) = (Bitfield::new(meta.geometry().piece_count()), None);
        found.set_all();
        // One of them was known before, and not checked.
        let mut have = found.clone();
        found.clear(2);
        std::fs::write(dir.path().join("t/sub/b"), "cut").unwrap();

        make_durable(&files, &meta, &found, &mut have, &mut unseen).unwrap();
        let unseen: Unseen = unseen.unwrap();
        let pieces = |of: &Bitfield| (0..6).filter(|piece| of.get(*piece)).collect::<Vec<_>>();
        assert_eq!((pieces(&have), pieces(&unseen.pieces)), (vec![0, 1, 4, 5], vec![2, 3]));
        assert_eq!(unseen.why.trouble(), Trouble::Short);
    }

    #[test]
    fn what_a_killed_run_left_of_a_file_that_is_not_wanted_is_made_durable_where_it_is() {
        let dir = TempDir::new().unwrap();
        let builder = Builder::folder("t").piece_length(32_768).file(["a"], 50_000).file(["b"], 50_000);
        let mut feed = builder.prepare().unwrap().feed();
        let bytes = vec![7; 100_000];
        feed.update(&bytes);
        let meta = Arc::new(Torrent::parse(&feed.finish().unwrap()).unwrap());
        let open = || {
            let options = FileOptions { skipped: vec![1], ..FileOptions::default() };
            FileStorage::open(dir.path(), meta.clone(), options).unwrap()
        };
        let wanted = meta.geometry().pieces().take(2).map(|piece| meta.geometry().whole(piece));
        let killed = open();
        wanted
            .for_each(|range| killed.write(range, &[IoSlice::new(&bytes[..range.len() as usize])]).unwrap());
        drop(killed);

        let files = open();
        let verdicts = recheck(&files, &meta, &ScanOptions::default()).verdicts;
        let mut found = Bitfield::new(4);
        for (piece, _) in (0..).zip(&verdicts).filter(|(_, verdict)| matches!(verdict, Verdict::Good)) {
            found.set(piece);
        }
        let (mut have, mut unseen) = (found.clone(), None);
        make_durable(&files, &meta, &found, &mut have, &mut unseen).unwrap();
        assert_eq!((0..4).filter(|piece| have.get(*piece)).collect::<Vec<_>>(), [0, 1]);
        assert!(unseen.is_none());
        assert!(!dir.path().join("t/b").exists());
    }
}
