//! Rechecking, and digests for new torrents.

use crate::support::Sample;
use metainfo::{Builder, Torrent, Version};
use std::fs;
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use storage::digest::{self, DigestError};
use storage::{FileOptions, FileStorage, Progress, ScanOptions, Verdict, recheck};

const FILES: [(&str, u64); 4] = [("a", 100_000), ("b/c", 0), ("b/d", 40_000), ("e", 1)];

fn written(sample: &Sample) -> (tempfile::TempDir, FileStorage) {
    let dir = tempfile::tempdir().unwrap();
    let storage = FileStorage::open(dir.path(), sample.torrent.clone(), FileOptions::default()).unwrap();
    sample.write_to(&storage);
    (dir, storage)
}

fn flip(path: &Path, at: usize) {
    let mut bytes = fs::read(path).unwrap();
    bytes[at] ^= 1;
    fs::write(path, bytes).unwrap();
}

#[test]
fn every_piece_gets_its_own_verdict() {
    for version in [Version::V1, Version::V2, Version::Hybrid] {
        let sample = Sample::folder(version, 32_768, &FILES);
        let (dir, storage) = written(&sample);
        for threads in [1, 3] {
            for buffer in [1, 1 << 20] {
                let options = ScanOptions { threads, buffer, ..ScanOptions::default() };
                assert!(recheck(&storage, &sample.torrent, &options).is_complete(), "{version:?}");
            }
        }
        flip(&dir.path().join("t/a"), 33_000);
        fs::File::options().write(true).open(dir.path().join("t/b/d")).unwrap().set_len(39_999).unwrap();
        let found = recheck(&storage, &sample.torrent, &ScanOptions::default());
        assert!(found.is_whole && found.errors.is_empty());
        assert_eq!(found.verdicts[0..2], [Verdict::Good, Verdict::Bad]);
        let last = sample.torrent.layout().file_pieces(2).map(|pieces| *pieces.end());
        let last = last.filter(|_| version == Version::V1).unwrap_or(5);
        assert_eq!(found.verdicts[last as usize], Verdict::Missing, "{version:?}");
    }
}

#[test]
fn a_thousand_checks_find_no_fault_in_good_data() {
    let samples = [Version::V1, Version::V2, Version::Hybrid].map(|version| {
        let sample = Sample::folder(version, 16_384, &FILES);
        let there = written(&sample);
        (sample, there)
    });
    for round in 0..1000 {
        let (sample, (_dir, storage)) = &samples[round % 3];
        let options =
            ScanOptions { threads: 1 + round % 4, buffer: 1 << (round % 18), ..ScanOptions::default() };
        let found = recheck(storage, &sample.torrent, &options);
        assert!(found.is_complete() && found.errors.is_empty(), "round {round}");
    }
}

#[test]
fn both_sides_of_a_hybrid_are_checked() {
    // The v1 hashes of one content with the v2 roots of another, as an attacker would mix them.
    let [mut one, mut other] = ["one", "two"].map(|_| {
        Builder::single("f", 20_000).version(Version::Hybrid).piece_length(16_384).prepare().unwrap()
    });
    let bytes = vec![1; 20_000];
    for (draft, wrong) in [(&mut one, false), (&mut other, true)] {
        let geometry = draft.geometry().clone();
        for piece in geometry.pieces() {
            let start = geometry.piece_start(piece) as usize;
            let part = &bytes[start..start + geometry.piece_len(piece) as usize];
            let mut hasher = storage::PieceHasher::v1();
            hasher.update(part);
            draft.set_v1(piece, hasher.finish().v1.unwrap()).unwrap();
            let leaf = metainfo::merkle::leaf(if wrong { b"x" } else { part });
            draft.set_v2_leaves(piece, &[leaf]).unwrap();
        }
    }
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("f"), &bytes).unwrap();
    for (draft, verdict) in [(one, Verdict::Good), (other, Verdict::Bad)] {
        let torrent = std::sync::Arc::new(Torrent::parse(&draft.finish().unwrap()).unwrap());
        let storage = FileStorage::open(dir.path(), torrent.clone(), FileOptions::default()).unwrap();
        assert_eq!(recheck(&storage, &torrent, &ScanOptions::default()).verdicts, [verdict; 2]);
    }
}

#[test]
fn a_hybrid_whose_piece_layers_are_not_there_is_checked_by_its_other_hash() {
    let sample = Sample::folder(Version::Hybrid, 32_768, &FILES);
    let (dir, storage) = written(&sample);
    // What comes of a magnet link with a v1 hash.
    let bare = Torrent::from_info(sample.torrent.info_bytes()).unwrap();
    assert!(!bare.has_piece_layers());
    assert!(recheck(&storage, &bare, &ScanOptions::default()).is_complete());
    flip(&dir.path().join("t/a"), 33_000);
    let found = recheck(&storage, &bare, &ScanOptions::default());
    assert_eq!(found.verdicts[..3], [Verdict::Good, Verdict::Bad, Verdict::Good]);
}

#[test]
fn a_recheck_changes_nothing_and_can_be_stopped() {
    let sample = Sample::single(Version::V1, 16_384, 40 << 20);
    let (_dir, storage) = written(&sample);
    let cancel = AtomicBool::new(false);
    let seen = Mutex::new(Vec::new());
    let progress = |progress: Progress| {
        seen.lock().unwrap().push(progress.done);
        cancel.store(true, Ordering::Relaxed);
    };
    let options = ScanOptions { cancel: Some(&cancel), progress: Some(&progress), ..ScanOptions::default() };
    let found = recheck(&storage, &sample.torrent, &options);
    assert!(!found.is_whole && found.count(Verdict::Unchecked) > 0 && found.count(Verdict::Good) > 0);
    assert_eq!(found.count(Verdict::Bad), 0);
    let all = |progress: Progress| seen.lock().unwrap().push(progress.done);
    let whole =
        recheck(&storage, &sample.torrent, &ScanOptions { progress: Some(&all), ..Default::default() });
    assert!(whole.is_complete());
    assert_eq!(seen.lock().unwrap().last(), Some(&(40 << 20)));
}

fn folder() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    for (path, len) in FILES {
        let path = dir.path().join("t").join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, (0..len).map(|at| (at * 7 / 5) as u8).collect::<Vec<_>>()).unwrap();
    }
    dir
}

#[test]
fn digests_from_disk_are_those_of_the_bytes() {
    let dir = folder();
    let found = digest::walk(&dir.path().join("t")).unwrap();
    let paths: Vec<_> = found.files.iter().map(|file| (file.parts.join("/"), file.len)).collect();
    assert_eq!(paths, FILES.map(|(path, len)| (path.to_owned(), len)));
    for version in [Version::V1, Version::V2, Version::Hybrid] {
        let draft = || {
            let builder = found.files.iter().fold(Builder::folder("t"), |builder, file| {
                builder.file(file.parts.iter().cloned(), file.len)
            });
            builder.version(version).piece_length(32_768).prepare().unwrap()
        };
        let mut feed = draft().feed();
        found.files.iter().for_each(|file| feed.update(&fs::read(&file.path).unwrap()));
        let expected = feed.finish().unwrap();
        for threads in [1, 3] {
            let mut draft = draft();
            let options = ScanOptions { threads, buffer: 20_000, ..ScanOptions::default() };
            digest::fill(&mut draft, &found.files, &options).unwrap();
            assert!(draft.finish().unwrap() == expected, "{version:?} with {threads} threads");
        }
    }
}

#[test]
fn special_files_are_reported_and_left_out() {
    let dir = folder();
    std::os::unix::fs::symlink("/etc/passwd", dir.path().join("t/link")).unwrap();
    std::os::unix::net::UnixListener::bind(dir.path().join("t/socket")).unwrap();
    let found = digest::walk(&dir.path().join("t")).unwrap();
    assert_eq!(found.files.len(), FILES.len());
    assert_eq!(found.skipped, ["link", "socket"].map(|name| dir.path().join("t").join(name)));
    let single = digest::walk(&dir.path().join("t/a")).unwrap();
    assert_eq!(
        (single.files[0].parts.as_slice(), single.files[0].len),
        (["a".to_owned()].as_slice(), 100_000)
    );
    let missing = dir.path().join("missing");
    let Err(DigestError::Storage(error)) = digest::walk(&missing) else { panic!("found what is not there") };
    assert_eq!(error.path, missing);
}

#[test]
fn a_file_that_changes_while_it_is_hashed_is_an_error() {
    let dir = folder();
    let found = digest::walk(&dir.path().join("t")).unwrap();
    let path = dir.path().join("t/a");
    for len in [99_999, 100_001] {
        fs::File::options().write(true).open(&path).unwrap().set_len(len).unwrap();
        let builder = found
            .files
            .iter()
            .fold(Builder::folder("t"), |builder, file| builder.file(file.parts.iter().cloned(), file.len));
        let mut draft = builder.prepare().unwrap();
        let error = digest::fill(&mut draft, &found.files, &ScanOptions::default()).unwrap_err();
        assert_eq!(error, DigestError::Changed { path: path.clone(), expected: 100_000, found: len });
    }
}
