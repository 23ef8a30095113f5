//! What the policy machines of the engine cost per operation, at 2,000 peers and 50,000 torrents.

use std::hint::black_box;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use swarm::engine::candidates::{self, Candidates, Source};
use swarm::engine::changes::{Changes, Columns};
use swarm::engine::choker::{self, Choker, Mode};
use swarm::engine::limiter::{Limiter, NodeId};
use swarm::engine::rate::Rate;
use swarm::engine::scope::Scope;
use swarm::engine::time::Time;
use swarm::engine::timers::{Kind, Timers};
use swarm::engine::window::{self, Window};

const PEERS: usize = 2000;
const TORRENTS: usize = 50_000;
const BLOCK: u32 = 16 * 1024;

#[derive(Clone, Copy, Debug)]
enum Timer {
    KeepAlive,
    Request,
}

impl Kind for Timer {
    const ALL: &'static [Self] = &[Self::KeepAlive, Self::Request];
    fn index(self) -> usize {
        self as usize
    }
}

fn timers(c: &mut Criterion) {
    let mut group = c.benchmark_group("timers");
    group.throughput(Throughput::Elements(1));
    for owners in [PEERS, TORRENTS] {
        let mut timers = Timers::new();
        (0..owners)
            .for_each(|owner| timers.set(owner, Timer::KeepAlive, Time::from_millis(120_000 + owner as u64)));
        let mut step = 0_u64;
        group.bench_function(format!("re-arm later, {owners}"), |b| {
            b.iter(|| {
                step += 1;
                let owner = (step * 7919) as usize % owners;
                timers.set(owner, Timer::Request, Time::from_micros(20_000_000 + step));
            });
        });
        let mut now = Time::ZERO;
        group.bench_function(format!("set and fire, {owners}"), |b| {
            b.iter(|| {
                now += Duration::from_micros(1);
                step += 1;
                timers.set((step * 7919) as usize % owners, Timer::Request, now);
                while let Some(fired) = timers.poll(now) {
                    black_box(fired);
                }
            });
        });
    }
    group.finish();
}

fn meters(c: &mut Criterion) {
    let mut group = c.benchmark_group("meters");
    group.throughput(Throughput::Elements(1));
    let (mut rate, mut now) = (Rate::new(), Time::ZERO);
    group.bench_function("rate add", |b| {
        b.iter(|| {
            now += Duration::from_micros(10);
            rate.add(now, u64::from(BLOCK));
        });
    });
    group.bench_function("rate get", |b| b.iter(|| black_box(&rate).get(now)));
    let mut window = Window::new(window::Config::default());
    group.bench_function("window block and request", |b| {
        b.iter(|| {
            let sent = now;
            now += Duration::from_micros(100);
            window.handle_sent(sent, 1);
            window.handle_block(now, sent, BLOCK);
            black_box(window.room());
        });
    });
    group.finish();
}

fn limiter_of(rate: Option<u64>) -> (Limiter, Vec<NodeId>) {
    let mut limiter = Limiter::new();
    let session = limiter.add(Time::ZERO, None, rate, 0);
    let class = limiter.add(Time::ZERO, Some(session), None, 0);
    let torrents: Vec<NodeId> = (0..20).map(|tag| limiter.add(Time::ZERO, Some(class), None, tag)).collect();
    let peers = (0..PEERS).map(|tag| limiter.add(Time::ZERO, Some(torrents[tag % 20]), None, tag)).collect();
    (limiter, peers)
}

fn limits(c: &mut Criterion) {
    let mut group = c.benchmark_group("limiter");
    group.throughput(Throughput::Elements(1));
    let (mut limiter, peers) = limiter_of(None);
    let mut step = 0;
    group.bench_function("grant, no limit", |b| {
        b.iter(|| {
            step = (step + 1) % PEERS;
            black_box(limiter.grant(Time::ZERO, peers[step], u64::from(BLOCK)))
        });
    });
    let (mut limiter, peers) = limiter_of(Some(1_000_000_000));
    let mut now = Time::ZERO;
    group.bench_function("grant, limit not reached", |b| {
        b.iter(|| {
            now += Duration::from_micros(20);
            step = (step + 1) % PEERS;
            black_box(limiter.grant(now, peers[step], u64::from(BLOCK)))
        });
    });
    let (mut limiter, peers) = limiter_of(Some(10_000_000));
    let mut now = Time::ZERO;
    for peer in &peers {
        limiter.grant(now, *peer, u64::from(BLOCK));
    }
    group.bench_function("turn, 2000 wait", |b| {
        b.iter(|| {
            let grant = loop {
                match limiter.poll(now) {
                    Some(grant) => break grant,
                    None => now = limiter.next_timeout().expect("peers wait"),
                }
            };
            black_box(limiter.grant(now, grant.node, u64::from(BLOCK)))
        });
    });
    group.finish();
}

fn host(n: usize) -> Ipv4Addr {
    Ipv4Addr::from(0x5000_0000 + n as u32 * 7)
}

fn choking(c: &mut Criterion) {
    let mut group = c.benchmark_group("choker");
    for mode in [Mode::Leeching, Mode::Seeding] {
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        let mut now = Time::ZERO;
        let mut choker = Choker::new(now, choker::Config::default());
        choker.set_mode(0, mode);
        for key in 0..PEERS {
            choker.add_peer(now, key, 0, host(key).into());
            choker.handle_interested(now, key, true);
        }
        group.throughput(Throughput::Elements(PEERS as u64));
        group.bench_function(format!("round, 2000 interested, {mode:?}"), |b| {
            b.iter(|| {
                (0..PEERS).step_by(50).for_each(|key| choker.handle_downloaded(key, key as u64));
                now = choker.next_timeout().expect("peers are interested");
                choker.handle_timeout(now, &mut rng);
                while let Some(told) = choker.poll() {
                    black_box(told);
                }
            });
        });
        group.throughput(Throughput::Elements(1));
        let mut key = 0;
        group.bench_function(format!("interest on and off, {mode:?}"), |b| {
            b.iter(|| {
                key = (key + 1) % PEERS;
                choker.handle_interested(now, key, false);
                choker.handle_interested(now, key, true);
            });
        });
    }
    group.finish();
}

fn dialling(c: &mut Criterion) {
    let mut group = c.benchmark_group("candidates");
    let addrs: Vec<SocketAddr> = (0..3000).map(|n| (host(n), 7000).into()).collect();
    let full = || {
        let mut book = Candidates::new(candidates::Config::default(), 7);
        for addr in &addrs {
            book.add(Time::ZERO, *addr, Source::Tracker, Scope::Global);
        }
        book
    };
    group.throughput(Throughput::Elements(3000));
    group.bench_function("add 3000", |b| b.iter(full));
    group.bench_function("dial and fail 3000", |b| {
        b.iter_batched_ref(
            full,
            |book| {
                while let Some(addr) = book.next(Time::ZERO) {
                    book.handle_failed(Time::ZERO, addr);
                }
            },
            BatchSize::SmallInput,
        );
    });
    group.finish();
}

fn changing(c: &mut Criterion) {
    let mut group = c.benchmark_group("changes");
    let mut changes = Changes::new(1, 4096);
    (0..TORRENTS).for_each(|slot| changes.insert(slot, slot));
    let mut revision = changes.since(0, Columns::ALL).revision;
    group.bench_function("poll, nothing changed, 50000", |b| {
        b.iter(|| black_box(changes.since(revision, Columns::ALL)));
    });
    let mut slot = 0;
    group.bench_function("mark one and poll, 50000", |b| {
        b.iter(|| {
            slot = (slot + 7919) % TORRENTS;
            changes.mark(slot, Columns::RATES | Columns::PROGRESS);
            let delta = changes.since(revision, Columns::ALL);
            revision = delta.revision;
            delta.upserts.len()
        });
    });
    group.throughput(Throughput::Elements(1000));
    group.bench_function("mark 1000 and poll, 50000", |b| {
        b.iter(|| {
            for _ in 0..1000 {
                slot = (slot + 7919) % TORRENTS;
                changes.mark(slot, Columns::RATES);
            }
            let delta = changes.since(revision, Columns::RATES);
            revision = delta.revision;
            delta.upserts.len()
        });
    });
    group.finish();
}

criterion_group!(benches, timers, meters, limits, choking, dialling, changing);
criterion_main!(benches);
