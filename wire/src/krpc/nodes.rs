use alloc::borrow::Cow;
use alloc::vec::Vec;
use core::net::SocketAddr;

use super::{Id, address};

/// A node and where it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct NodeInfo {
    /// Its id, as another node claims.
    pub id: Id,
    /// Its address, as another node claims.
    pub addr: SocketAddr,
}

/// Nodes as 26 bytes each (`nodes`, BEP 5) or 38 (`nodes6`, BEP 32).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Nodes<'a> {
    bytes: Cow<'a, [u8]>,
    stride: usize,
}

impl<'a> Nodes<'a> {
    const V4: usize = 26;
    const V6: usize = 38;

    /// The IPv4 nodes among these.
    pub fn v4(nodes: impl IntoIterator<Item = NodeInfo>) -> Self {
        Self::collect(nodes, Self::V4)
    }

    /// The IPv6 nodes among these.
    pub fn v6(nodes: impl IntoIterator<Item = NodeInfo>) -> Self {
        Self::collect(nodes, Self::V6)
    }

    /// Each node. Those at port 0 are left out, and so is a rest that is no whole node.
    pub fn iter(&self) -> NodesIter<'_> {
        NodesIter(self.bytes.chunks_exact(self.stride))
    }

    pub(super) fn read_v4(bytes: &'a [u8]) -> Self {
        Self { bytes: Cow::Borrowed(bytes), stride: Self::V4 }
    }

    pub(super) fn read_v6(bytes: &'a [u8]) -> Self {
        Self { bytes: Cow::Borrowed(bytes), stride: Self::V6 }
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    fn collect(nodes: impl IntoIterator<Item = NodeInfo>, stride: usize) -> Self {
        let mut bytes = Vec::new();
        for node in nodes {
            if node.addr.is_ipv4() == (stride == Self::V4) {
                bytes.extend_from_slice(&node.id);
                address::write(&node.addr, &mut bytes);
            }
        }
        Self { bytes: Cow::Owned(bytes), stride }
    }
}

impl<'n> IntoIterator for &'n Nodes<'_> {
    type Item = NodeInfo;
    type IntoIter = NodesIter<'n>;

    fn into_iter(self) -> NodesIter<'n> {
        self.iter()
    }
}

/// The nodes of a [`Nodes`].
#[derive(Clone, Debug)]
pub struct NodesIter<'n>(core::slice::ChunksExact<'n, u8>);

impl Iterator for NodesIter<'_> {
    type Item = NodeInfo;

    fn next(&mut self) -> Option<NodeInfo> {
        self.0.by_ref().find_map(|bytes| {
            let (id, addr) = bytes.split_first_chunk::<20>()?;
            Some(NodeInfo { id: *id, addr: address::read(addr)? })
        })
    }
}
