//! stub
use crate::engine::candidates::Source;
use crate::engine::close::Close;
use crate::engine::time::Time;
use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr};
#[derive(Default)]
pub struct Candidates {
    q: VecDeque<SocketAddr>,
}
impl Candidates {
    pub fn add(&mut self, a: SocketAddr, _s: Source, _now: Time) -> bool {
        self.q.push_back(a);
        true
    }
    pub fn connected(&mut self, _a: SocketAddr, _o: bool) {}
    pub fn disconnected(&mut self, _a: SocketAddr, _now: Time, _r: &Close) {}
    pub fn failed(&mut self, _a: SocketAddr, _now: Time, _r: &Close) {}
    pub fn add_incoming(&mut self, _a: SocketAddr, _now: Time) {}
    pub fn ban(&mut self, _a: SocketAddr) {}
    pub fn next(&mut self, _now: Time) -> Option<SocketAddr> {
        self.q.pop_front()
    }
    pub fn next_timeout(&self) -> Option<Time> {
        None
    }
    pub fn _ip(&self, _ip: IpAddr) {}
}
