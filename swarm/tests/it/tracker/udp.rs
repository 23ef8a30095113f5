//! The UDP client against the tracker machine, on virtual time, over a network that loses packets.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use rand::RngExt;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;
use swarm::engine::time::Time;
use swarm::engine::tracker::Event;
use swarm::engine::tracker::server::{self, Server};
use swarm::engine::tracker::udp::{Answer, Client, Error, MAX_REQUESTS, NotTaken, RequestId};
use wire::peer::PeerId;
use wire::tracker::udp::{Family, Reply, Request};
use wire::tracker::{AnnounceReply, AnnounceRequest, ScrapeCounts};

type Outcome = Result<Answer, Error>;

/// A client, some trackers, and a network that takes a tenth of a second each way.
struct Net {
    now: Time,
    client: Client,
    own: SocketAddr,
    trackers: BTreeMap<SocketAddr, Server>,
    rng: ChaCha8Rng,
    loss: f64,
    /// Seconds, action, attempt to whom.
    sent: Vec<(u64, u32, SocketAddr)>,
    done: BTreeMap<RequestId, (u64, Outcome)>,
    on_the_way: Vec<(Time, SocketAddr, Vec<u8>)>,
}

fn tracker(seed: u64) -> Server {
    Server::new(
        server::Config { interval: 600, ..server::Config::default() },
        ChaCha8Rng::seed_from_u64(seed),
    )
}

fn v4() -> SocketAddr {
    "10.0.0.1:6969".parse().unwrap()
}

fn announce(hash: u8) -> AnnounceRequest {
    AnnounceRequest {
        left: 1,
        event: Event::Started,
        ..AnnounceRequest::new([hash; 20], PeerId([9; 20]), 7000)
    }
}

impl Net {
    fn new(seed: u64) -> Self {
        Self {
            now: Time::ZERO,
            client: Client::new(ChaCha8Rng::seed_from_u64(seed)),
            own: "10.9.9.9:5555".parse().unwrap(),
            trackers: BTreeMap::new(),
            rng: ChaCha8Rng::seed_from_u64(seed + 1),
            loss: 0.0,
            sent: Vec::new(),
            done: BTreeMap::new(),
            on_the_way: Vec::new(),
        }
    }

    fn with_tracker() -> Self {
        let mut net = Self::new(1);
        net.trackers.insert(v4(), tracker(5));
        net
    }

    fn announce(&mut self, to: SocketAddr, hash: u8) -> RequestId {
        self.client.announce(self.now, to, announce(hash), "/announce?key=1").unwrap()
    }

    fn run(&mut self, secs: u64) {
        let end = self.now + Duration::from_secs(secs);
        loop {
            self.exchange();
            let packets = self.on_the_way.iter().map(|(at, ..)| *at);
            let Some(next) = packets.chain(self.client.next_timeout()).min().filter(|at| *at <= end) else {
                break;
            };
            self.now = self.now.max(next);
            self.deliver();
            self.client.handle_timeout(self.now);
        }
        self.now = end;
    }

    fn exchange(&mut self) {
        while let Some((to, packet)) = self.client.poll_transmit() {
            let action = u32::from_be_bytes(packet[8..12].try_into().unwrap());
            self.sent.push((self.now.as_micros() / 1_000_000, action, to));
            let lost = self.rng.random_bool(self.loss) || self.rng.random_bool(self.loss);
            let Some(tracker) = self.trackers.get_mut(&to) else { continue };
            let mut reply = Vec::new();
            if !lost && tracker.udp(self.now, self.own, &packet, &mut reply) {
                self.on_the_way.push((self.now + Duration::from_millis(200), to, reply));
            }
        }
        while let Some((id, outcome)) = self.client.poll_event() {
            let before = self.done.insert(id, (self.now.as_micros() / 1_000_000, outcome));
            assert_eq!(before, None, "one event for each request");
        }
    }

    fn deliver(&mut self) {
        let now = self.now;
        let due: Vec<_> = self.on_the_way.extract_if(.., |(at, ..)| *at <= now).collect();
        for (_, from, packet) in due {
            self.client.handle_datagram(self.now, from, &packet);
        }
    }

    fn actions(&mut self) -> Vec<(u64, u32)> {
        self.sent.drain(..).map(|(at, action, _)| (at, action)).collect()
    }
}

fn peers(outcome: &Outcome) -> &AnnounceReply {
    match outcome {
        Ok(Answer::Announce(reply)) => reply,
        other => panic!("expected an announce reply, got {other:?}"),
    }
}

#[test]
fn a_connection_id_serves_several_torrents_and_lasts_a_minute() {
    let mut net = Net::with_tracker();
    for hash in 0..3 {
        net.announce(v4(), hash);
    }
    net.run(1);
    assert_eq!(net.actions(), [(0, 0), (0, 1), (0, 1), (0, 1)]);
    assert_eq!(net.done.len(), 3);
    assert_eq!(peers(&net.done.values().next().unwrap().1).interval, Some(600));
    net.run(58);
    net.announce(v4(), 7);
    net.run(2);
    assert_eq!(net.actions(), [(59, 1)]);
    net.announce(v4(), 7);
    net.run(2);
    assert_eq!(net.actions(), [(61, 0), (61, 1)]);
    net.run(300);
    assert_eq!((net.client.len(), net.client.next_timeout()), (0, None), "nothing is left behind");
}

#[test]
fn a_silent_tracker_is_asked_again_after_15_seconds_times_powers_of_two() {
    let mut net = Net::new(1);
    let id = net.announce(v4(), 1);
    net.run(10_000);
    let times: Vec<_> = net.actions().iter().map(|(at, _)| *at).collect();
    assert_eq!(times, [0, 15, 45, 105, 225, 465, 945, 1905, 3825]);
    assert_eq!(net.done[&id], (7665, Err(Error::TimedOut)));
}

#[test]
fn a_tracker_that_connects_but_never_answers_is_given_a_new_connection_each_time() {
    // The table of BEP 15: announces at 2, 17, 47; a connect at 107, because the connection id is old then.
    let mut net = Net::with_tracker();
    let id = net.announce(v4(), 1);
    let connect = net.client.poll_transmit().unwrap().1;
    let mut reply = Vec::new();
    net.trackers.get_mut(&v4()).unwrap().udp(net.now, net.own, &connect, &mut reply);
    net.trackers.clear();
    net.client.handle_datagram(net.now, v4(), &reply);
    net.run(300);
    assert_eq!(net.actions(), [(0, 1), (15, 1), (45, 1), (105, 0), (225, 0)]);
    net.run(20_000);
    assert_eq!(net.done[&id].1, Err(Error::TimedOut));
}

#[test]
fn every_announce_gets_through_a_network_that_loses_a_quarter() {
    for seed in 0..20 {
        let mut net = Net::new(seed);
        net.loss = 0.15;
        let all: Vec<SocketAddr> = (0..3u16).map(|i| ([10, 0, 0, 1], 6000 + i).into()).collect();
        for &address in &all {
            net.trackers.insert(address, tracker(seed));
        }
        let ids: Vec<_> = (0..30).map(|i| net.announce(all[usize::from(i) % 3], i)).collect();
        net.run(20_000);
        let answered = ids.iter().filter(|id| net.done[id].1.is_ok()).count();
        assert_eq!(answered, 30, "seed {seed}: {:?}", net.done);
        assert_eq!((net.client.len(), net.client.next_timeout()), (0, None));
    }
}

#[test]
fn a_new_request_does_not_wait_for_the_pauses_of_an_old_one() {
    let mut net = Net::new(1);
    net.announce(v4(), 1);
    net.run(500);
    net.actions();
    net.trackers.insert(v4(), tracker(5));
    let id = net.announce(v4(), 2);
    net.run(1);
    assert_eq!(net.done[&id].0, 500);
    assert_eq!(net.done.len(), 2, "the old one profits");
}

#[test]
fn many_requests_to_a_dead_tracker_cost_a_packet_in_fifteen_seconds() {
    let mut net = Net::new(1);
    for hash in 0..200 {
        let id = net.announce(v4(), hash);
        net.run(1);
        if hash % 2 == 0 {
            net.client.cancel(id);
        }
    }
    assert!(net.sent.len() <= 200 / 15 + 2, "{:?}", net.actions());
}

#[test]
fn cancelled_requests_leave_nothing_behind() {
    let mut net = Net::with_tracker();
    let early = net.announce(v4(), 1);
    net.client.cancel(early);
    assert_eq!((net.client.len(), net.client.next_timeout()), (0, None));
    net.announce(v4(), 1);
    net.run(1);
    let late = net.announce(v4(), 2);
    net.client.cancel(late);
    net.client.cancel(late);
    net.run(100);
    assert_eq!((net.done.len(), net.client.len(), net.client.next_timeout()), (1, 0, None));
}

/// The transactions of the packets that wait to be sent.
fn transactions(client: &mut Client) -> Vec<u32> {
    let packets = std::iter::from_fn(|| client.poll_transmit());
    packets.map(|(_, packet)| u32::from_be_bytes(packet[12..16].try_into().unwrap())).collect()
}

fn encoded(reply: &Reply) -> Vec<u8> {
    let mut out = Vec::new();
    reply.encode(Family::V4, &mut out);
    out
}

fn error(transaction: u32, message: &str) -> Vec<u8> {
    encoded(&Reply::Error { transaction, message: message.into() })
}

/// A client with two announces to one tracker under way, and their transactions.
fn two_asked() -> (Client, [RequestId; 2], Vec<u32>) {
    let mut client = Client::new(ChaCha8Rng::seed_from_u64(3));
    let ids = [1, 2].map(|hash| client.announce(Time::ZERO, v4(), announce(hash), "").unwrap());
    let connect = transactions(&mut client);
    assert_eq!(connect.len(), 1);
    let reply = encoded(&Reply::Connect { transaction: connect[0], connection: 77 });
    assert!(client.handle_datagram(Time::ZERO, v4(), &reply));
    let asked = transactions(&mut client);
    (client, ids, asked)
}

#[test]
fn an_error_packet_hits_only_its_own_transaction() {
    let (mut client, ids, asked) = two_asked();
    let stranger = "10.0.0.2:6969".parse().unwrap();
    for (from, transaction) in [(v4(), asked[0] ^ 1), (stranger, asked[0])] {
        assert!(!client.handle_datagram(Time::ZERO, from, &error(transaction, "go away")));
    }
    assert_eq!(client.poll_event(), None);
    assert!(client.handle_datagram(Time::ZERO, v4(), &error(asked[0], "not registered")));
    assert_eq!(client.poll_event(), Some((ids[0], Err(Error::Refused("not registered".into())))));
    assert_eq!((client.poll_event(), client.len()), (None, 1));
}

#[test]
fn answers_of_another_kind_or_from_elsewhere_are_not_taken() {
    let (mut client, ids, asked) = two_asked();
    let reply = AnnounceReply { interval: Some(5), ..AnnounceReply::default() };
    let right = encoded(&Reply::Announce { transaction: asked[1], reply });
    let wrong_kinds = [
        encoded(&Reply::Connect { transaction: asked[1], connection: 1 }),
        encoded(&Reply::Scrape { transaction: asked[1], counts: vec![ScrapeCounts::default()] }),
        right[..19].to_vec(),
        Vec::new(),
        vec![0xff; 100],
    ];
    for packet in wrong_kinds {
        assert!(!client.handle_datagram(Time::ZERO, v4(), &packet));
    }
    assert!(!client.handle_datagram(Time::ZERO, "10.0.0.1:6970".parse().unwrap(), &right));
    assert_eq!(client.poll_event(), None);
    assert!(client.handle_datagram(Time::ZERO, v4(), &right));
    assert_eq!(client.poll_event().map(|(id, _)| id), Some(ids[1]));
    assert!(!client.handle_datagram(Time::ZERO, v4(), &right), "an answer counts once");
}

#[test]
fn a_tracker_that_forgot_the_connection_id_is_asked_for_another_once() {
    let (mut client, ids, asked) = two_asked();
    let forgot = |transaction| error(transaction, "Connection ID missmatch.\0");
    assert!(client.handle_datagram(Time::ZERO, v4(), &forgot(asked[0])));
    let connect = transactions(&mut client);
    assert_eq!((client.poll_event(), connect.len()), (None, 1));
    let reply = encoded(&Reply::Connect { transaction: connect[0], connection: 78 });
    client.handle_datagram(Time::ZERO, v4(), &reply);
    let again = transactions(&mut client);
    assert_eq!(again, [asked[0]]);
    assert!(client.handle_datagram(Time::ZERO, v4(), &forgot(asked[0])));
    assert!(matches!(client.poll_event(), Some((id, Err(Error::Refused(_)))) if id == ids[0]));
}

#[test]
fn url_data_and_numbers_arrive() {
    let mut client = Client::new(ChaCha8Rng::seed_from_u64(4));
    client.announce(Time::ZERO, v4(), announce(1), "/dir?a=b&c=d").unwrap();
    let connect = transactions(&mut client);
    client.handle_datagram(
        Time::ZERO,
        v4(),
        &encoded(&Reply::Connect { transaction: connect[0], connection: 7 }),
    );
    let (_, packet) = client.poll_transmit().unwrap();
    let Ok(Request::Announce { connection, announce: told, url_data, .. }) = Request::parse(&packet) else {
        panic!("no announce: {packet:?}");
    };
    assert_eq!((connection, &*url_data), (7, &b"/dir?a=b&c=d"[..]));
    assert_eq!((told.info_hash, told.port, told.left, told.event), ([1; 20], 7000, 1, Event::Started));
}

#[test]
fn peers_find_each_other_over_both_families() {
    for (to, own, other) in [
        ("10.0.0.1:6969", "10.0.0.7:1", "10.0.0.8:1"),
        ("[2001:db8::1]:6969", "[2001:db8::7]:1", "[2001:db8::8]:1"),
    ] {
        let mut net = Net::new(6);
        let to = to.parse().unwrap();
        net.trackers.insert(to, tracker(1));
        net.own = own.parse().unwrap();
        net.announce(to, 1);
        net.run(2);
        net.own = other.parse().unwrap();
        net.client = Client::new(ChaCha8Rng::seed_from_u64(99));
        net.done.clear();
        let id = net.announce(to, 1);
        net.run(2);
        let expected = SocketAddr::new(own.parse::<SocketAddr>().unwrap().ip(), 7000);
        assert_eq!(peers(&net.done[&id].1).peers, [expected]);
        let id = net.client.scrape(net.now, to, &[[1; 20], [2; 20]]).unwrap();
        net.run(2);
        let counts = ScrapeCounts { leechers: 2, ..ScrapeCounts::default() };
        assert_eq!(net.done[&id].1, Ok(Answer::Scrape(vec![counts, ScrapeCounts::default()])));
    }
}

#[test]
fn requests_are_bounded() {
    let mut client = Client::new(ChaCha8Rng::seed_from_u64(4));
    for i in 0..MAX_REQUESTS {
        let to = ([10, 1, (i >> 8) as u8, i as u8], 80).into();
        client.announce(Time::ZERO, to, announce(1), "").unwrap();
    }
    assert_eq!(client.announce(Time::ZERO, v4(), announce(1), ""), Err(NotTaken::Full));
    let mut client = Client::new(ChaCha8Rng::seed_from_u64(4));
    assert_eq!(client.scrape(Time::ZERO, v4(), &[[0; 20]; 75]), Err(NotTaken::Scrape(75)));
    assert_eq!(client.scrape(Time::ZERO, v4(), &[]), Err(NotTaken::Scrape(0)));
}
