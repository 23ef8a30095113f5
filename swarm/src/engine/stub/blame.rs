//! stub
use crate::engine::picker::PeerKey;
use metainfo::{Block, PieceIndex};
#[derive(Default)]
pub struct Blame;
pub struct Verdict {
    pub needs_digests: bool,
    pub guilty: Vec<PeerKey>,
}
impl Blame {
    pub fn received(&mut self, _b: Block, _k: PeerKey) {}
    pub fn passed(&mut self, _p: PieceIndex) -> Vec<PeerKey> {
        vec![]
    }
    pub fn failed(&mut self, _p: PieceIndex) -> Verdict {
        Verdict { needs_digests: false, guilty: vec![] }
    }
    pub fn digests(&mut self, _p: PieceIndex, _d: Option<Vec<[u8; 20]>>) -> Vec<PeerKey> {
        vec![]
    }
    pub fn forget_peer(&mut self, _k: PeerKey) {}
    pub fn is_suspect(&self, _k: PeerKey) -> bool {
        false
    }
}
