use proptest::prelude::*;

use super::*;

fn at(text: &str) -> SocketAddr {
    text.parse().expect("a test address")
}

fn strange(n: u32) -> SocketAddr {
    SocketAddr::from((Ipv4Addr::from(0x5000_0000 + n * 7), 7000))
}

fn dialled(book: &mut Candidates, now: Time) -> Vec<SocketAddr> {
    let list = std::iter::from_fn(|| book.next(now)).collect();
    book.check_invariant();
    list
}

fn book(capacity: usize) -> Candidates {
    Candidates::new(Config { capacity, ..Config::default() }, 1)
}

fn add(book: &mut Candidates, text: &str, source: Source) -> Added {
    let scope = if source == Source::User { Scope::Loopback } else { Scope::Global };
    book.add(Time::ZERO, at(text), source, scope)
}

#[test]
fn addresses_that_must_not_be_dialled_are_refused() {
    use Source::{Pex, Tracker, User};
    let cases = [
        ("9.9.9.9:7000", Tracker, Added::New),
        ("9.9.9.9:7000", Pex, Added::Known),
        ("[::ffff:9.9.9.9]:7000", Pex, Added::Known),
        ("9.9.9.9:0", User, Added::Refused),
        ("9.9.9.9:80", Pex, Added::Refused),
        ("9.9.9.9:80", User, Added::New),
        ("127.0.0.1:7000", Tracker, Added::Refused),
        ("192.168.1.1:7000", Pex, Added::Refused),
        ("192.168.1.1:7000", User, Added::New),
        ("224.0.0.1:7000", User, Added::Refused),
        ("7.7.7.7:7000", Tracker, Added::Refused),
        ("6.6.6.6:7000", Tracker, Added::Refused),
        ("6.6.6.6:7001", Tracker, Added::New),
    ];
    let mut book = book(100);
    book.ban("7.7.7.7".parse().expect("an address"));
    book.set_own([at("6.6.6.6:7000")]);
    for (text, source, wanted) in cases {
        assert_eq!(add(&mut book, text, source), wanted, "{text} by {source:?}");
        book.check_invariant();
    }
}

#[test]
fn the_better_source_is_dialled_first_and_failures_last() {
    let mut book = book(100);
    add(&mut book, "9.0.0.1:7000", Source::Dht);
    add(&mut book, "9.0.0.2:7000", Source::Tracker);
    add(&mut book, "9.0.0.3:7000", Source::Resume);
    add(&mut book, "9.0.0.4:7000", Source::User);
    let order = ["9.0.0.4:7000", "9.0.0.3:7000", "9.0.0.2:7000", "9.0.0.1:7000"].map(at);
    assert_eq!(dialled(&mut book, Time::ZERO), order);
    book.handle_failed(Time::ZERO, order[0]);
    book.handle_lost(Time::ZERO, order[3], true);
    assert_eq!(dialled(&mut book, Time::from_secs(60)), [order[3], order[0]]);
}

#[test]
fn equals_are_dialled_in_the_canonical_order() {
    let mut book = book(100);
    (0..50).for_each(|n| {
        assert_eq!(book.add(Time::ZERO, strange(n), Source::Tracker, Scope::Global), Added::New);
    });
    let own = Ipv4Addr::new(123, 213, 32, 10);
    book.set_external(Time::ZERO, Some(own), None, 7000);
    let order = dialled(&mut book, Time::ZERO);
    let priorities: Vec<_> = order.iter().map(|addr| canonical_priority((own, 7000).into(), *addr)).collect();
    assert_eq!(order.len(), 50);
    assert!(priorities.is_sorted_by(|a, b| a >= b), "{priorities:?}");
}

#[test]
fn failures_back_off_exponentially_up_to_the_longest() {
    let mut book = book(10);
    let addr = at("9.9.9.9:7000");
    add(&mut book, "9.9.9.9:7000", Source::Tracker);
    let mut now = Time::ZERO;
    for wanted in [30, 60, 120, 240, 480, 960, 1920, 3600, 3600] {
        assert_eq!(book.next(now), Some(addr));
        assert_eq!(book.next_timeout(), None, "it is being dialled");
        book.handle_failed(now, addr);
        let wait = book.next_timeout().expect("it waits") - now;
        assert!(wait.as_secs() >= wanted && wait.as_secs() <= wanted * 9 / 8, "{wait:?}");
        assert_eq!(book.next(now + wait / 2), None);
        assert_eq!(
            book.add(now, addr, Source::Pex, Scope::Global),
            Added::Known,
            "naming it again resets nothing"
        );
        now += wait;
    }
    assert_eq!(book.get(addr).map(|info| info.failures), Some(9));
    assert_eq!(book.next(now), Some(addr));
    book.handle_connected(now, addr);
    assert_eq!(book.get(addr).map(|info| (info.failures, info.connected)), Some((0, true)));
    assert_eq!(book.next_timeout(), None);
}

#[test]
fn an_accepted_peer_is_not_dialled() {
    let mut book = book(10);
    add(&mut book, "9.9.9.9:7000", Source::Incoming);
    book.handle_connected(Time::ZERO, at("[::ffff:9.9.9.9]:7000"));
    assert_eq!(dialled(&mut book, Time::from_secs(9999)), []);
    book.handle_lost(Time::from_secs(9999), at("9.9.9.9:7000"), false);
    assert_eq!(dialled(&mut book, Time::from_secs(10_500)), [at("9.9.9.9:7000")]);
}

#[test]
fn seeds_are_left_alone_once_we_are_complete() {
    let mut book = book(10);
    add(&mut book, "9.0.0.1:7000", Source::Tracker);
    add(&mut book, "9.0.0.2:7000", Source::Tracker);
    book.handle_seed(Time::ZERO, at("9.0.0.1:7000"), true);
    book.set_complete(Time::ZERO, true);
    book.check_invariant();
    assert_eq!(dialled(&mut book, Time::ZERO), [at("9.0.0.2:7000")]);
    assert_eq!(book.next_timeout(), None);
    book.set_complete(Time::ZERO, false);
    assert_eq!(dialled(&mut book, Time::ZERO), [at("9.0.0.1:7000")]);
}

#[test]
fn who_was_parted_from_in_peace_is_dialled_at_once_when_more_is_wanted() {
    let mut book = book(10);
    let (useful, useless) = ("9.0.0.1:7000", "9.0.0.2:7000");
    for addr in [useful, useless] {
        add(&mut book, addr, Source::Tracker);
    }
    dialled(&mut book, Time::ZERO);
    for (addr, was_useful) in [(useful, true), (useless, false)] {
        book.handle_connected(Time::ZERO, at(addr));
        book.handle_lost(Time::ZERO, at(addr), was_useful);
    }
    assert_eq!(dialled(&mut book, Time::from_secs(1)), []);
    book.handle_wanted_again(Time::from_secs(1));
    book.check_invariant();
    assert_eq!(dialled(&mut book, Time::from_secs(1)), [at(useful)]);
}

#[test]
fn a_flood_from_strangers_does_not_push_out_the_tracker() {
    let mut book = book(300);
    (0..200).for_each(|n| {
        assert_eq!(book.add(Time::ZERO, strange(n), Source::Tracker, Scope::Global), Added::New);
    });
    (1000..101_000).for_each(|n| {
        book.add(Time::ZERO, strange(n), Source::Pex, Scope::Global);
    });
    book.check_invariant();
    assert_eq!(book.len(), 300);
    assert!((0..200).all(|n| book.get(strange(n)).is_some()));
    let mut fresh = 0;
    for n in 200..400 {
        fresh += usize::from(book.add(Time::ZERO, strange(n), Source::Tracker, Scope::Global) == Added::New);
    }
    assert!(fresh >= 100, "trusted peers take the place of strangers: {fresh}");
}

#[test]
fn one_host_has_few_ports() {
    let mut book = book(100);
    let taken = |book: &mut Candidates, ip: &str, scope| {
        let ip: IpAddr = ip.parse().expect("an address");
        let add = |port| book.add(Time::ZERO, SocketAddr::new(ip, port), Source::Pex, scope);
        (7000..7020).map(add).filter(|added| *added == Added::New).count()
    };
    assert_eq!(taken(&mut book, "9.9.9.9", Scope::Global), 8);
    assert_eq!(taken(&mut book, "2606::1", Scope::Global), 8);
    assert_eq!(taken(&mut book, "127.0.0.1", Scope::Loopback), 20);
}

#[test]
fn a_private_torrent_keeps_only_what_it_may_know() {
    let mut book = book(100);
    add(&mut book, "9.0.0.1:7000", Source::Tracker);
    add(&mut book, "9.0.0.2:7000", Source::Pex);
    add(&mut book, "9.0.0.3:7000", Source::Dht);
    add(&mut book, "9.0.0.3:7000", Source::Tracker);
    add(&mut book, "9.0.0.4:7000", Source::Dht);
    book.handle_connected(Time::ZERO, at("9.0.0.2:7000"));
    assert_eq!(book.purge(Time::ZERO, Sources::PRIVATE), [at("9.0.0.2:7000")]);
    book.check_invariant();
    assert_eq!(
        book.iter().map(|(addr, _)| addr).collect::<Vec<_>>(),
        ["9.0.0.1:7000", "9.0.0.3:7000"].map(at)
    );
    assert_eq!(add(&mut book, "9.0.0.5:7000", Source::Pex), Added::Refused);
}

#[test]
fn both_ends_keep_the_same_connection() {
    let (a, b) = ([1; 20], [2; 20]);
    assert!(
        keep_dialled(&a, &b) && !keep_dialled(&b, &a),
        "what A dialled is kept at A, and what B accepted at B"
    );
}

#[derive(Clone, Debug)]
enum Op {
    Add(u32, u8),
    Next(u64),
    Connected(u32),
    Failed(u32),
    Lost(u32, bool),
    Seed(u32, bool),
    Complete(bool),
    Ban(u32),
    External(u32),
    Purge,
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        8 => (0..40_u32, 0..7_u8).prop_map(|(n, source)| Op::Add(n, source)),
        6 => (0..100_u64).prop_map(Op::Next),
        2 => (0..40_u32).prop_map(Op::Connected),
        2 => (0..40_u32).prop_map(Op::Failed),
        2 => (0..40_u32, any::<bool>()).prop_map(|(n, useful)| Op::Lost(n, useful)),
        1 => (0..40_u32, any::<bool>()).prop_map(|(n, seed)| Op::Seed(n, seed)),
        1 => any::<bool>().prop_map(Op::Complete),
        1 => (0..40_u32).prop_map(Op::Ban),
        1 => any::<u32>().prop_map(Op::External),
        1 => Just(Op::Purge),
    ]
}

proptest! {
    #[test]
    fn no_order_of_events_breaks_the_book(ops in prop::collection::vec(op(), 1..200)) {
        const SOURCES: [Source; 7] = [
            Source::User, Source::Lsd, Source::Resume, Source::Incoming, Source::Tracker, Source::Pex, Source::Dht,
        ];
        let mut book = book(20);
        let mut now = Time::ZERO;
        for op in ops {
            match op {
                Op::Add(n, source) => { book.add(now, strange(n), SOURCES[usize::from(source)], Scope::Global); }
                Op::Next(seconds) => {
                    now += Duration::from_secs(seconds);
                    if let Some(addr) = book.next(now) {
                        let info = book.get(addr).expect("whom to dial is known");
                        prop_assert!(!info.connected);
                        prop_assert!(!info.seed || !book.complete);
                    } else {
                        prop_assert!(book.next_timeout().is_none_or(|at| at > now));
                    }
                }
                Op::Connected(n) => book.handle_connected(now, strange(n)),
                Op::Failed(n) => book.handle_failed(now, strange(n)),
                Op::Lost(n, useful) => book.handle_lost(now, strange(n), useful),
                Op::Seed(n, seed) => book.handle_seed(now, strange(n), seed),
                Op::Complete(complete) => book.set_complete(now, complete),
                Op::Ban(n) => book.ban(strange(n).ip()),
                Op::External(ip) => book.set_external(now, Some(ip.into()), None, 7000),
                Op::Purge => { book.purge(now, Sources::ALL); }
            }
            book.check_invariant();
        }
    }
}
