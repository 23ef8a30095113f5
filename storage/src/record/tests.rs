use super::*;
use crate::{Allocation, LinkMode};
use metainfo::{InfoHashV1, InfoHashV2, InfoHashes};
use proptest::prelude::*;
use std::net::SocketAddr;
use std::path::PathBuf;

/// A record with something in every place.
pub(super) fn sample(n: u8) -> Record {
    let summary = Summary {
        generation: 7,
        hashes: InfoHashes::hybrid(InfoHashV1([n; 20]), InfoHashV2([n + 1; 32])),
        name: format!("torrent {n}"),
        dir: PathBuf::from(format!("/srv/incoming/{n}")),
        folder: Some(Folder {
            device: 0xfd01,
            inode: 2,
            born: Some(-3),
            file_system: u64::MAX,
            marker: None,
            mount: None,
        }),
        flags: Flags { clean: true, paused: true, ..Flags::default() },
        size: 1 << 40,
        done: 12_345,
        totals: Totals { downloaded: 1, uploaded: u64::MAX, wasted: 3 },
        times: Times { added: 1, completed: Some(0), saved: 1_700_000_000_000, next_announce: None },
        name_rules: NAME_RULES,
        outline: None,
    };
    let mut pieces = PieceSet::none(1001);
    (0..1001).step_by(3).for_each(|piece| pieces.set(piece, true));
    let mut doubtful = PieceSet::none(1001);
    (1..1001).step_by(5).for_each(|piece| doubtful.set(piece, true));
    let stamp = |n: u64| FileStamp {
        len: n << 20,
        mtime: 1_700_000_000_000_000_000 - n,
        inode: 1 << n,
        ctime: 0,
        attributes: 0,
    };
    let state = State {
        generation: 7,
        pieces,
        doubtful,
        partial: vec![Partial { piece: 1, blocks: PieceSet::from_bits(&[0xa0], 4).unwrap() }],
        stamps: vec![Some(stamp(3)), None, Some(stamp(1)), Some(stamp(60))],
        births: Vec::new(),
        boot: None,
        created: vec!["album".into(), "album/one.flac".into()],
        choices: Choices {
            priorities: vec![2, 0, 3, 1],
            names: vec![(2, "album/other".into())],
            down_limit: Some(0),
            up_limit: None,
            order: Order::FirstLast,
            allocation: Allocation::Full,
            trackers: vec!["udp://tracker.example.org:6969".into()],
        },
        peers: vec!["192.0.2.7:6881".parse().unwrap(), "[2001:db8::7]:1".parse().unwrap()],
        trackers: vec![Tracker {
            url: "http://tracker.example.org/announce?key=1".into(),
            id: Some(b"\0\xff".to_vec()),
            next: Some(5),
            works: true,
        }],
        moving_to: None,
        goal: None,
        renaming: Vec::new(),
        finishing: Finishing::default(),
    };
    Record { summary, state, source: Some(Source::Torrent(b"d4:infodee".to_vec())) }
}

fn sheets(record: &Record) -> [Vec<u8>; 3] {
    [record.summary.encode(), record.state.encode(), record.source.as_ref().unwrap().encode()]
}

#[test]
fn a_record_reads_as_it_was_written() {
    let record = sample(1);
    let [summary, state, source] = sheets(&record);
    assert_eq!(Summary::decode(&summary).as_ref(), Ok(&record.summary));
    assert_eq!(State::decode(&state).as_ref(), Ok(&record.state));
    assert_eq!(Source::decode(&source).as_ref(), Ok(record.source.as_ref().unwrap()));
    let magnet = Source::Magnet("magnet:?xt=urn:btih:00".into());
    assert_eq!(Source::decode(&magnet.encode()), Ok(magnet));
    assert!(matches!(Summary::decode(&state), Err(Damage::Kind { expected: 1, got: 2 })));
    assert!(matches!(State::decode(b"unchoke"), Err(Damage::Short { .. })));
    assert_eq!(State::decode(b"something else"), Err(Damage::Foreign));
    assert_eq!(State::decode(&[&state[..], b"x"].concat()), Err(Damage::Trailing(1)));
}

#[test]
fn records_are_small() {
    let mut record = sample(1);
    record.summary.flags.complete = true;
    record.state = State { pieces: PieceSet::all(4000), ..State::new(4000) };
    let stamp = |n: u64| FileStamp {
        len: 10 << 20,
        mtime: 1_700_000_000_000_000_000 + n * 40_000_000,
        inode: 5000 + n,
        ctime: 0,
        attributes: 0,
    };
    record.state.stamps = (0..200).map(|n| Some(stamp(n))).collect();
    let [summary, state, _] = sheets(&record);
    assert!(summary.len() < 200 && state.len() < 2700, "{} and {} bytes", summary.len(), state.len());
}

/// Version 1 as it was first written. It is read for ever.
#[test]
fn version_1_is_still_read() {
    let golden = include_bytes!("golden/v1.record");
    let record = sample(1);
    let [summary, state, source] = sheets(&record);
    let mut rest = &golden[..];
    assert_eq!(Summary::take(&mut rest).as_ref(), Ok(&record.summary));
    let (state_bytes, source_bytes) = rest.split_at(state.len());
    assert_eq!(State::decode(state_bytes).as_ref(), Ok(&record.state));
    assert_eq!(Source::decode(source_bytes).as_ref(), Ok(record.source.as_ref().unwrap()));
    assert_eq!([summary, state, source].concat(), golden);
}

#[test]
fn what_was_under_way_is_in_version_2() {
    let mut state = sample(1).state;
    assert_eq!(state.encode()[8], 1);
    state.moving_to = Some("/elsewhere".into());
    assert_eq!(state.encode()[8], 2);
    assert_eq!(State::decode(&state.encode()).as_ref(), Ok(&state));
    state.moving_to = None;
    state.renaming = vec![(7, "t/new".into())];
    assert_eq!(State::decode(&state.encode()).as_ref(), Ok(&state));
}

#[test]
fn the_folder_that_files_are_moved_to_is_in_version_4() {
    let mut state = sample(1).state;
    state.moving_to = Some("/elsewhere".into());
    state.goal = sample(1).summary.folder;
    assert_eq!(state.encode()[8], 4);
    assert_eq!(State::decode(&state.encode()).as_ref(), Ok(&state));
}

#[test]
fn when_files_were_made_is_in_version_5() {
    let mut state = sample(1).state;
    state.births = vec![1_700_000_000_000_000_001, 0, 1_700_000_000_000_000_000, u64::MAX];
    for goal in [None, sample(1).summary.folder] {
        state.moving_to = goal.map(|_| "/elsewhere".into());
        state.goal = goal;
        assert_eq!(state.encode()[8], 5);
        assert_eq!(State::decode(&state.encode()).as_ref(), Ok(&state));
    }
    state.births = vec![0; 4];
    assert_eq!(state.encode()[8], 4);
}

/// As it was first written.
#[test]
fn what_it_takes_to_run_without_being_open_is_in_version_7() {
    let mut summary = sample(1).summary;
    let tracker = |url: &str, next, works| Tracker { url: url.into(), id: None, next, works };
    summary.outline = Some(Outline {
        pieces: 1001,
        pieces_done: 334,
        trackers: vec![
            (0, Tracker { id: Some(b"\0x".to_vec()), ..tracker("udp://one.example:1", Some(5), true) }),
            (7, tracker("http://two.example/announce?key=1", None, false)),
        ],
        down_limit: Some(0),
        up_limit: None,
        unsettled: true,
        names: vec!["album".into(), "album.part".into()],
    });
    let golden = include_bytes!("golden/v7.summary");
    assert_eq!(summary.encode(), golden);
    assert_eq!(Summary::decode(golden), Ok(summary));
}

#[test]
fn markers_and_mount_points_are_in_version_6() {
    let Record { mut summary, mut state, .. } = sample(1);
    assert_eq!((summary.encode()[8], state.encode()[8]), (1, 1));
    let plain = summary.folder.unwrap();
    for (marker, mount) in [(Some(u64::MAX), None), (None, Some(0)), (Some(0), Some(u16::MAX))] {
        summary.folder = Some(Folder { marker, mount, ..plain });
        (state.moving_to, state.goal) = (Some("/elsewhere".into()), summary.folder);
        for births in [vec![], vec![5; 4]] {
            state.births = births;
            assert_eq!((summary.encode()[8], state.encode()[8]), (6, 6));
            assert_eq!(Summary::decode(&summary.encode()).as_ref(), Ok(&summary));
            assert_eq!(State::decode(&state.encode()).as_ref(), Ok(&state));
        }
    }
}

#[test]
fn starts_of_the_system_and_times_of_change_are_in_version_8() {
    let plain = sample(1).state;
    for (boot, ctime) in [(Some([9; 16]), 0), (None, 1_700_000_000_000_000_007), (Some([0; 16]), u64::MAX)] {
        let mut state = State { boot, ..plain.clone() };
        let stamp = state.stamps.iter_mut().flatten().last().unwrap();
        (stamp.ctime, stamp.attributes) = (ctime, if ctime == 0 { 0 } else { u32::MAX });
        assert_eq!(state.encode()[8], 8);
        assert_eq!(State::decode(&state.encode()).as_ref(), Ok(&state));
    }
}

#[test]
fn files_without_reserved_room_are_in_version_9() {
    let mut state = sample(1).state;
    state.choices.allocation = Allocation::None;
    let mut bytes = state.encode();
    assert_eq!(bytes[8], 9);
    assert_eq!(State::decode(&bytes).as_ref(), Ok(&state));
    let at = bytes.len() - 4;
    bytes[8] = 8;
    let sum = crc32c::crc32c(&bytes[..at]);
    bytes[at..].copy_from_slice(&sum.to_le_bytes());
    assert_eq!(State::decode(&bytes), Err(Damage::Value("preallocation")));
}

#[test]
fn how_files_are_finished_is_in_version_3() {
    let mut state = sample(1).state;
    for mode in [LinkMode::Auto, LinkMode::Hard, LinkMode::Reflink, LinkMode::Copy] {
        state.finishing = Finishing {
            suffix: Some(".part".into()),
            unfinished_in: Some("/srv/unfinished".into()),
            link: Some(LinkTo { dir: "/srv/library".into(), mode, done: 7 }),
        };
        assert_eq!(state.encode()[8], 3);
        assert_eq!(State::decode(&state.encode()).as_ref(), Ok(&state));
    }
    state.finishing.suffix = Some("/../other".into());
    assert_eq!(State::decode(&state.encode()), Err(Damage::Value("a suffix")));
}

#[test]
fn a_newer_version_is_named_and_not_taken_for_damage() {
    let mut newer = sample(1).state.encode();
    let at = newer.len() - 4;
    newer[8] = VERSION + 1;
    let sum = crc32c::crc32c(&newer[..at]);
    newer[at..].copy_from_slice(&sum.to_le_bytes());
    let damage = State::decode(&newer).unwrap_err();
    assert_eq!(damage, Damage::Newer { known: VERSION, got: VERSION + 1 });
    assert!(damage.is_newer() && damage.to_string().contains("a newer program wrote it"), "{damage}");
}

/// Flips bits, cuts, and zeroes. The same seed does the same.
pub(super) fn mutate(bytes: &mut Vec<u8>, mut seed: u64) {
    let mut next = |below: usize| {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(seed >> 33).unwrap() % below.max(1)
    };
    match next(4) {
        0 => {
            for _ in 0..=next(3) {
                let at = next(bytes.len());
                bytes[at] ^= 1 << next(8);
            }
        }
        1 => bytes.truncate(next(bytes.len())),
        2 => {
            let from = next(bytes.len());
            let to = from + 1 + next(bytes.len() - from);
            bytes[from..to.min(from + 600)].fill(0);
        }
        _ => {
            let (from, to) = (next(bytes.len()), next(bytes.len()));
            bytes.swap(from, to);
            let extra = next(20);
            bytes.extend(std::iter::repeat_n(0, extra));
        }
    }
}

#[test]
fn ten_thousand_damaged_records_are_all_noticed() {
    let record = sample(1);
    let originals = sheets(&record);
    let mut noticed = 0;
    for seed in 0..10_000 {
        for (kind, original) in originals.iter().enumerate() {
            let mut bytes = original.clone();
            mutate(&mut bytes, seed);
            if bytes == *original {
                continue;
            }
            let read = match kind {
                0 => Summary::decode(&bytes).is_ok(),
                1 => State::decode(&bytes).is_ok(),
                _ => Source::decode(&bytes).is_ok(),
            };
            assert!(!read, "seed {seed}, sheet {kind}");
            noticed += 1;
        }
    }
    assert!(noticed > 29_000, "{noticed}");
}

/// The same behind a checksum that fits: what is read is bounded and makes sense, and is written as it was read.
#[test]
fn records_that_only_look_right_do_no_harm() {
    let originals = sheets(&sample(1));
    for seed in 0..10_000 {
        for (kind, original) in originals.iter().enumerate() {
            let mut payload = original[13..original.len() - 4].to_vec();
            mutate(&mut payload, seed);
            let bytes =
                sheet::seal([sheet::Kind::Summary, sheet::Kind::State, sheet::Kind::Source][kind], &payload);
            let again = match kind {
                0 => Summary::decode(&bytes).map(|summary| summary.encode()),
                1 => State::decode(&bytes).map(|state| state.encode()),
                _ => Source::decode(&bytes).map(|source| source.encode()),
            };
            assert!(again.is_err() || again == Ok(bytes), "seed {seed}, sheet {kind}");
        }
    }
}

fn piece_set(len: impl Strategy<Value = u32>) -> impl Strategy<Value = PieceSet> {
    (len, any::<u64>()).prop_map(|(len, seed)| {
        let mut set = PieceSet::none(len);
        (0..len)
            .filter(|piece| (seed.rotate_left(*piece) ^ u64::from(*piece)) & 3 == 1)
            .for_each(|p| set.set(p, true));
        set
    })
}

prop_compose! {
    fn states()(
        generation: u64,
        pieces in piece_set(0..3000_u32),
        doubtful in piece_set(0..3000_u32),
        partial in prop::collection::vec((any::<u32>(), piece_set(0..64_u32)), 0..5),
        stamps in prop::collection::vec(prop::option::of(any::<(u64, u64, u64, u64, u32)>()), 0..30),
        births in prop::collection::vec(1u64.., 0..30),
        boot: Option<[u8; 16]>,
        created in prop::collection::vec("[a-z/ é]{0,30}", 0..5),
        priorities in prop::collection::vec(0..4_u8, 0..30),
        limits: (Option<u64>, Option<u64>),
        order in 0..3_usize,
        allocation in 0..3_usize,
        peers in prop::collection::vec(any::<(bool, u128, u16)>(), 0..10),
        trackers in prop::collection::vec(any::<(String, Option<Vec<u8>>, Option<u64>, bool)>(), 0..4),
    ) -> State {
        State {
            generation,
            pieces,
            doubtful,
            partial: partial.into_iter().map(|(piece, blocks)| Partial { piece, blocks }).collect(),
            stamps: stamps.into_iter().map(|stamp| stamp.map(|(len, mtime, inode, ctime, attributes)| FileStamp {
                len,
                mtime,
                inode,
                ctime,
                attributes: if ctime == 0 { 0 } else { attributes },
            })).collect(),
            births,
            boot,
            created: created.into_iter().map(PathBuf::from).collect(),
            choices: Choices {
                priorities,
                names: vec![(3, "x/y".into())],
                down_limit: limits.0,
                up_limit: limits.1,
                order: [Order::Rarest, Order::Sequential, Order::FirstLast][order],
                allocation: [Allocation::Sparse, Allocation::Full, Allocation::None][allocation],
                trackers: trackers.iter().map(|tracker| tracker.0.clone()).collect(),
            },
            peers: peers.into_iter().map(|(is_v4, ip, port)| {
                let ip = if is_v4 { std::net::Ipv4Addr::from((ip >> 96) as u32).into() } else { std::net::Ipv6Addr::from(ip).into() };
                SocketAddr::new(ip, port)
            }).collect(),
            trackers: trackers.into_iter().map(|(url, id, next, works)| Tracker { url, id, next, works }).collect(),
            moving_to: (allocation > 0).then(|| "/else/where".into()),
            goal: None,
            renaming: vec![(5, "y".into()); order],
            finishing: Finishing {
                suffix: (order == 2).then(|| ".part".into()),
                unfinished_in: (allocation > 0).then(|| "/un/finished".into()),
                link: None,
            },
        }
    }
}

fn outlines() -> impl Strategy<Value = Outline> {
    let tracker = (".{0,40}", any::<Option<[u8; 3]>>(), any::<Option<u64>>(), any::<bool>());
    let trackers = prop::collection::vec((any::<u32>(), tracker), 0..4);
    let names = prop::collection::vec("[a-zé]{1,20}", 0..3);
    (any::<[u32; 2]>(), trackers, any::<[Option<u64>; 2]>(), names).prop_map(
        |(counts, trackers, limits, names)| {
            let tracker = |(tier, (url, id, next, works)): (u32, (String, Option<[u8; 3]>, _, _))| {
                (tier, Tracker { url, id: id.map(|id| id.to_vec()), next, works })
            };
            Outline {
                pieces: counts[0],
                pieces_done: counts[1],
                trackers: trackers.into_iter().map(tracker).collect(),
                down_limit: limits[0],
                up_limit: limits[1],
                unsettled: counts[0] % 2 == 1,
                names: names.into_iter().map(PathBuf::from).collect(),
            }
        },
    )
}

#[test]
fn a_tracker_that_is_too_long_to_be_read_costs_itself_only() {
    let tracker =
        |url: &str, id: usize| Tracker { url: url.into(), id: Some(vec![7; id]), next: None, works: true };
    let (long, mut state) = ("x".repeat(9000), State::new(3));
    state.trackers = vec![tracker("a", 20), tracker(&long, 20), tracker("b", 9000)];
    state.choices.trackers = vec![long, "c".into()];
    let read = State::decode(&state.encode()).unwrap();
    assert_eq!((read.trackers, read.choices.trackers), (vec![tracker("a", 20)], vec!["c".into()]));
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_state_reads_as_it_was_written(state in states()) {
        prop_assert_eq!(State::decode(&state.encode()), Ok(state));
    }

    #[test]
    fn every_summary_reads_as_it_was_written(
        generation: u64, v1: Option<[u8; 20]>, v2: [u8; 32], has_v2: bool, name in ".{0,200}", dir in "/[a-zé/]{0,60}",
        numbers: [u64; 7], outline in proptest::option::of(outlines()), folder: Option<(u64, u64, Option<i64>, u64, Option<u64>, Option<u16>)>, bits in 0..128_u64, completed: Option<u64>, next_announce: Option<u64>,
    ) {
        let v2 = (has_v2 || v1.is_none()).then_some(InfoHashV2(v2));
        let [size, done, downloaded, uploaded, wasted, added, saved] = numbers;
        let is = |at: u32| bits >> at & 1 == 1;
        let summary = Summary {
            generation,
            hashes: InfoHashes::from_parts(v1.map(InfoHashV1), v2).unwrap(),
            name,
            dir: dir.into(),
            folder: folder.map(|(device, inode, born, file_system, marker, mount)| Folder {
                device, inode, born, file_system, marker, mount,
            }),
            flags: Flags {
                complete: is(0), finished: is(1), clean: is(2), paused: is(3), seed_only: is(4), private: is(5), no_metadata: is(6),
            },
            size,
            done,
            totals: Totals { downloaded, uploaded, wasted },
            times: Times { added, completed, saved, next_announce },
            name_rules: NAME_RULES,
            outline,
        };
        prop_assert_eq!(Summary::decode(&summary.encode()), Ok(summary));
    }

    #[test]
    fn any_bytes_are_read_without_harm(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let summary = sheet::seal(sheet::Kind::Summary, &bytes);
        let state = sheet::seal(sheet::Kind::State, &bytes);
        let _ = (Summary::decode(&bytes), Summary::decode(&summary), State::decode(&state), Source::decode(&bytes));
    }
}
