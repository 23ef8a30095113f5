//! Every call to the storage fails once, or from then on: for all calls of a small download that is also served on.

use std::io::ErrorKind;
use std::time::Duration;

use storage::Operation;
use swarm::engine::{Event, Time};
use swarm::sim::{Access, Content, DiskSpeed, Failing, NodeId, Role, World};

const PIECE: u32 = 64 * 1024;
const PIECES: u32 = 8;
const KINDS: [ErrorKind; 5] = [
    ErrorKind::Other,
    ErrorKind::StorageFull,
    ErrorKind::ReadOnlyFilesystem,
    ErrorKind::PermissionDenied,
    ErrorKind::NotConnected,
];

struct Run {
    world: World,
    node: NodeId,
    other: NodeId,
}

/// A node that takes everything from a seed and gives it to another one, while its storage fails as told.
fn start(seed: u64, failing: Option<Failing>) -> Run {
    let content = Content::new(5, (PIECES * PIECE) as usize, PIECE);
    let mut world = World::new(seed);
    let access = Access::symmetric(150_000);
    let source = world.add(&content, Role::Seed, access);
    let disk = DiskSpeed { seek: Duration::from_millis(1), rate: 20_000_000 };
    let node = world.add_with(&content, Role::Leech, access, disk, |_| {});
    let other = world.add(&content, Role::Leech, access);
    world.node(node).store.fail(failing);
    world.introduce(node, source);
    world.introduce(other, node);
    Run { world, node, other }
}

impl Run {
    fn count(&self, id: NodeId, what: impl Fn(&Event) -> bool) -> usize {
        self.world.node(id).events.iter().filter(|(_, event)| what(event)).count()
    }

    /// Both must come to their end, without harm to anyone.
    fn finish(&mut self, name: &str) {
        let limit = self.world.now + Duration::from_secs(200);
        let done = self.world.run_until_complete(&[self.node, self.other], limit);
        let status = |id| {
            let node = self.world.node(id);
            node.engine
                .torrent_status(self.world.now, node.torrent)
                .map(|s| (s.activity, s.pieces_done, s.peers))
        };
        assert!(done.is_some(), "{name}: {:?} and {:?}", status(self.node), status(self.other));
        self.world.check();
        for id in [self.node, self.other] {
            assert_eq!(self.count(id, |event| matches!(event, Event::PeerBanned { .. })), 0, "{name}");
        }
        let node = self.world.node(self.node);
        let totals = node.engine.torrent_status(self.world.now, node.torrent).expect("it runs").totals;
        let whole = u64::from(PIECES * PIECE);
        assert!(totals.downloaded <= 2 * whole, "{name}: {} bytes fetched", totals.downloaded);
    }
}

#[test]
fn each_call_may_fail_once_or_for_good() {
    let mut calm = start(0, None);
    calm.finish("without faults");
    let calls = calm.world.node(calm.node).store.calls();
    for (operation, calls) in [Operation::Read, Operation::Write, Operation::Sync].into_iter().zip(calls) {
        assert!(calls > 0, "no {operation} to fail");
        for nth in 0..calls {
            for lasting in [false, true] {
                let kind = KINDS[(nth as usize + usize::from(lasting)) % KINDS.len()];
                let failing = Failing { operation, nth, lasting, kind };
                let name = format!("{failing:?}");
                let mut run = start(nth, Some(failing));
                run.world.run_until(Time::from_secs(25), |_| false);
                let told = run.count(run.node, |event| matches!(event, Event::StorageFailed { .. }));
                assert!(told < 6, "{name}: told {told} times");
                run.world.node(run.node).store.fail(None);
                run.finish(&name);
            }
        }
    }
}
