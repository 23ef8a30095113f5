//! Datagrams between machines: the DHT.

use std::net::SocketAddr;

use rand::RngExt;

use super::node::{NodeId, What};
use super::world::{Happening, World};
use crate::engine::dht::DhtConfig;

impl World {
    /// Lets a node take part in the DHT, beginning with these. It knows its address, as its id has to belong to it.
    pub fn join_dht(&mut self, node: NodeId, bootstrap: &[NodeId]) {
        let (now, addr) = (self.now, self.addr(node));
        let config = DhtConfig {
            ipv6: false,
            external: vec![addr.ip()],
            own: vec![addr],
            bootstrap: bootstrap.iter().map(|node| self.addr(*node)).collect(),
            ..DhtConfig::default()
        };
        self.node_mut(node).engine.start_dht(now, config, [Some(addr.port()), None]);
        self.pump(node.0);
    }

    /// Sends what a node's engine has to send.
    pub(super) fn send_datagrams(&mut self, index: usize) {
        while let Some(datagram) = self.engine_of(index).and_then(|engine| engine.poll_datagram()) {
            let now = self.now;
            if let What::Engine(node) = &mut self.machines[index].what {
                node.datagrams.push((now, datagram.to, datagram.bytes.clone()));
            }
            let Some(to) = self.by_addr.get(&datagram.to).copied() else { continue };
            let loss = self.machines[index].access.loss.max(self.machines[to].access.loss);
            if self.rng.random_bool(loss) {
                continue;
            }
            self.order += 1;
            let at = self.order;
            self.datagrams.insert(at, (index, datagram.to, datagram.bytes));
            self.schedule(now + self.latency(index, to), Happening::Datagram { at });
        }
    }

    /// A datagram arrives. A NAT lets in only what comes from where it was sent to.
    pub(super) fn datagram(&mut self, at: u64) {
        let Some((from, to, bytes)) = self.datagrams.remove(&at) else { return };
        let (now, from) = (self.now, self.machines[from].addr);
        let Some(index) = self.by_addr.get(&to).copied() else { return };
        let is_nat = self.machines[index].access.nat;
        let What::Engine(node) = &mut self.machines[index].what else { return };
        let asked = |from: SocketAddr| node.datagrams.iter().any(|(_, to, _)| *to == from);
        if node.gone || is_nat && !asked(from) {
            return;
        }
        node.engine.handle_datagram(now, Some(to.ip()), from, &bytes);
        self.pump(index);
    }
}
