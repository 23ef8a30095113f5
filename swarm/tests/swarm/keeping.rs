//! The engine alone, call by call: failures of one store, tries with a back-off, clocks that jump.

use std::io::ErrorKind;
use std::time::Duration;

use metainfo::Builder;
use storage::{Completion, Hashes, Job, Operation, StorageError, StoreId};
use swarm::engine::scope::Scope;
use swarm::engine::tracker::{self, AnnounceReply};
use swarm::engine::{Action, Activity, AddTorrent, Config, Engine, Event, Time, TorrentKey, Unseen};
use swarm::sim::Content;
use wire::peer::{Bitfield, PeerId};

fn engine() -> Engine {
    Engine::new(Config::new(PeerId::new(PeerId::PREFIX, [7; 12])), [9; 32])
}

fn add(engine: &mut Engine, seed: u64, store: u32) -> TorrentKey {
    let builder = Builder::single(format!("{seed}.bin"), 1 << 20).tracker("http://tracker.test/announce");
    let content = Content::build(seed, 1 << 20, builder.piece_length(1 << 16));
    let add = AddTorrent::new(content.torrent, StoreId(store), Bitfield::new(16));
    engine.add_torrent(Time::ZERO, add).expect("it is new")
}

/// A whole one that a record claims.
fn add_recorded(engine: &mut Engine) -> TorrentKey {
    let builder = Builder::single("whole.bin", 1 << 20);
    let content = Content::build(1, 1 << 20, builder.piece_length(1 << 16));
    let whole = Bitfield::with_all(16);
    let add = AddTorrent { recorded: true, ..AddTorrent::new(content.torrent, StoreId(0), whole) };
    engine.add_torrent(Time::ZERO, add).expect("it is new")
}

/// Answers checks until there are none, `judge` says how; syncs go well.
fn answer_checks(engine: &mut Engine, now: Time, judge: impl Fn(u32) -> Result<bool, StorageError>) -> u32 {
    let mut count = 0;
    loop {
        let jobs = jobs(engine);
        if jobs.is_empty() {
            return count;
        }
        for job in jobs {
            let completion = match job {
                Job::Check { store, piece } => {
                    count += 1;
                    let hashes = |is_right| if is_right { Hashes::Match } else { Hashes::Differ };
                    Completion::Piece { store, piece, result: judge(piece.get()).map(hashes) }
                }
                Job::Sync { store, token } => Completion::Synced { store, token, result: Ok(()) },
                job => panic!("{job:?}"),
            };
            engine.handle_completion(now, completion);
        }
    }
}

fn jobs(engine: &mut Engine) -> Vec<Job> {
    let mut jobs = Vec::new();
    engine.take_jobs(&mut jobs);
    jobs
}

fn events(engine: &mut Engine) -> Vec<Event> {
    let actions = std::iter::from_fn(|| engine.poll_action());
    let event = |action| if let Action::Event(event) = action { Some(event) } else { None };
    actions.filter_map(event).collect()
}

fn activity(engine: &Engine, key: TorrentKey) -> Activity {
    engine.torrent_status(Time::ZERO, key).expect("it runs").activity
}

/// Answers the one sync that was asked for.
fn answer_sync(engine: &mut Engine, now: Time, result: Result<(), StorageError>) {
    let jobs = jobs(engine);
    let [Job::Sync { store, token }] = jobs[..] else { panic!("{jobs:?}") };
    engine.handle_completion(now, Completion::Synced { store, token, result });
}

#[test]
fn only_the_torrent_on_a_failed_storage_stops_and_it_is_tried_again_and_again() {
    let mut engine = engine();
    let (bad, good) = (add(&mut engine, 1, 0), add(&mut engine, 2, 1));
    let error = StorageError::new(Operation::Sync, "1.bin", None, ErrorKind::Other.into());
    let mut now = Time::from_secs(1);
    engine.sync(now, bad);
    answer_sync(&mut engine, now, Err(error.clone()));
    assert_eq!(activity(&engine, bad), Activity::Failed(error.clone()));
    assert_eq!(activity(&engine, good), Activity::Downloading);
    let failed = Event::StorageFailed { torrent: bad, error: error.clone() };
    assert_eq!(events(&mut engine), [failed], "it is told once");
    // The waits double, up to a minute.
    for wait in [5, 10, 20, 40, 60, 60] {
        engine.handle_timeout(now + Duration::from_secs(wait).saturating_sub(Duration::from_millis(1)));
        assert!(jobs(&mut engine).is_empty(), "before {wait} s");
        now += Duration::from_secs(wait);
        engine.handle_timeout(now);
        assert!(matches!(jobs(&mut engine)[..], [Job::Probe { store: StoreId(0), .. }]), "after {wait} s");
        engine.handle_completion(now, Completion::Probed { store: StoreId(0), result: Err(error.clone()) });
    }
    assert!(events(&mut engine).is_empty());
    // The probe goes well; then the sync that failed has to.
    now += Duration::from_secs(60);
    engine.handle_timeout(now);
    assert_eq!(jobs(&mut engine).len(), 1);
    engine.handle_completion(now, Completion::Probed { store: StoreId(0), result: Ok(()) });
    assert!(matches!(activity(&engine, bad), Activity::Failed(_)), "a probe alone proves nothing");
    answer_sync(&mut engine, now, Ok(()));
    assert_eq!(activity(&engine, bad), Activity::Downloading);
    let told = events(&mut engine);
    assert!(told.contains(&Event::StorageRecovered { torrent: bad }), "{told:?}");
    engine.check_invariant();
}

#[test]
fn the_floor_of_free_space_is_that_of_one_device() {
    let mut engine = engine();
    let (low, other) = (add(&mut engine, 1, 0), add(&mut engine, 2, 1));
    let now = Time::from_secs(1);
    engine.set_space(now, StoreId(0), 1000);
    engine.set_space(now, StoreId(1), 1 << 30);
    assert!(matches!(activity(&engine, low), Activity::Failed(error) if error.is_full()));
    assert_eq!(activity(&engine, other), Activity::Downloading);
    engine.set_space(now, StoreId(0), 1 << 30);
    assert!(matches!(jobs(&mut engine)[..], [Job::Probe { store: StoreId(0), .. }]), "it is tried at once");
    engine.handle_completion(now, Completion::Probed { store: StoreId(0), result: Ok(()) });
    assert_eq!(activity(&engine, low), Activity::Downloading);
}

#[test]
fn a_torrent_without_changes_is_paused_and_resumed_without_the_disk() {
    let mut engine = engine();
    let key = add(&mut engine, 1, 0);
    events(&mut engine);
    engine.pause(Time::from_secs(1), key);
    assert!(jobs(&mut engine).is_empty());
    assert_eq!(events(&mut engine), [Event::Stopped { torrent: key, clean: true }]);
    assert_eq!(activity(&engine, key), Activity::Paused);
    engine.pause(Time::from_secs(2), key);
    assert!(events(&mut engine).is_empty(), "it is told once");
    engine.wind_down(Time::from_secs(2), key);
    assert_eq!(events(&mut engine), [Event::Stopped { torrent: key, clean: true }], "or to whoever asks");
    engine.resume(Time::from_secs(3), key);
    assert_eq!(activity(&engine, key), Activity::Downloading);
}

#[test]
fn a_clock_that_jumps_ten_years_makes_no_storm_of_announces() {
    const YEARS: u64 = 10 * 365 * 86_400;
    let mut engine = engine();
    let key = add(&mut engine, 1, 0);
    let mut announces = 0;
    let mut turn = |engine: &mut Engine, now: Time| {
        engine.handle_timeout(now);
        while let Some(action) = engine.poll_action() {
            announces += usize::from(matches!(action, Action::Announce { .. }));
        }
        assert!(engine.next_timeout().is_none_or(|at| at < Time::MAX));
        engine.check_invariant();
        announces
    };
    for second in [0, 1, YEARS, YEARS + 1, 5, 0, YEARS, 2 * YEARS, 1, 3 * YEARS] {
        turn(&mut engine, Time::from_secs(second));
    }
    let told = turn(&mut engine, Time::from_secs(3 * YEARS + 1));
    assert!(told <= 8, "{told} announces");
    assert_eq!(activity(&engine, key), Activity::Downloading);
}

#[test]
fn a_lost_piece_is_not_written_over_before_the_record_was_saved_without_it() {
    let mut engine = engine();
    let key = add_recorded(&mut engine);
    let now = Time::from_secs(1);
    let older = engine.resume_state(now, key).expect("it runs").clean;
    engine.recheck(now, key);
    events(&mut engine);
    assert_eq!(answer_checks(&mut engine, now, |piece| Ok(piece != 5)), 16);
    let told = events(&mut engine);
    let unclaimed = |event: &&Event| matches!(event, Event::Unclaimed { piece, .. } if piece.get() == 5);
    assert_eq!(told.iter().filter(unclaimed).count(), 1, "{told:?}");
    let left = |engine: &Engine| {
        let status = engine.torrent_status(now, key).expect("it runs");
        (status.pieces_done, status.activity)
    };
    // A record from before says nothing.
    engine.recorded(now, key, &older);
    assert_eq!(left(&engine), (15, Activity::Seeding), "it is held back");
    let state = engine.resume_state(now, key).expect("it runs");
    assert!(!state.clean.get(5));
    engine.recorded(now, key, &state.clean);
    assert_eq!(left(&engine), (15, Activity::Downloading));
    engine.check_invariant();
    // Were it found to be right after all, it would not be fetched.
    let mut engine = self::engine();
    let key = add_recorded(&mut engine);
    engine.recheck(now, key);
    answer_checks(&mut engine, now, |piece| Ok(piece != 5));
    engine.recheck(now, key);
    answer_checks(&mut engine, now, |_| Ok(true));
    let state = engine.resume_state(now, key).expect("it runs");
    engine.recorded(now, key, &state.clean);
    assert_eq!(activity(&engine, key), Activity::Seeding);
    engine.check_invariant();
}

#[test]
fn a_seed_needs_no_more_than_reading_to_be_well_again() {
    let mut engine = engine();
    let key = add_recorded(&mut engine);
    let now = Time::from_secs(1);
    engine.recheck(now, key);
    let gone = StorageError::new(Operation::Read, "whole.bin", None, ErrorKind::NotConnected.into());
    assert!(gone.is_gone());
    let tried = answer_checks(&mut engine, now, |_| Err(gone.clone()));
    assert!(tried <= 2, "{tried} checks of what is gone");
    assert!(matches!(activity(&engine, key), Activity::Failed(_)));
    let now = now + Duration::from_secs(5);
    engine.handle_timeout(now);
    let asked = jobs(&mut engine);
    assert!(matches!(asked[..], [Job::Probe { write: false, .. }]), "{asked:?}");
    engine.handle_completion(now, Completion::Probed { store: StoreId(0), result: Ok(()) });
    assert_eq!(answer_checks(&mut engine, now, |_| Ok(true)), 16, "what could not be read is read again");
    assert_eq!(activity(&engine, key), Activity::Seeding);
    engine.sync(now, key);
    answer_sync(&mut engine, now, Ok(()));
    let state = engine.resume_state(now, key).expect("it runs");
    assert!(state.clean.is_full() && state.doubtful.is_clear());
}

/// A whole one of which the first four pieces could not be looked at.
fn add_unseen(engine: &mut Engine, why: &StorageError) -> TorrentKey {
    let builder = Builder::single("whole.bin", 1 << 20);
    let content = Content::build(1, 1 << 20, builder.piece_length(1 << 16));
    let (mut have, mut pieces) = (Bitfield::with_all(16), Bitfield::new(16));
    for piece in 0..4 {
        have.clear(piece);
        pieces.set(piece);
    }
    let unseen = Some(Unseen { pieces, why: why.clone() });
    let add = AddTorrent { recorded: true, unseen, ..AddTorrent::new(content.torrent, StoreId(0), have) };
    engine.add_torrent(Time::ZERO, add).expect("it is new")
}

fn denied() -> StorageError {
    StorageError::new(Operation::Open, "whole.bin", None, ErrorKind::PermissionDenied.into())
}

#[test]
fn what_cannot_be_looked_at_is_waited_for_and_not_fetched() {
    let (mut engine, why) = (engine(), denied());
    let key = add_unseen(&mut engine, &why);
    let mut now = Time::ZERO;
    assert_eq!(events(&mut engine), [Event::StorageFailed { torrent: key, error: why.clone() }]);
    assert_eq!(answer_checks(&mut engine, now, |_| Err(why.clone())), 4, "they are tried at once");
    for wait in [5, 10, 20, 40, 60, 60] {
        engine.handle_timeout(now + Duration::from_secs(wait).saturating_sub(Duration::from_millis(1)));
        assert!(jobs(&mut engine).is_empty(), "before {wait} s");
        now += Duration::from_secs(wait);
        engine.handle_timeout(now);
        assert_eq!(answer_checks(&mut engine, now, |_| Err(why.clone())), 4, "after {wait} s");
        assert_eq!(activity(&engine, key), Activity::Failed(why.clone()));
        let status = engine.torrent_status(now, key).expect("it runs");
        assert_eq!((status.pieces_done, status.unreadable, status.done), (12, 4, 12 << 16));
        let kept = engine.resume_state(now, key).expect("it runs");
        assert_eq!((kept.clean.count_ones(), kept.doubtful.count_ones()), (12, 4));
        engine.check_invariant();
    }
    assert!(events(&mut engine).is_empty(), "it is told once");
    engine.handle_timeout(now + Duration::from_secs(60));
    answer_checks(&mut engine, now, |_| Ok(true));
    assert_eq!(activity(&engine, key), Activity::Seeding);
    let told = events(&mut engine);
    assert!(told.contains(&Event::StorageRecovered { torrent: key }), "{told:?}");
    assert!(told.contains(&Event::Complete { torrent: key }), "{told:?}");
    assert!(!told.iter().any(|event| matches!(event, Event::PieceFailed { .. })), "{told:?}");
    engine.check_invariant();
}

#[test]
fn what_turns_out_not_to_be_there_when_it_can_be_looked_at_is_fetched() {
    let (mut engine, why) = (engine(), denied());
    let key = add_unseen(&mut engine, &why);
    let gone = StorageError::new(Operation::Open, "whole.bin", None, ErrorKind::NotFound.into());
    answer_checks(&mut engine, Time::ZERO, |piece| match piece {
        0 => Ok(false),
        1 => Err(gone.clone()),
        _ => Ok(true),
    });
    assert_eq!(activity(&engine, key), Activity::Downloading);
    let status = engine.torrent_status(Time::ZERO, key).expect("it runs");
    assert_eq!((status.pieces_done, status.unreadable, status.done), (14, 0, 14 << 16));
    let told = events(&mut engine);
    assert!(told.contains(&Event::StorageRecovered { torrent: key }), "{told:?}");
    assert!(!told.contains(&Event::Complete { torrent: key }), "{told:?}");
    engine.check_invariant();
}

/// What a tracker that takes everything is told, until nothing more is due in an hour.
fn told(engine: &mut Engine, now: Time) -> Vec<tracker::Event> {
    let mut told = Vec::new();
    for second in 0..3600 {
        let now = now + Duration::from_secs(second);
        engine.handle_timeout(now);
        while let Some(action) = engine.poll_action() {
            if let Action::Announce { torrent, announce, .. } = action {
                told.push(announce.event);
                let reply = AnnounceReply { interval: Some(1800), ..AnnounceReply::default() };
                engine.handle_announced(now, torrent, announce.id, Scope::Global, Ok(reply));
            }
        }
    }
    told
}

#[test]
fn that_a_file_can_be_looked_at_again_is_no_completion_to_trackers() {
    for (is_there, expected) in [(true, false), (false, true)] {
        let (mut engine, why) = (engine(), denied());
        let key = add_unseen(&mut engine, &why);
        engine.add_tracker(Time::ZERO, key, 0, "http://tracker.test/announce");
        answer_checks(&mut engine, Time::ZERO, |_| Err(why.clone()));
        assert!(told(&mut engine, Time::ZERO).contains(&tracker::Event::Started));
        let mut now = Time::from_secs(3600);
        engine.handle_timeout(now);
        answer_checks(&mut engine, now, |piece| Ok(is_there || piece != 2));
        if !is_there {
            // A record without it was saved, and it comes by other means.
            assert_eq!(activity(&engine, key), Activity::Downloading);
            now += Duration::from_secs(1);
            engine.recheck(now, key);
            answer_checks(&mut engine, now, |_| Ok(true));
        }
        assert_eq!(activity(&engine, key), Activity::Seeding);
        let told = told(&mut engine, now);
        assert!(!told.is_empty());
        assert_eq!(told.contains(&tracker::Event::Completed), expected, "{told:?}");
    }
}

#[test]
fn a_file_that_cannot_be_opened_any_more_is_waited_for_and_not_fetched_anew() {
    let (mut engine, why) = (engine(), denied());
    let key = add_recorded(&mut engine);
    events(&mut engine);
    let mut now = Time::from_secs(1);
    engine.recheck(now, key);
    answer_checks(&mut engine, now, |piece| if piece < 4 { Err(why.clone()) } else { Ok(true) });
    for _ in 0..600 {
        now += Duration::from_secs(1);
        engine.handle_timeout(now);
        answer_checks(&mut engine, now, |_| Err(why.clone()));
        engine.check_invariant();
    }
    let lost = |told: &[Event]| told.iter().any(|event| matches!(event, Event::PieceFailed { .. }));
    let told = events(&mut engine);
    assert!(!lost(&told) && told.contains(&Event::StorageFailed { torrent: key, error: why.clone() }));
    assert_eq!(activity(&engine, key), Activity::Failed(why));
    engine.handle_timeout(now + Duration::from_secs(60));
    answer_checks(&mut engine, now, |_| Ok(true));
    assert_eq!(activity(&engine, key), Activity::Seeding);
    assert_eq!(engine.torrent_status(now, key).expect("it runs").pieces_done, 16);
    assert!(!lost(&events(&mut engine)));
}
