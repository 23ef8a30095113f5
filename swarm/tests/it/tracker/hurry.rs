//! Trackers of a torrent of which nothing is known yet: silent ones are not waited for.

use swarm::engine::tracker::{BESIDE, Config, Event, HURRY, Schedule, TrackerId};

use super::world::{Does, World, config, reply};

const URLS: [&str; 6] = [
    "http://a.example/announce",
    "udp://b.example:6969",
    "http://c.example/announce",
    "http://d.example/announce",
    "http://e.example/announce",
    "http://f.example/announce",
];

/// All but the trackers from `from` on are silent.
fn world<'t>(config: Config, from: usize) -> World<'t> {
    let tiers = URLS.map(|url| vec![url]);
    let mut world = World::new(config, &tiers, move |announce, _| {
        let at = URLS.iter().position(|url| *url == announce.url.as_str()).unwrap();
        if at < from { Does::Silence } else { Does::Reply(reply(1800)) }
    });
    world.schedule.hurry();
    world
}

#[test]
fn the_next_tracker_is_asked_beside_a_silent_one() {
    let mut world = world(config(), 5);
    world.run(13);
    let lines: Vec<_> = world.log.iter().map(|sent| (sent.at, sent.url.as_str())).collect();
    let at = |n: u32| (BESIDE * n).as_secs();
    assert_eq!(lines, (0..).zip(URLS).map(|(n, url)| (at(n), url)).collect::<Vec<_>>());
    assert_eq!(world.cancelled, 0, "all of them may yet answer");
    assert_eq!(world.schedule.current(), Some(TrackerId(5)));
    world.run(HURRY.as_secs());
    assert_eq!(world.cancelled, 5);
}

#[test]
fn the_hurry_is_over_when_the_torrent_is_known() {
    let mut world = world(config(), 0);
    world.run(3);
    world.schedule.set_nature(false, false);
    world.run(1000);
    assert_eq!(world.urls(), URLS[..2], "one works, that is enough");
}

#[test]
fn a_private_torrent_is_in_no_hurry_and_keeps_to_one_tracker() {
    let mut slow = world(Config { private: true, ..config() }, 6);
    slow.run(20);
    assert_eq!(slow.urls(), URLS[..1]);

    // The second answered, the others are silent; then it is known.
    let tiers = URLS.map(|url| vec![url]);
    let mut world = World::new(config(), &tiers, |announce, _| {
        let answers = announce.url.as_str() == URLS[1] && announce.event != Event::Stopped;
        if answers { Does::Reply(reply(600)) } else { Does::Silence }
    });
    world.schedule.hurry();
    world.run(6);
    assert_eq!(world.urls(), URLS[..3]);
    world.schedule.set_nature(true, false);
    world.run(2000);
    assert_eq!(
        world.cancelled,
        2 + 2,
        "what was asked before, and then their silence to the word that we left"
    );
    let lines = world.lines();
    let of = |event: Event| lines.iter().filter(|l| l.2 == event).map(|l| &l.1[..]).collect::<Vec<_>>();
    assert_eq!(of(Event::Stopped), [URLS[0], URLS[2]]);
    assert_eq!(of(Event::Started), [""; 0]);
    assert!(of(Event::None).len() >= 2 && of(Event::None).iter().all(|url| *url == URLS[1]));
}

#[test]
fn each_family_of_a_tracker_is_asked_before_the_next_one() {
    use rand_chacha::{ChaCha8Rng, rand_core::SeedableRng};
    use swarm::engine::tracker::{Families, Output};
    let mut rng = ChaCha8Rng::seed_from_u64(1);
    let tiers = URLS.map(|url| vec![url]);
    let mut schedule = Schedule::new(Config { families: Families::Both, ..config() }, &tiers, &mut rng);
    schedule.hurry();
    schedule.start();
    let mut now = swarm::engine::Time::from_secs(5);
    let mut asked = Vec::new();
    while asked.len() < 6 {
        while let Some(Output::Announce(announce)) = schedule.poll(now, &Default::default()) {
            asked.push((announce.id.tracker.0, announce.id.family));
        }
        now = schedule.next_timeout().unwrap();
    }
    assert_eq!(asked.iter().map(|(id, _)| *id).collect::<Vec<_>>(), [0, 0, 1, 1, 2, 2]);
    assert!(asked.chunks(2).all(|pair| pair[0].1 != pair[1].1));
}
