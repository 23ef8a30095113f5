use super::*;

const LIMITS: Limits = Limits { most: 64, answering: 16, other: 2 };

fn host(n: u16) -> Host {
    ("tracker.example".to_owned(), n)
}

fn all(queue: &mut Queue<u32, u32>) -> Vec<u32> {
    std::iter::from_fn(|| queue.pop()).map(|(_, ask)| ask).collect()
}

/// Trackers, by port, that take so many milliseconds for an answer, or for nothing.
struct Trackers {
    queue: Queue<u32, u32>,
    slow: fn(u16) -> (u64, Ended),
    now: u64,
    ends: BTreeSet<(u64, u32, u16)>,
    /// When each began, and at which port.
    begun: Vec<(u64, u16)>,
    answered: BTreeMap<u16, usize>,
}

impl Trackers {
    fn new(limits: Limits, slow: fn(u16) -> (u64, Ended)) -> Self {
        let queue = Queue::new(limits);
        Self { queue, slow, now: 0, ends: BTreeSet::new(), begun: Vec::new(), answered: BTreeMap::new() }
    }

    fn push(&mut self, asks: std::ops::Range<u32>, port: u16) {
        asks.for_each(|n| self.queue.push(n, &host(port), n));
    }

    /// Lives on until then.
    fn run(&mut self, end: u64) {
        loop {
            while let Some(((_, port), ask)) = self.queue.pop() {
                self.begun.push((self.now, port));
                self.ends.insert((self.now + (self.slow)(port).0, ask, port));
            }
            let [answering, others] = self.queue.under_way;
            assert!(answering + others == self.ends.len() && self.ends.len() <= self.queue.limits.most);
            match self.ends.pop_first() {
                Some((at, _, port)) if at <= end => {
                    self.now = at;
                    let how = (self.slow)(port).1;
                    self.queue.ended(&host(port), how);
                    *self.answered.entry(port).or_default() += usize::from(how == Ended::Answered);
                }
                later => {
                    self.ends.extend(later);
                    self.now = end;
                    return;
                }
            }
        }
    }

    fn first(&self, port: u16) -> Option<u64> {
        self.begun.iter().find(|(_, at)| *at == port).map(|(now, _)| *now)
    }
}

#[test]
fn a_host_has_two_places_until_it_answers_and_sixteen_then() {
    let mut queue = Queue::new(LIMITS);
    (0..40).for_each(|n| queue.push(n, &host(1), n));
    assert_eq!(all(&mut queue), [0, 1]);
    queue.ended(&host(1), Ended::Untried);
    assert_eq!(all(&mut queue), [2], "nothing was learnt of it");
    queue.ended(&host(1), Ended::Answered);
    assert_eq!(all(&mut queue), (3..18).collect::<Vec<_>>());
    queue.ended(&host(1), Ended::Silent);
    assert!(all(&mut queue).is_empty(), "sixteen less one are more than two");
    (0..14).for_each(|_| queue.ended(&host(1), Ended::Silent));
    assert_eq!(all(&mut queue), [18]);
}

#[test]
fn hosts_have_their_turns_evenly_and_silent_ones_last() {
    let mut queue = Queue::new(LIMITS);
    queue.push(90, &host(9), 90);
    assert_eq!(all(&mut queue), [90]);
    queue.ended(&host(9), Ended::Silent);
    (91..94).for_each(|n| queue.push(n, &host(9), n));
    (0..3).for_each(|n| queue.push(n, &host(1), n));
    (10..13).for_each(|n| queue.push(n, &host(2), n));
    assert_eq!(all(&mut queue), [0, 10, 1, 11, 91, 92]);
}

#[test]
fn neither_hosts_that_answer_nor_others_take_all_places() {
    let mut queue = Queue::new(LIMITS);
    for port in 0..40 {
        let first = u32::from(port) * 100;
        (first..first + 20).for_each(|n| queue.push(n, &host(port), n));
    }
    assert_eq!(all(&mut queue).len(), 32, "none answered yet");
    for port in 0..5 {
        queue.ended(&host(port), Ended::Answered);
    }
    // The places that are left, and those that came free.
    assert_eq!(all(&mut queue).len(), 32 + 5);
    assert_eq!(queue.under_way.iter().sum::<usize>(), 64);
    assert!(queue.under_way[0] <= 48 && queue.under_way[1] >= 16, "{:?}", queue.under_way);
}

#[test]
fn silent_hosts_hold_no_other_one_up() {
    let minute = |port| if port == 7 { (200, Ended::Answered) } else { (60_000, Ended::Silent) };
    let mut trackers = Trackers::new(LIMITS, minute);
    (1..7).for_each(|port| trackers.push(u32::from(port) * 100..u32::from(port) * 100 + 20, port));
    trackers.push(0..1, 7);
    trackers.run(1000);
    assert_eq!((trackers.first(7), trackers.answered.get(&7)), (Some(0), Some(&1)));
    assert_eq!(trackers.begun.len(), 6 * 2 + 1);
    // Forty more, which hold all places of those that do not answer.
    (10..50).for_each(|port| trackers.push(u32::from(port) * 100..u32::from(port) * 100 + 20, port));
    trackers.run(2000);
    trackers.push(1..2, 7);
    trackers.run(2200);
    assert_eq!(trackers.answered.get(&7), Some(&2));
}

#[test]
fn many_torrents_at_a_slow_tracker_have_their_turns_by_sixteen() {
    let mut trackers = Trackers::new(LIMITS, |_| (500, Ended::Answered));
    trackers.push(0..3000, 1);
    trackers.run(3000 / 16 * 500 + 1500);
    assert_eq!(trackers.answered[&1], 3000);
}

#[test]
fn at_the_end_of_a_session_a_tracker_that_answers_has_more_places() {
    let quick = |port| if port == 3 { (5000, Ended::Silent) } else { (200, Ended::Answered) };
    let told = |limits, leaving| {
        let mut trackers = Trackers::new(limits, quick);
        trackers.queue.set_limits(leaving);
        trackers.push(0..1000, 1);
        trackers.push(1000..1200, 2);
        trackers.push(1200..2200, 3);
        trackers.run(1500);
        trackers.answered
    };
    let leaving = Limits { most: 128, answering: 64, other: 2 };
    let (before, told) = (told(LIMITS, LIMITS), told(LIMITS, leaving));
    println!("{before:?} without, {told:?} with");
    assert!(before[&1] < 100, "{before:?}");
    assert!(told[&1] > 330 && told[&2] == 200, "{told:?}");
}

#[test]
fn places_are_shared_fairly_by_hosts_that_answer() {
    let mut trackers = Trackers::new(LIMITS, |_| (100, Ended::Answered));
    (0..10).for_each(|port| trackers.push(u32::from(port) * 1000..u32::from(port) * 1000 + 900, port));
    trackers.run(5000);
    let (least, most) = (trackers.answered.values().min(), trackers.answered.values().max());
    // Of 48 places each has four or five.
    assert!(trackers.answered.len() == 10 && least.unwrap() * 3 >= most.unwrap() * 2, "{least:?} {most:?}");
}

#[test]
fn what_is_dropped_makes_way_and_nothing_is_left_behind() {
    let mut queue = Queue::new(Limits { most: 9, answering: 1, other: 1 });
    (0..4).for_each(|n| queue.push(n, &host(1), n));
    assert!(queue.drop_waiting(&0) && !queue.drop_waiting(&0) && queue.drop_waiting(&2));
    assert_eq!(all(&mut queue), [1]);
    assert!(!queue.drop_waiting(&1), "it is under way");
    queue.ended(&host(1), Ended::Untried);
    assert_eq!(all(&mut queue), [3]);
    queue.ended(&host(1), Ended::Untried);
    assert!(queue.hosts.is_empty() && queue.waiting.is_empty() && queue.places.is_empty());
    assert!(queue.ready.iter().all(BTreeSet::is_empty) && queue.under_way == [0, 0]);
}

#[test]
fn hosts_are_remembered_up_to_a_limit() {
    let mut queue = Queue::new(LIMITS);
    for port in 0..600 {
        queue.push(1, &host(port), 1);
        assert_eq!(all(&mut queue), [1]);
        queue.ended(&host(port), if port % 2 == 0 { Ended::Silent } else { Ended::Answered });
    }
    assert_eq!((queue.hosts.len(), queue.remembered.len()), (MAX_REMEMBERED, MAX_REMEMBERED));
    assert!(!queue.hosts.contains_key(&host(0)) && queue.hosts.contains_key(&host(599)));
    queue.push(1, &host(599), 1);
    assert_eq!((all(&mut queue), queue.remembered.len()), (vec![1], MAX_REMEMBERED - 1));
    queue.ended(&host(599), Ended::Untried);
    assert_eq!((queue.hosts.len(), queue.remembered.len()), (MAX_REMEMBERED, MAX_REMEMBERED));
}

#[test]
fn a_ticket_that_comes_again_counts_anew() {
    let mut queue = Queue::new(Limits { most: 9, answering: 1, other: 1 });
    queue.push(7, &host(1), 70);
    assert_eq!(all(&mut queue), [70]);
    queue.push(7, &host(1), 71);
    assert!(all(&mut queue).is_empty());
    queue.ended(&host(1), Ended::Answered);
    assert_eq!(all(&mut queue), [71]);
}
