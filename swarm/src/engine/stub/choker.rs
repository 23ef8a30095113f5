//! stub
use crate::engine::picker::PeerKey;
use crate::engine::time::Time;
use std::net::IpAddr;
#[derive(Default)]
pub struct Choker {
    out: Vec<(PeerKey, bool)>,
}
impl Choker {
    pub fn add(&mut self, _k: PeerKey, _ip: IpAddr, _now: Time) {}
    pub fn remove(&mut self, _k: PeerKey) {}
    pub fn set_interested(&mut self, k: PeerKey, yes: bool, _now: Time) {
        self.out.push((k, !yes));
    }
    pub fn set_snubbed(&mut self, _k: PeerKey, _yes: bool) {}
    pub fn poll(&mut self) -> Option<(PeerKey, bool)> {
        self.out.pop()
    }
    pub fn next_timeout(&self) -> Option<Time> {
        None
    }
}
