//! What is kept between runs: the ids, and nodes to ask first.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};

use super::id::Id;

/// Nodes that are read back, for each family.
const MAX_NODES: usize = 512;

/// The ids and nodes of a run, for the next one. Bencoded by [`encode`](Self::encode).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DhtState {
    /// Our id in the IPv4 DHT.
    pub id4: Option<Id>,
    /// Our id in the IPv6 DHT.
    pub id6: Option<Id>,
    /// Nodes that answered, of both families, those that answered last first.
    pub nodes: Vec<(Id, SocketAddr)>,
}

impl DhtState {
    /// The state as bytes.
    pub fn encode(&self) -> Vec<u8> {
        let (mut v4, mut v6) = (Vec::new(), Vec::new());
        for (id, addr) in &self.nodes {
            let out = if addr.is_ipv4() { &mut v4 } else { &mut v6 };
            out.extend_from_slice(&id.0);
            match addr {
                SocketAddr::V4(addr) => out.extend_from_slice(&addr.ip().octets()),
                SocketAddr::V6(addr) => out.extend_from_slice(&addr.ip().octets()),
            }
            out.extend_from_slice(&addr.port().to_be_bytes());
        }
        let encoded = bencode::encode(|e| {
            e.dict(|d| {
                for (key, id) in [("id4", self.id4), ("id6", self.id6)] {
                    if let Some(id) = id {
                        d.bytes(key, id.0);
                    }
                }
                d.bytes("nodes", &v4);
                d.bytes("nodes6", &v6);
            });
        });
        // The keys differ and there are no numbers, so there is nothing to fail.
        encoded.unwrap_or_default()
    }

    /// Reads a state back. `None` if these bytes are none; what is wrong within is left out.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let document = bencode::decode(bytes).ok()?;
        let dict = document.root().as_dict()?;
        let id = |key| dict.bytes(key).and_then(|bytes| bytes.try_into().ok()).map(Id);
        let v4 = dict.bytes("nodes").unwrap_or_default().as_chunks::<26>().0;
        let v6 = dict.bytes("nodes6").unwrap_or_default().as_chunks::<38>().0;
        let v4 = v4.iter().take(MAX_NODES).filter_map(|node| read::<4>(node));
        let v6 = v6.iter().take(MAX_NODES).filter_map(|node| read::<16>(node));
        Some(Self { id4: id("id4"), id6: id("id6"), nodes: v4.chain(v6).collect() })
    }
}

fn read<const IP: usize>(node: &[u8]) -> Option<(Id, SocketAddr)> {
    let (id, rest) = node.split_first_chunk::<20>()?;
    let (ip, port) = rest.split_last_chunk::<2>()?;
    let ip = match IP {
        4 => Ipv4Addr::from(<[u8; 4]>::try_from(ip).ok()?).into(),
        _ => Ipv6Addr::from(<[u8; 16]>::try_from(ip).ok()?).into(),
    };
    Some((Id(*id), SocketAddr::new(ip, u16::from_be_bytes(*port))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_state_reads_back_as_it_was_written() {
        let state = DhtState {
            id4: Some(Id([1; 20])),
            id6: None,
            nodes: vec![
                (Id([2; 20]), "9.9.9.9:6881".parse().unwrap()),
                (Id([3; 20]), "[2606:4700::1]:6882".parse().unwrap()),
            ],
        };
        assert_eq!(DhtState::decode(&state.encode()), Some(state));
        assert_eq!(DhtState::decode(&DhtState::default().encode()), Some(DhtState::default()));
    }

    #[test]
    fn what_is_no_state_is_none_and_floods_are_cut() {
        for bytes in [&b""[..], b"le", b"i1e", b"d5:nodes"] {
            assert_eq!(DhtState::decode(bytes), None);
        }
        assert_eq!(DhtState::decode(b"d3:id41:x5:nodes3:abce"), Some(DhtState::default()));
        let many = DhtState {
            nodes: vec![(Id([2; 20]), "9.9.9.9:1".parse().unwrap()); 5000],
            ..DhtState::default()
        };
        assert_eq!(DhtState::decode(&many.encode()).unwrap().nodes.len(), MAX_NODES);
    }
}
