//! Memory stays within the budget: huge pieces, thousands of peers, a slow disk, peers that trickle.

use std::time::Duration;

use swarm::engine::{Memory, Time};
use swarm::sim::{Access, Content, DiskSpeed, Role, Scripted, World};
use wire::peer::{Bitfield, Message, Request};

use super::honest;

const MIB: usize = 1 << 20;
const BUDGET: usize = 64 * MIB;

#[test]
fn pieces_of_256_mib_and_2000_peers_fit_into_64_mib() {
    let content = Content::new(1, 300 * MIB, 256 * MIB as u32);
    let mut world = World::new(1);
    let disk = DiskSpeed { seek: Duration::from_millis(5), rate: 4_000_000 };
    let mut half = Bitfield::new(2);
    half.set(1);
    let victim = world.add_with(&content, Role::Partial(half), Access::default(), disk, |config| {
        config.memory_budget = BUDGET;
        config.max_connections = 2_500;
        config.max_torrent_connections = 2_500;
        config.max_handshakes = 2_500;
    });
    let to = world.addr(victim);
    for index in 0..2_000 {
        let access = Access::symmetric(100_000);
        let peer = Scripted::new(&content).dials(to);
        match index % 4 {
            // Honest ones.
            0 | 1 => drop(peer.enter(&mut world, access, honest::seed(|line, request| line.serve(request)))),
            // Some begin a block and never end it.
            2 => {
                let trickle = |line: &mut swarm::sim::Line<'_>, request: Request| {
                    let mut bytes = Vec::new();
                    let Request { index, begin, len } = request;
                    Message::Piece { index, begin, len }.encode(&mut bytes);
                    bytes.extend([0; 100]);
                    line.raw(&bytes);
                };
                drop(peer.enter(&mut world, access, honest::seed(trickle)));
            }
            // And some want a lot of what is there, and read nothing of it.
            _ => {
                let greedy = |line: &mut swarm::sim::Line<'_>, heard: swarm::sim::Heard<'_>| {
                    if heard == swarm::sim::Heard::Open {
                        line.say(Message::HaveNone);
                        line.say(Message::Interested);
                        (0..400).for_each(|at| {
                            line.say(Message::Request(Request {
                                index: 1,
                                begin: at * 65_536,
                                len: 131_072,
                            }));
                        });
                    }
                };
                drop(peer.deaf().enter(&mut world, access, greedy));
            }
        }
    }
    let mut most = (0, Memory::default());
    let mut at = 0;
    world.run_until(Time::from_secs(60), |world| {
        at += 1;
        if at % 512 == 0 {
            let memory = world.node(victim).engine.memory();
            most = most.max((memory.total(), memory));
        }
        false
    });
    world.check();
    let node = world.node(victim);
    let status = node.engine.torrent_status(world.now, node.torrent).expect("it runs");
    eprintln!("{most:?} and {status:?}");
    assert!(most.0 <= BUDGET, "{most:?}");
    assert!(status.peers > 1_000, "they are let in: {}", status.peers);
    // The disk is the bottleneck, and stays busy.
    assert!(status.totals.downloaded > 60 * 1_000_000, "{:?}", status.totals);
}
