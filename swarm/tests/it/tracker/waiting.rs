//! Announces that wait for their turn at the driver: that is no silence of their tracker.

use swarm::engine::tracker::{
    BACKLOG, Config, Event, Failure, HURRY, PATIENCE, PATIENCE_STOPPED, PRIVATE_LOYALTY, State, TrackerId,
};

use super::world::{Does, World, config, reply};

const A: &str = "http://a.example/announce";
const B: &str = "udp://b.example:6969";

/// A world in which announces wait for their turn, and no tracker answers.
fn waiting<'t>(config: Config, tiers: &[Vec<&str>]) -> World<'t> {
    let mut world = World::new(config, tiers, |_, _| Does::Silence);
    world.begins = false;
    world
}

#[test]
fn an_answer_is_taken_however_long_the_announce_waited_for_its_turn() {
    let mut world = waiting(config(), &[vec![A]]);
    world.run(100);
    let id = world.log[0].announce.id;
    world.schedule.handle_begun(world.now, id);
    world.run(PATIENCE.as_secs() - 1);
    assert_eq!((world.log.len(), world.cancelled), (1, 0));
    assert!(world.schedule.handle_reply(world.now, id, &reply(1800), &mut world.rng));
    let shown: Vec<_> = world.schedule.status().map(|s| (s.state, s.fails, s.error.is_some())).collect();
    assert_eq!(shown, [(State::Working, 0, false)]);
}

#[test]
fn patience_counts_from_the_beginning_and_from_the_first_word_of_it() {
    let mut world = waiting(config(), &[vec![A]]);
    world.run(100);
    let id = world.log[0].announce.id;
    world.schedule.handle_begun(world.now, id);
    world.run(PATIENCE.as_secs() - 1);
    world.schedule.handle_begun(world.now, id);
    assert_eq!(world.cancelled, 0);
    world.run(1);
    assert_eq!(world.cancelled, 1);
    let error = world.schedule.status().next().and_then(|s| s.error.map(|(_, why)| why.clone()));
    assert_eq!(error, Some(Failure::TimedOut));
}

#[test]
fn what_never_has_its_turn_is_given_up_in_the_end() {
    let mut world = waiting(config(), &[vec![A]]);
    world.run(BACKLOG.as_secs() - 1);
    assert_eq!((world.log.len(), world.cancelled), (1, 0));
    world.run(1);
    assert_eq!(world.cancelled, 1);
}

#[test]
fn a_private_torrent_does_not_leave_a_tracker_that_it_waits_for() {
    let private = Config { private: true, ..config() };
    let mut world = waiting(private, &[vec![A], vec![B]]);
    for turn in 0..=PRIVATE_LOYALTY {
        while world.log.len() <= turn as usize {
            world.run(10);
        }
        world.run(5 * PATIENCE.as_secs());
        let id = world.log[turn as usize].announce.id;
        world.schedule.handle_begun(world.now, id);
        assert!(world.schedule.handle_reply(world.now, id, &reply(600), &mut world.rng));
    }
    assert!(world.log.iter().all(|sent| sent.url == A), "{:?}", world.log);
    assert_eq!(world.schedule.status().next().map(|s| s.fails), Some(0));
    assert!(world.dropped.is_empty());
}

#[test]
fn the_next_tracker_is_asked_beside_one_that_has_no_turn() {
    let mut world = World::new(config(), &[vec![A], vec![B]], |announce, _| match announce.url.as_str() {
        A => Does::Silence,
        _ => Does::Reply(reply(1800)),
    });
    world.begins = false;
    world.run(BACKLOG.as_secs() - 1);
    let lines: Vec<_> = world.log.iter().map(|sent| (sent.at, sent.url.as_str())).collect();
    assert_eq!(lines, [(0, A), (HURRY.as_secs(), B)]);
    assert_eq!((world.schedule.current(), world.cancelled), (Some(TrackerId(1)), 0));
    // Its turn comes late, and it is the one that comes first.
    let id = world.log[0].announce.id;
    world.schedule.handle_begun(world.now, id);
    assert!(world.schedule.handle_reply(world.now, id, &reply(1800), &mut world.rng));
    assert_eq!(world.schedule.current(), Some(TrackerId(0)));
}

#[test]
fn one_that_has_its_turn_is_waited_for_before_the_next_one_is_asked() {
    let mut world = waiting(config(), &[vec![A], vec![B]]);
    world.run(HURRY.as_secs() - 1);
    world.schedule.handle_begun(world.now, world.log[0].announce.id);
    world.run(HURRY.as_secs() - 1);
    assert_eq!(world.log.len(), 1);
    world.run(1);
    assert_eq!((world.log.len(), world.cancelled), (2, 1));
}

#[test]
fn a_tracker_that_was_not_asked_is_not_told_stopped() {
    let mut world = waiting(config(), &[vec![A]]);
    world.run(10);
    world.schedule.stop();
    world.run(10);
    assert!(world.schedule.is_stopped());
    assert_eq!((world.log.len(), world.cancelled), (1, 1));
}

#[test]
fn stopped_waits_for_its_turn_too() {
    let mut world = World::new(config(), &[vec![A]], |announce, _| match announce.event {
        Event::Stopped => Does::Silence,
        _ => Does::Reply(reply(600)),
    });
    world.run(10);
    world.begins = false;
    world.schedule.stop();
    world.run(100);
    assert!(!world.schedule.is_stopped());
    world.schedule.handle_begun(world.now, world.log[1].announce.id);
    world.run(PATIENCE_STOPPED.as_secs());
    assert!(world.schedule.is_stopped());
}
