//! What a new session takes over from the one before.

use std::time::Duration;

use swarm::engine::TrackerMemo;
use swarm::engine::tracker::{AnnounceReply, Event, Failure, MAX_RECALLED, RetryIn};

use super::world::{Does, World, config, reply};

const A: &str = "http://a.example/key/announce";
const B: &str = "http://b.example/announce";
const C: &str = "http://c.example/announce";

fn down() -> Does {
    Does::Fail(Failure::Unreachable("connection refused".into()))
}

/// A session at one tracker after 100 s.
fn session<'t>(answer: impl Fn() -> Does + 't) -> World<'t> {
    let mut world = World::new(config(), &[vec![A]], move |_, _| answer());
    world.run(100);
    world
}

/// When the next session announces, after what was remembered of the one before.
fn next_session(memos: &[TrackerMemo]) -> World<'static> {
    let mut world = World::seeded(9, config(), &[vec![A]], |_, _| Does::Reply(reply(100_000)));
    world.schedule.recall(world.now, memos);
    world.run(7200);
    world
}

fn least(seconds: u32) -> Does {
    let reply =
        AnnounceReply { min_interval: Some(seconds), tracker_id: Some(b"me".to_vec()), ..reply(1800) };
    Does::Reply(reply)
}

#[test]
fn a_session_that_was_killed_keeps_the_minimum_interval_and_one_that_ended_does_not() {
    let killed = session(|| least(600));
    let memos = killed.schedule.memos(killed.now);
    assert_eq!(memos[0].next_in, Some(Duration::from_secs(500)));
    assert_eq!((memos[0].url.as_str(), memos[0].works), (A, true));
    let mut again = next_session(&memos);
    assert_eq!(again.log[0].announce.tracker_id.as_deref(), Some(&b"me"[..]));
    assert_eq!(again.lines(), [(500, A.to_owned(), Event::Started)]);

    // Also when nobody waited for the answer to the farewell.
    for waits in [true, false] {
        let mut ended = session(|| least(600));
        ended.schedule.stop();
        if waits {
            ended.settle();
        }
        let mut again = next_session(&ended.schedule.memos(ended.now));
        assert_eq!(again.lines(), [(0, A.to_owned(), Event::Started)]);
    }
}

#[test]
fn a_session_that_was_killed_twice_still_waits() {
    let first = session(|| least(600));
    let memos = first.schedule.memos(first.now);
    let mut second = World::new(config(), &[vec![A]], |_, _| panic!("it is left alone"));
    second.schedule.recall(second.now, &memos);
    second.run(200);
    let memos = second.schedule.memos(second.now);
    assert_eq!((memos[0].next_in, memos[0].works), (Some(Duration::from_secs(300)), true));
    // Not even a user who asks shortens what the tracker said.
    second.schedule.announce_now(second.now);
    second.schedule.want_peers(second.now);
    second.run(299);
}

#[test]
fn without_a_wish_of_the_tracker_a_session_begins_at_once() {
    for answer in [|| Does::Reply(reply(1800)), down] {
        let killed = session(answer);
        let memos = killed.schedule.memos(killed.now);
        assert_eq!(memos[0].next_in, None);
        assert_eq!(next_session(&memos).lines(), [(0, A.to_owned(), Event::Started)]);
    }
}

#[test]
fn a_time_to_retry_after_is_kept_and_no_wait_is_without_bound() {
    let refused = session(|| {
        let retry_in = Some(RetryIn::Minutes(20));
        Does::Fail(Failure::Refused(wire::tracker::Failure { reason: "busy".into(), retry_in }))
    });
    let mut memos = refused.schedule.memos(refused.now);
    assert_eq!(next_session(&memos).lines(), [(1100, A.to_owned(), Event::Started)]);
    // As of a clock that was set back by ten years.
    memos[0].next_in = Some(Duration::from_secs(10 * 365 * 86_400));
    let at = MAX_RECALLED.as_secs();
    assert_eq!(next_session(&memos).lines(), [(at, A.to_owned(), Event::Started)]);
}

#[test]
fn trackers_that_worked_go_first_in_their_tier_also_those_that_are_added_later() {
    let memo = |url: &str, works| TrackerMemo { url: url.into(), tracker_id: None, next_in: None, works };
    let memos = [memo(C, true), memo(B, true), memo(A, false)];
    for seed in 0..8 {
        let mut world = World::seeded(seed, config(), &[vec![A, B, C]], |_, _| down());
        world.schedule.recall(world.now, &memos);
        world.run(1);
        assert_eq!(world.urls(), [C, B, A]);
        let mut world = World::seeded(seed, config(), &[vec![A, C]], |_, _| down());
        world.schedule.recall(world.now, &memos);
        world.schedule.add(0, B);
        world.run(1);
        assert_eq!(world.urls(), [B, C, A]);
    }
}
