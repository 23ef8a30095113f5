//! What a node can be made to send to somebody in whose name others ask.

use std::net::SocketAddr;
use std::time::Duration;

use rand::RngExt;
use swarm::engine::dht::{Dht, Id};
use swarm::engine::time::Time;
use wire::krpc::{Body, Method, Packet, Reply};

use crate::hostile::{encode, get_peers, query, rich};

/// Bytes a minute that somebody who answers us may be sent besides three for one.
const EXTRA: usize = 8 * 1024;

/// The victim of a forger.
struct Victim {
    addr: SocketAddr,
    id: Id,
    /// It is a node, and answers what it is asked.
    answers: bool,
    came: usize,
    went: usize,
}

impl Victim {
    /// Somebody asks in its name.
    fn is_named(&mut self, dht: &mut Dht, now: Time, forged: &[u8]) {
        self.came += forged.len();
        dht.handle_packet(now, self.addr, forged);
        self.take(dht, now);
        dht.handle_timeout(now);
        self.take(dht, now);
    }

    /// Takes what is sent to it.
    fn take(&mut self, dht: &mut Dht, now: Time) {
        while let Some(packet) = dht.poll_transmit() {
            if packet.to != self.addr {
                continue;
            }
            self.went += packet.bytes.len();
            let asked = Packet::parse(&packet.bytes).unwrap();
            if self.answers && matches!(asked.body, Body::Query(_)) {
                let answer = encode(asked.transaction, Body::Reply(Reply::new(self.id.0)));
                dht.handle_packet(now, self.addr, &answer);
            }
        }
    }
}

/// A node of the table.
fn known(dht: &Dht) -> (Id, SocketAddr) {
    dht.nodes(true, dht.id(true).unwrap(), 1)[0]
}

#[test]
fn a_node_that_is_known_is_sent_eight_kib_a_minute_besides_three_bytes_for_one() {
    let (mut dht, start, mut rng, hash, item) = rich(51);
    let (id, addr) = known(&dht);
    let mut victim = Victim { addr, id, answers: true, came: 0, went: 0 };
    let mut now = start;
    let long = [
        query(id, get_peers(hash, None, false)),
        query(id, get_peers(hash, None, true)),
        query(id, Method::Get { target: item.target().0, seq: None, want: None }),
        query(id, Method::SampleInfohashes { target: hash.0, want: None }),
        b"d1:ade1:q4:ping1:t2:aa1:y1:qe".to_vec(),
    ];
    let mut most: f64 = 0.0;
    for minute in 1..=120 {
        let before = victim.went;
        let came = victim.came;
        while now < start + Duration::from_secs(60 * minute) {
            now += Duration::from_millis(rng.random_range(50..400));
            victim.is_named(&mut dht, now, &long[rng.random_range(0..long.len())]);
        }
        // Minutes are counted from the first byte, so that two of them may fall into one of ours. What it is asked now and
        // then to see that it is there is a ping.
        let (went, came) = (victim.went - before, victim.came - came);
        assert!(went <= 3 * came + 2 * EXTRA + 200, "{went} bytes for {came}");
        most = most.max(f64::from(u32::try_from(went).unwrap()) / f64::from(u32::try_from(came).unwrap()));
        // From the middle on it is gone.
        victim.answers = minute < 60;
        let is_known = dht.nodes(true, id, 1).first().is_some_and(|(known, _)| *known == id);
        assert!(is_known || minute >= 60, "{minute}");
        assert!(!is_known || minute < 60 + 70, "{minute}: whoever does not answer goes");
    }
    println!("at most {most:.2} bytes for one in a minute");
    let (went, came) = (victim.went, victim.came);
    now += Duration::from_secs(60);
    for _ in 0..1000 {
        now += Duration::from_millis(210);
        victim.is_named(&mut dht, now, &long[rng.random_range(0..long.len())]);
    }
    let (went, came) = (victim.went - went, victim.came - came);
    assert!(went <= 3 * came, "{went} bytes for {came}, long after its last answer");
    dht.check();
}

#[test]
fn who_is_known_gets_long_answers_without_being_pinged_for_each() {
    let (mut dht, start, _, hash, item) = rich(52);
    let (id, addr) = known(&dht);
    let mut ask = |now, method: Method<'_>| {
        dht.handle_packet(now, addr, &query(id, method));
        let packets: Vec<_> = std::iter::from_fn(|| dht.poll_transmit()).collect();
        assert_eq!(packets.len(), 1, "an answer and no ping");
        let Body::Reply(reply) = Packet::parse(&packets[0].bytes).unwrap().body else { panic!("no reply") };
        (reply.values.len(), reply.value.map(<[u8]>::len), reply.seeds.is_some())
    };
    let later = |secs| start + Duration::from_secs(secs);
    assert!(ask(later(1), get_peers(hash, None, false)).0 > 50);
    let get = || Method::Get { target: item.target().0, seq: None, want: None };
    assert_eq!(ask(later(2), get()).1, Some(item.value.len()));
    assert!(ask(later(3), get_peers(hash, None, true)).2);
    // Greed is cut to what anybody gets, for the rest of the minute.
    let greedy = (0..20).filter(|n| ask(later(4 + n), get()).1.is_some()).count();
    assert!((3..=8).contains(&greedy), "{greedy}");
    assert_eq!(ask(later(70), get()).1, Some(item.value.len()));
}
