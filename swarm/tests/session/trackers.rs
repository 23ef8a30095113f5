use std::io::{Read, Write};
use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use swarm::engine::tracker::server::Config;
use swarm::session::tracker_server::TrackerServer;
use swarm::session::{AddOptions, Event, PieceOrder, ScrapeError, TrackerState, TrackerView};
use tempfile::TempDir;

use crate::resume::{record, resume};
use crate::world::{Content, add, end, event, keeping, seeder, session, soon, tracker};

/// Two sessions that know each other by a tracker only.
async fn meet(content: &Content, url: &str) {
    let (from, to) = (content.placed(), TempDir::new().unwrap());
    let (seed, seeding) = seeder(content, from.path()).await;
    let mut events = seed.events();
    seeding.add_tracker(url.to_owned()).await.unwrap();
    event(&mut events, |event| matches!(event, Event::TrackerAnswered { .. })).await;
    let leech = session().await;
    let mut events = leech.events();
    let options = AddOptions {
        trackers: vec![url.to_owned()],
        ..AddOptions::download(content.meta.clone(), to.path())
    };
    let torrent = add(&leech, options).await;
    soon(torrent.wait_complete()).await.unwrap();
    content.assert_all(to.path());
    let answer = event(&mut events, |event| matches!(event, Event::TrackerAnswered { .. })).await;
    let Event::TrackerAnswered { torrent: id, tracker, peers, warning } = answer else { unreachable!() };
    assert_eq!((id, tracker.as_str(), peers, warning), (content.meta.id(), url, 1, None));
    let shown = torrent.trackers().await.unwrap();
    assert_eq!(shown.len(), 1);
    assert!(matches!(shown[0].state, TrackerState::Working | TrackerState::Announcing), "{shown:?}");
    assert_eq!((shown[0].url.as_str(), shown[0].peers.is_some()), (url, true));
    end([leech, seed]).await;
}

#[tokio::test]
async fn sessions_meet_by_an_http_tracker_and_leave_it() {
    let tracker = tracker().await;
    let content = Content::folder(20, &[100_000], |builder| builder);
    meet(&content, &tracker.http_url()).await;
    assert_eq!(tracker.sizes().1, 0, "both said that they stopped");
}

#[tokio::test]
async fn sessions_meet_by_a_udp_tracker_and_leave_it() {
    let tracker = tracker().await;
    let content = Content::folder(21, &[100_000], |builder| builder);
    meet(&content, &tracker.udp_url()).await;
    assert_eq!(tracker.sizes().1, 0, "both said that they stopped");
}

#[tokio::test]
async fn a_private_torrent_goes_by_its_own_tracker() {
    let tracker = tracker().await;
    let content =
        Content::folder(22, &[100_000], |builder| builder.private(true).tracker(tracker.http_url()));
    let (from, to) = (content.placed(), TempDir::new().unwrap());
    let seed = session().await;
    let mut events = seed.events();
    add(&seed, AddOptions::seed(content.meta.clone(), from.path())).await;
    event(&mut events, |event| matches!(event, Event::TrackerAnswered { .. })).await;
    let leech = session().await;
    let torrent = add(&leech, AddOptions::download(content.meta.clone(), to.path())).await;
    soon(torrent.wait_complete()).await.unwrap();
    content.assert_all(to.path());
    end([leech, seed]).await;
}

#[tokio::test]
async fn a_tracker_that_fails_is_told_and_the_next_one_asked() {
    let tracker = tracker().await;
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let gone = format!("http://{}/announce", closed.local_addr().unwrap());
    drop(closed);
    let tiers = vec![vec![gone.clone()], vec![tracker.udp_url()]];
    let content = Content::folder(23, &[10_000], |builder| builder.tracker_tiers(tiers));
    let dir = content.placed();
    let session = session().await;
    let mut events = session.events();
    let torrent = add(&session, AddOptions::seed(content.meta.clone(), dir.path())).await;
    let failed = event(&mut events, |event| matches!(event, Event::TrackerFailed { .. })).await;
    let Event::TrackerFailed { tracker: url, .. } = failed else { unreachable!() };
    assert_eq!(url, gone);
    let answered = event(&mut events, |event| matches!(event, Event::TrackerAnswered { .. })).await;
    let Event::TrackerAnswered { tracker: url, .. } = answered else { unreachable!() };
    assert_eq!(url, tracker.udp_url());
    let shown = torrent.trackers().await.unwrap();
    assert_eq!((&shown[0].state, shown[0].fails), (&TrackerState::Failing, 1));
    assert!(shown[0].error.is_some() && shown[0].next_announce.is_some());
    end([session]).await;
}

#[tokio::test]
async fn an_announce_can_be_asked_for() {
    let tracker = tracker().await;
    let content = Content::folder(24, &[10_000], |builder| builder.tracker(tracker.http_url()));
    let dir = content.placed();
    let session = session().await;
    let mut events = session.events();
    let torrent = add(&session, AddOptions::seed(content.meta.clone(), dir.path())).await;
    let answered = |event: &Event| matches!(event, Event::TrackerAnswered { .. });
    event(&mut events, answered).await;
    torrent.announce_now().await.unwrap();
    // The tracker's interval is an hour; the second answer comes as soon as it allows.
    event(&mut events, answered).await;
    end([session]).await;
}

#[tokio::test]
async fn trackers_are_scraped_over_http_and_udp() {
    let tracker = tracker().await;
    let content = Content::folder(25, &[10_000], |builder| builder.tracker(tracker.http_url()));
    let dir = content.placed();
    let session = session().await;
    let mut events = session.events();
    add(&session, AddOptions::seed(content.meta.clone(), dir.path())).await;
    event(&mut events, |event| matches!(event, Event::TrackerAnswered { .. })).await;
    let (known, unknown) = (content.meta.id().0, [9; 20]);
    for url in [tracker.http_url(), tracker.udp_url()] {
        let counts = soon(session.scrape(&url, &[known, unknown])).await.unwrap();
        assert_eq!((counts[&known].seeders, counts[&known].leechers), (1, 0), "{url}");
        assert!(counts.get(&unknown).is_none_or(|counts| counts.seeders == 0), "{url}");
    }
    let scrape = |url: &str, count| {
        let (url, session, hashes) = (url.to_owned(), session.clone(), vec![[1; 20]; count]);
        async move { soon(session.scrape(&url, &hashes)).await.unwrap_err() }
    };
    assert_eq!(scrape("http://127.0.0.1:9/x", 1).await, ScrapeError::NoScrape);
    assert_eq!(scrape(&tracker.udp_url(), 0).await, ScrapeError::Torrents(0));
    assert_eq!(scrape(&tracker.udp_url(), 75).await, ScrapeError::Torrents(75));
    assert!(matches!(scrape("ftp://127.0.0.1/announce", 1).await, ScrapeError::Unsupported(_)));
    assert!(matches!(scrape("http://127.0.0.1:9/announce", 1).await, ScrapeError::Failed(_)));
    for nobody in ["udp://239.192.152.143:6771", "udp://255.255.255.255:6881", "udp://0.0.0.0:6881"] {
        let told = scrape(nobody, 1).await.to_string();
        assert!(told.contains("no address of a tracker"), "{told}");
    }
    end([session]).await;
}

/// A tracker that counts connections and announces. It answers, or takes them and stays silent.
struct Counting {
    url: String,
    connections: Arc<AtomicUsize>,
    announces: Arc<AtomicUsize>,
}

impl Counting {
    fn start(answers: bool) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/announce", listener.local_addr().unwrap());
        let counters: [Arc<AtomicUsize>; 2] = Default::default();
        let [connections, announces] = counters.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let (Ok(mut stream), counters) = (stream, counters.clone()) else { return };
                counters[0].fetch_add(1, Ordering::SeqCst);
                std::thread::spawn(move || {
                    let (mut head, mut buffer) = (Vec::new(), [0; 4096]);
                    while let Ok(len @ 1..) = stream.read(&mut buffer) {
                        head.extend_from_slice(&buffer[..len]);
                        if head.ends_with(b"\r\n\r\n") && answers {
                            head.clear();
                            counters[1].fetch_add(1, Ordering::SeqCst);
                            let body =
                                b"HTTP/1.1 200 OK\r\nContent-Length: 27\r\n\r\nd8:intervali1800e5:peers0:e";
                            if stream.write_all(&body[..]).is_err() {
                                return;
                            }
                        }
                    }
                });
            }
        });
        Self { url, connections, announces }
    }
}

#[tokio::test]
async fn announces_of_many_torrents_to_one_tracker_share_few_connections() {
    let tracker = Counting::start(true);
    let session = session().await;
    let dirs: Vec<_> = (0..120)
        .map(|n| {
            let content = Content::folder(1000 + n, &[2000], |builder| builder.tracker(tracker.url.clone()));
            let dir = content.placed();
            (content, dir)
        })
        .collect();
    for (content, dir) in &dirs {
        add(&session, AddOptions::seed(content.meta.clone(), dir.path())).await;
    }
    soon(async {
        while tracker.announces.load(Ordering::SeqCst) < dirs.len() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
    let connections = tracker.connections.load(Ordering::SeqCst);
    println!("{connections} connections for {} torrents", dirs.len());
    assert!(connections <= 24, "{connections}");
    end([session]).await;
}

#[tokio::test]
async fn trackers_that_never_answer_hold_no_other_one_up() {
    let silent: [_; 6] = std::array::from_fn(|_| Counting::start(false));
    let other = Counting::start(true);
    let session = session().await;
    let mut events = session.events();
    let mut dirs = Vec::new();
    for n in 0..=120 {
        let url = silent.get(n / 20).map_or(&other.url, |silent| &silent.url);
        let content = Content::folder(2000 + n as u64, &[2000], |builder| builder.tracker(url.clone()));
        let dir = content.placed();
        add(&session, AddOptions::seed(content.meta.clone(), dir.path())).await;
        dirs.push(dir);
    }
    event(&mut events, |event| {
        assert!(
            !matches!(event, Event::TrackerFailed { .. }),
            "it did not wait until one of the others was given up"
        );
        matches!(event, Event::TrackerAnswered { .. })
    })
    .await;
    assert_eq!(other.announces.load(Ordering::SeqCst), 1);
    for silent in &silent {
        assert!(silent.connections.load(Ordering::SeqCst) <= 2);
    }
    drop(session);
}

#[tokio::test]
async fn a_session_that_was_killed_keeps_the_interval_of_its_tracker_and_one_that_ended_does_not() {
    let rules = Config { interval: 60, min_interval: Some(40), ..Config::default() };
    let tracker = TrackerServer::bind(([127, 0, 0, 1], 0).into(), rules).await.unwrap();
    let content = Content::folder(60, &[40_000], |builder| builder.tracker(tracker.http_url()));
    let (dir, state) = (content.placed(), TempDir::new().unwrap());
    let seed = || AddOptions::seed(content.meta.clone(), dir.path());
    let is_waiting = |view: &TrackerView| {
        view.answered.is_none() && view.next_announce.is_some_and(|wait| wait > Duration::from_secs(10))
    };
    for (was_killed, kill) in [(false, false), (false, true), (true, false)] {
        let session = keeping(state.path()).await;
        let (torrent, _) = resume(&session, seed()).await;
        let view = || async { torrent.trackers().await.unwrap().remove(0) };
        if was_killed {
            assert!(is_waiting(&view().await), "{:?}", view().await);
        } else {
            soon(async {
                while view().await.answered.is_none() {
                    tokio::task::yield_now().await;
                }
            })
            .await;
        }
        if kill {
            let is_recorded = || record(state.path(), &content, dir.path()).state.trackers[0].next.is_some();
            soon(torrent.set_order(PieceOrder::Sequential)).await.unwrap();
            soon(async {
                while !is_recorded() {
                    tokio::task::yield_now().await;
                }
            })
            .await;
            drop((session, torrent));
        } else {
            end([session]).await;
        }
    }
}
