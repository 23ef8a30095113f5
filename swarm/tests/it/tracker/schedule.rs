//! The rules of BEP 3, 7, 12, 27 and 31, one by one.

use swarm::engine::tracker::{
    AnnounceReply, Config, Event, Failure, Families, Family, HURRY, PATIENCE, RetryIn, Schedule, State,
    TrackerId,
};

use super::world::{Does, World, config, refused, reply};

const A: &str = "http://a.example/announce";
const B: &str = "udp://b.example:6969";
const C: &str = "http://c.example/announce";

fn answer(interval: u32) -> Does {
    Does::Reply(reply(interval))
}

fn down() -> Does {
    Does::Fail(Failure::Unreachable("connection refused".into()))
}

#[test]
fn the_first_tracker_that_answers_is_enough() {
    let mut world = World::new(config(), &[vec![A], vec![B], vec![C]], |a, _| {
        if a.url.as_str() == A { down() } else { answer(1800) }
    });
    world.run(10);
    assert_eq!(world.urls(), [A, B]);
}

#[test]
fn each_tier_is_shuffled_once_and_differently_by_seed() {
    let order = |seed| {
        let mut world = World::seeded(seed, config(), &[vec![A, B], vec![C]], |_, _| down());
        world.run(10);
        world.urls()
    };
    let orders: Vec<_> = (0..16).map(order).collect();
    assert!(orders.iter().all(|o| o.len() == 3 && o[2] == C), "{orders:?}");
    assert!(orders.iter().any(|o| o[0] == A) && orders.iter().any(|o| o[0] == B));
    assert_eq!(order(3), order(3));
}

#[test]
fn the_working_tracker_moves_to_the_front_of_its_tier() {
    // The example of BEP 12: of 1, 2, 3 only the third answers, so the order becomes 3, 1, 2.
    let tiers = [vec![A, B, C]];
    let mut world = World::new(config(), &tiers, |a, at| match (a.url.as_str(), at) {
        (C, _) => answer(100_000),
        _ => down(),
    });
    let before: Vec<_> = world.schedule.status().map(|s| s.id).collect();
    world.run(60);
    let after: Vec<_> = world.schedule.status().map(|s| s.id).collect();
    let c = TrackerId(2);
    assert_eq!(after[0], c);
    let rest = |order: &[TrackerId]| order.iter().copied().filter(|&id| id != c).collect::<Vec<_>>();
    assert_eq!(rest(&before), rest(&after));
    world.lines();
    world.schedule.announce_now(world.now);
    world.run(5);
    assert_eq!(world.urls(), [C]);
}

#[test]
fn a_tracker_that_comes_back_is_preferred_again() {
    let mut world = World::new(config(), &[vec![A], vec![B]], |a, at| match a.url.as_str() {
        A if at < 100 => down(),
        _ => answer(1800),
    });
    world.run(600);
    let lines = world.lines();
    let back = lines.iter().rposition(|(_, url, _)| url == A).unwrap();
    assert!(lines[back].0 >= 100 && back == lines.len() - 1, "{lines:?}");
    assert_eq!(world.schedule.current(), Some(TrackerId(0)));
}

#[test]
fn a_tracker_that_is_taken_out_is_told_and_not_asked_again_unless_it_is_added_again() {
    let mut world = World::new(config(), &[vec![A], vec![B]], |_, _| answer(60));
    world.run(10);
    assert_eq!((world.urls(), world.schedule.current()), (vec![A.to_owned()], Some(TrackerId(0))));
    assert_eq!(world.schedule.remove(A), Some(TrackerId(0)));
    assert_eq!((world.schedule.remove(A), world.schedule.remove(C)), (None, None));
    assert_eq!(world.schedule.current(), None);
    world.run(300);
    let lines = world.lines();
    assert_eq!((lines[0].1.as_str(), lines[0].2), (A, Event::Stopped), "{lines:?}");
    assert!(lines.len() > 2 && lines[1..].iter().all(|(_, url, _)| url == B), "{lines:?}");
    assert_eq!(world.schedule.status().count(), 1);
    assert_eq!(world.schedule.add(0, A), Some(TrackerId(0)));
    world.run(300);
    let again = world.lines();
    assert_eq!((again[0].1.as_str(), again[0].2), (A, Event::Started), "its tier comes first");
    assert_eq!(world.schedule.status().count(), 2);
}

#[test]
fn a_silent_tracker_is_given_up_sooner_while_others_are_left() {
    let mut world = World::new(config(), &[vec![A], vec![B]], |_, _| Does::Silence);
    world.run(PATIENCE.as_secs() + 21);
    let lines: Vec<_> = world.lines().into_iter().map(|(at, url, _)| (at, url)).collect();
    assert_eq!(lines[..2], [(0, A.into()), (HURRY.as_secs(), B.into())]);
    assert!(world.cancelled >= 1);
    let errors: Vec<_> = world.schedule.status().filter_map(|s| s.error).collect();
    assert_eq!(errors[0], (Family::V4, &Failure::TimedOut));
}

#[test]
fn a_late_answer_is_not_taken() {
    let mut world = World::new(config(), &[vec![A]], |_, _| Does::Silence);
    world.run(PATIENCE.as_secs() + 1);
    let id = world.log[0].announce.id;
    assert!(!world.schedule.handle_reply(world.now, id, &reply(1800), &mut world.rng));
    assert_eq!(world.schedule.current(), None);
}

#[test]
fn events_are_told_in_order_and_once() {
    let mut world = World::new(config(), &[vec![A]], |_, _| answer(600));
    world.run(1000);
    world.totals.left = 0;
    world.schedule.completed(world.now);
    world.schedule.completed(world.now);
    world.run(1000);
    world.schedule.stop();
    world.run(1000);
    assert!(world.schedule.is_stopped());
    let events: Vec<_> = world.log.iter().map(|s| s.event).collect();
    assert_eq!(events, [Event::Started, Event::None, Event::Completed, Event::None, Event::Stopped]);
    let stopped = &world.log[4].announce;
    assert_eq!((stopped.num_want, stopped.left, stopped.patience.as_secs()), (0, 0, 5));
    assert_eq!(world.log[2].at, 1000, "completed goes out at once");
}

#[test]
fn a_torrent_that_starts_complete_never_tells_completed() {
    let mut world = World::new(Config { complete: true, ..config() }, &[vec![A]], |_, _| answer(600));
    world.totals.left = 0;
    world.run(10);
    world.schedule.completed(world.now);
    world.run(2000);
    assert!(world.log.iter().all(|s| s.event != Event::Completed));
}

#[test]
fn completed_is_retried_until_it_is_taken_and_then_never_again() {
    let mut world = World::new(config(), &[vec![A]], |a, at| match a.event {
        Event::Completed if at < 300 => down(),
        _ => answer(1800),
    });
    world.run(10);
    world.schedule.completed(world.now);
    world.run(10_000);
    let completed: Vec<_> = world.log.iter().filter(|s| s.event == Event::Completed).map(|s| s.at).collect();
    assert!(completed.len() > 2 && completed.iter().filter(|&&at| at >= 300).count() == 1, "{completed:?}");
}

#[test]
fn completing_while_started_is_under_way_or_failing_tells_both_in_order() {
    let mut world = World::new(config(), &[vec![A]], |_, at| if at < 50 { down() } else { answer(1800) });
    world.run(1);
    world.totals.left = 0;
    world.schedule.completed(world.now);
    world.run(600);
    let taken: Vec<_> = world.log.iter().filter(|s| s.at >= 50).map(|s| s.event).collect();
    assert_eq!(taken, [Event::Started, Event::Completed]);
}

#[test]
fn a_tracker_that_takes_over_after_completion_hears_started_only() {
    let mut world = World::new(config(), &[vec![A], vec![B]], |a, at| match a.url.as_str() {
        A if at > 500 => down(),
        _ => answer(600),
    });
    world.run(10);
    world.totals.left = 0;
    world.schedule.completed(world.now);
    world.run(2000);
    let to_b: Vec<_> = world.log.iter().filter(|s| s.url == B).map(|s| s.event).collect();
    assert_eq!((to_b[0], to_b.contains(&Event::Completed)), (Event::Started, false));
}

#[test]
fn stopped_goes_to_every_tracker_that_knows_us_and_to_no_other() {
    let mut world = World::new(config(), &[vec![A], vec![B], vec![C]], |a, at| match a.url.as_str() {
        A if at > 100 => down(),
        C => down(),
        _ => answer(600),
    });
    world.run(1000);
    world.lines();
    world.schedule.stop();
    world.run(1);
    let mut told = world.urls();
    told.sort();
    assert_eq!(told, [A, B]);
    assert!(world.schedule.is_stopped());
    world.run(10_000);
    assert!(world.log.is_empty(), "stopped is tried once");
}

#[test]
fn stopping_waits_five_seconds_at_most() {
    let mut world = World::new(config(), &[vec![A]], |a, _| match a.event {
        Event::Stopped => Does::Silence,
        _ => answer(600),
    });
    world.run(10);
    world.schedule.stop();
    world.run(4);
    assert!(!world.schedule.is_stopped());
    world.run(1);
    assert!(world.schedule.is_stopped());
}

#[test]
fn a_tracker_that_never_answered_started_is_told_stopped_only_if_it_may_have_heard() {
    let mut world = World::new(config(), &[vec![A]], |_, _| Does::Silence);
    world.run(5);
    world.schedule.stop();
    world.run(20);
    assert_eq!(world.log.iter().map(|s| s.event).collect::<Vec<_>>(), [Event::Started, Event::Stopped]);

    let mut world = World::new(config(), &[vec![A]], |_, _| down());
    world.run(5);
    world.schedule.stop();
    assert!(world.schedule.is_stopped());
    world.run(20);
    assert_eq!(world.log.len(), 1);
}

#[test]
fn totals_count_from_started_and_again_after_a_stop() {
    let mut world = World::new(config(), &[vec![A]], |_, _| answer(600));
    (world.totals.uploaded, world.totals.downloaded) = (1000, 5000);
    world.run(1);
    (world.totals.uploaded, world.totals.downloaded) = (1700, 5900);
    world.schedule.stop();
    world.run(1);
    world.schedule.start();
    world.run(1);
    let told: Vec<_> =
        world.log.iter().map(|s| (s.event, s.announce.uploaded, s.announce.downloaded)).collect();
    assert_eq!(told, [(Event::Started, 0, 0), (Event::Stopped, 700, 900), (Event::Started, 0, 0)]);
}

#[test]
fn the_key_stays_and_each_tracker_gets_its_own_id_back() {
    let mut world = World::new(config(), &[vec![A], vec![B]], |a, at| match a.url.as_str() {
        A if at < 1000 => down(),
        _ => Does::Reply(AnnounceReply {
            tracker_id: (at < 100 || a.tracker_id.is_none()).then(|| a.url.as_str().into()),
            ..reply(600)
        }),
    });
    world.run(6000);
    assert!(world.log.iter().all(|s| s.announce.key == 0xfeed));
    for url in [A, B] {
        let ids: Vec<_> = world.log.iter().filter(|s| s.url == url).map(|s| &s.announce.tracker_id).collect();
        let first = ids.iter().position(|id| id.is_some()).unwrap();
        assert!(ids[first..].iter().all(|id| id.as_deref() == Some(url.as_bytes())), "{ids:?}");
    }
}

#[test]
fn the_interval_is_kept_within_a_minute_and_a_day_and_spread_a_little() {
    for (interval, least, most) in [
        (Some(1800), 1800, 1913),
        (Some(0), 60, 64),
        (Some(5), 60, 64),
        (Some(u32::MAX), 86_400, 91_801),
        (None, 1800, 1913),
    ] {
        let mut world = World::new(config(), &[vec![A]], move |_, _| {
            Does::Reply(AnnounceReply { interval, ..AnnounceReply::default() })
        });
        world.run(200_000);
        let times: Vec<_> = world.log.iter().map(|s| s.at).collect();
        let gaps: Vec<_> = times.windows(2).map(|w| w[1] - w[0]).collect();
        assert!(gaps.iter().all(|&gap| (least..=most).contains(&gap)), "{interval:?}: {gaps:?}");
        assert!(gaps.windows(2).any(|w| w[0] != w[1]), "jitter: {gaps:?}");
    }
}

#[test]
fn min_interval_is_a_floor_for_the_schedule_the_user_and_the_engine() {
    let min = |interval, min_interval| {
        move |_: &_, _| Does::Reply(AnnounceReply { min_interval: Some(min_interval), ..reply(interval) })
    };
    let mut world = World::new(config(), &[vec![A]], min(60, 900));
    for _ in 0..400 {
        world.schedule.want_peers(world.now);
        world.schedule.announce_now(world.now);
        world.run(10);
    }
    let times: Vec<_> = world.log.iter().map(|s| s.at).collect();
    assert!(times.len() >= 4 && times.windows(2).all(|w| w[1] - w[0] >= 900), "{times:?}");
}

#[test]
fn an_announce_by_hand_comes_a_minute_after_the_last_one_at_the_earliest() {
    let mut world = World::new(config(), &[vec![A]], |_, _| answer(1800));
    world.run(10);
    world.schedule.announce_now(world.now);
    world.run(100);
    assert_eq!(world.log.iter().map(|s| s.at).collect::<Vec<_>>(), [0, 60]);
}

#[test]
fn a_want_of_peers_asks_sooner_but_ever_less_often() {
    for (interval, expected) in [(1800, &[0, 300, 900, 2100][..]), (5, &[0, 5, 15, 35, 75])] {
        let mut world = World::new(config(), &[vec![A]], move |_, _| answer(interval));
        while world.log.len() < expected.len() {
            world.schedule.want_peers(world.now);
            world.run(1);
        }
        assert_eq!(world.log.iter().map(|s| s.at).collect::<Vec<_>>(), expected, "interval {interval}");
    }
}

#[test]
fn failures_back_off_up_to_an_hour() {
    let mut world = World::new(config(), &[vec![A]], |_, _| down());
    world.run(50_000);
    let times: Vec<_> = world.log.iter().map(|s| s.at).collect();
    let gaps: Vec<_> = times.windows(2).map(|w| w[1] - w[0]).collect();
    assert!((11..=19).contains(&gaps[0]), "{gaps:?}");
    assert!(gaps.iter().all(|&gap| gap <= 4500) && gaps.last().is_some_and(|&gap| gap >= 2700), "{gaps:?}");
    assert!(world.log.iter().all(|s| s.event == Event::Started));
}

#[test]
fn a_want_of_peers_does_not_shorten_a_rest_after_failure() {
    let count = |want: bool| {
        let mut world = World::new(config(), &[vec![A]], |_, _| down());
        for _ in 0..1000 {
            if want {
                world.schedule.want_peers(world.now);
            }
            world.run(1);
        }
        world.log.len()
    };
    assert_eq!(count(true), count(false));
}

#[test]
fn retry_in_is_obeyed() {
    let refuse = |retry_in| {
        Does::Fail(Failure::Refused(wire::tracker::Failure { reason: "overloaded".into(), retry_in }))
    };
    let mut world = World::new(config(), &[vec![A]], move |_, _| refuse(Some(RetryIn::Minutes(30))));
    for _ in 0..200 {
        world.schedule.announce_now(world.now);
        world.run(10);
    }
    let times: Vec<_> = world.log.iter().map(|s| s.at).collect();
    assert_eq!(times, [0, 1800]);

    let mut world = World::new(config(), &[vec![A], vec![B]], move |a, _| match a.url.as_str() {
        A => refuse(Some(RetryIn::Never)),
        _ => answer(600),
    });
    world.run(100_000);
    world.schedule.announce_now(world.now);
    world.run(100_000);
    assert_eq!(world.log.iter().filter(|s| s.url == A).count(), 1);
    assert_eq!(world.schedule.status().map(|s| s.state).collect::<Vec<_>>(), [State::GaveUp, State::Working]);
}

#[test]
fn refusals_and_warnings_are_shown_as_plain_text() {
    let mut world = World::new(config(), &[vec![A], vec![B]], |a, _| match a.url.as_str() {
        A => Does::Fail(refused("\x1b[31munregistered\ntorrent")),
        _ => Does::Reply(AnnounceReply {
            warning: Some("be nice".into()),
            seeders: Some(3),
            leechers: Some(4),
            peers: vec!["10.0.0.1:1".parse().unwrap()],
            ..reply(600)
        }),
    });
    world.run(5);
    let status: Vec<_> = world.schedule.status().collect();
    assert_eq!(
        status[0].error.map(|(_, why)| why.to_string()).unwrap(),
        "the tracker refused: [31munregistered torrent"
    );
    assert_eq!((status[0].state, status[0].fails), (State::Failing, 1));
    let b = &status[1];
    assert_eq!((b.warning, b.seeders, b.leechers, b.peers), (Some("be nice"), Some(3), Some(4), Some(1)));
    assert_eq!((b.state, b.error, b.url.as_str()), (State::Working, None, "udp://b.example:6969"));
}

#[test]
fn each_family_is_announced_to_with_the_same_key() {
    let both = Config { families: Families::Both, ..config() };
    let mut world = World::new(both, &[vec![A]], |_, _| answer(600));
    world.run(5);
    let families: Vec<_> =
        world.log.iter().map(|s| (s.announce.id.family, s.event, s.announce.key)).collect();
    assert_eq!(families, [(Family::V4, Event::Started, 0xfeed), (Family::V6, Event::Started, 0xfeed)]);
    world.lines();
    world.schedule.stop();
    world.run(5);
    assert_eq!(world.log.len(), 2);
}

#[test]
fn a_tracker_works_if_one_family_works() {
    let both = Config { families: Families::Both, ..config() };
    for dead in [Failure::NoAddress, Failure::TimedOut] {
        let failure = dead.clone();
        let mut world = World::new(both, &[vec![A], vec![B]], move |a, _| match a.id.family {
            Family::V4 => answer(600),
            Family::V6 => Does::Fail(failure.clone()),
        });
        world.run(10_000);
        assert!(world.log.iter().all(|s| s.url == A));
        let status = world.schedule.status().next().unwrap();
        assert_eq!(status.state, State::Working);
        assert_eq!(status.error.is_some(), dead == Failure::TimedOut, "a missing family is no error");
        let v6 = world.log.iter().filter(|s| s.announce.id.family == Family::V6).count();
        assert!(if dead == Failure::NoAddress { v6 <= 3 } else { v6 > 5 }, "{v6}");
    }
}

#[test]
fn a_tracker_without_any_address_is_passed_over() {
    let both = Config { families: Families::Both, ..config() };
    let mut world = World::new(both, &[vec![A], vec![B]], |a, _| match a.url.as_str() {
        A => Does::Fail(Failure::NoAddress),
        _ => answer(600),
    });
    world.run(1);
    assert_eq!(world.urls(), [A, A, B, B]);
}

#[test]
fn one_family_can_be_chosen_for_a_tracker_that_counts_both_as_two_users() {
    let both = Config { families: Families::Both, ..config() };
    let mut world = World::new(both, &[vec![A], vec!["http://127.0.0.1/announce"]], |_, _| down());
    world.schedule.set_families(TrackerId(0), Families::Only(Family::V6));
    world.run(1);
    let sent: Vec<_> = world.log.iter().map(|s| (s.url.as_str(), s.announce.id.family)).collect();
    assert_eq!(sent, [(A, Family::V6), ("http://127.0.0.1/announce", Family::V4)]);
}

#[test]
fn a_private_torrent_uses_one_tracker_and_drops_its_peers_when_it_changes() {
    let private = Config { private: true, ..config() };
    let mut world = World::new(private, &[vec![A], vec![B]], |a, at| match a.url.as_str() {
        A if (1000..20_000).contains(&at) => down(),
        B if at > 30_000 => down(),
        _ => answer(600),
    });
    world.run(1000);
    assert!(world.log.iter().all(|s| s.url == A) && world.dropped.is_empty());
    world.lines();
    world.run(19_500);
    let lines = world.lines();
    let switch = lines.iter().position(|(_, url, _)| url == B).unwrap();
    assert_eq!(switch, 3, "three failures before the first change: {lines:?}");
    assert_eq!(world.dropped, [(lines[switch].0, TrackerId(0))]);
    assert!(lines[switch..].iter().all(|(_, url, _)| url == B), "it stays with what works: {lines:?}");
    world.run(20_000);
    assert_eq!(world.dropped.len(), 2);
    assert_eq!(world.dropped[1].1, TrackerId(1));
    assert_eq!(world.schedule.current(), Some(TrackerId(0)));
}

#[test]
fn a_private_torrent_never_has_announces_to_two_trackers_under_way() {
    let private = Config { private: true, ..config() };
    let mut world = World::new(private, &[vec![A, B], vec![C]], |_, _| Does::Silence);
    world.run(5000);
    for pair in world.log.windows(2) {
        assert!(pair[1].at - pair[0].at >= PATIENCE.as_secs(), "{pair:?}");
    }
}

#[test]
fn a_public_torrent_keeps_its_peers_when_it_changes() {
    let mut world = World::new(config(), &[vec![A], vec![B]], |a, at| match a.url.as_str() {
        A if at > 1000 => down(),
        _ => answer(600),
    });
    world.run(5000);
    assert_eq!(world.schedule.current(), Some(TrackerId(1)));
    assert!(world.dropped.is_empty());
}

#[test]
fn addresses_that_cannot_be_used_are_listed_with_the_reason() {
    let tiers = [vec!["wss://w.example/secret-of-me", "dht://x"], vec![A, A]];
    let mut world = World::new(config(), &tiers, |_, _| answer(600));
    world.run(5);
    assert_eq!(world.urls(), [A]);
    let status: Vec<_> = world.schedule.status().collect();
    assert_eq!(status.len(), 3, "a repeated address is listed once");
    assert!(
        status[..2].iter().all(|s| matches!(s.state, State::Unsupported(_)) && !s.url.contains("secret"))
    );
}

#[test]
fn a_torrent_without_trackers_waits_for_nothing() {
    let mut world = World::new(config(), &[], |_, _| answer(600));
    world.run(10);
    assert_eq!(world.schedule.next_timeout(), None);
    world.schedule.stop();
    assert!(world.schedule.is_stopped());
    let many: Vec<_> = (0..1000).map(|i| format!("http://{i}.example/announce")).collect();
    assert_eq!(Schedule::new(config(), &[many], &mut world.rng).status().count(), 256);
}

#[test]
fn a_jump_of_the_clock_makes_no_storm() {
    let mut world = World::new(config(), &[vec![A]], |_, _| answer(1800));
    world.run(10);
    world.now += std::time::Duration::from_secs(10 * 365 * 86_400);
    world.schedule.handle_timeout(world.now, &mut world.rng);
    world.lines();
    world.run(1000);
    assert_eq!(world.log.len(), 1);
}
