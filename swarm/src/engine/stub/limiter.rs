//! stub
use crate::engine::time::Time;
pub struct Limiter;
impl Limiter {
    pub fn new(_rate: Option<u64>) -> Self {
        Self
    }
    pub fn add_peer(&mut self, _p: usize, _t: usize) {}
    pub fn remove_peer(&mut self, _p: usize) {}
    pub fn grant(&mut self, _now: Time, _p: usize, want: usize) -> usize {
        want
    }
    pub fn charge(&mut self, _now: Time, _p: usize, _n: usize) {}
    pub fn next_refill(&mut self, _now: Time) -> Option<Time> {
        None
    }
}
