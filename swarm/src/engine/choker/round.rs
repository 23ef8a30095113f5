//! The round, which ranks everybody anew, and the fill between rounds, which only gives out what is free.

use rand::{Rng, RngExt};

use super::plan::Plan;
use super::rank::Claim;
use super::{Choker, Mode, slots};
use crate::engine::time::Time;

/// A peer that connected within this many rotations is new...
const NEW_ROTATIONS: u32 = 3;
/// ... and so many times as likely to get the optimistic slot (BEP 3).
const NEW_WEIGHT: u64 = 3;
/// One slot in so many is optimistic, at least one.
const OPTIMISTIC_SHARE: usize = 5;

impl Choker {
    /// Call at [`next_timeout`](Choker::next_timeout): runs a round, or fills slots that came free.
    pub fn handle_timeout(&mut self, now: Time, rng: &mut impl Rng) {
        if now >= self.next_round {
            self.roll(now);
            self.run_round(now, rng);
        } else if self.fill_at.is_some_and(|at| at <= now) {
            self.fill(now);
        } else {
            return;
        }
        self.fill_at = None;
    }

    /// Closes the byte counts of the round.
    fn roll(&mut self, now: Time) {
        let micros = (now - self.last_round).as_micros().max(1);
        let rate = u128::from(self.uploaded) * 1_000_000 / micros;
        self.upload_rate = u64::try_from(rate).unwrap_or(u64::MAX);
        self.uploaded = 0;
        self.rounds += 1;
        self.last_round = now;
        self.next_round = now + self.config.round;
    }

    fn run_round(&mut self, now: Time, rng: &mut impl Rng) {
        let slots = self.slots() as usize;
        let (leech, seed) = self.claims(now);
        // Snubbed peers are in neither list, but one of them may still be tried out.
        let (for_leech, for_seed) = slots::split(slots, self.interested.len() - seed.len(), seed.len());
        let trials = if for_leech == 0 { 0 } else { (for_leech / OPTIMISTIC_SHARE).max(1) };
        let mut plan = Plan::default();
        plan.take(self, &leech, for_leech - trials);
        let tried = self.try_out(now, rng, &mut plan, trials);
        plan.take(self, &seed, for_seed);
        self.take_rest(&mut plan, slots, &leech, &seed);
        let drop: Vec<usize> = self.holders.difference(&plan.chosen).copied().collect();
        for key in drop {
            self.choke(now, key);
        }
        for key in plan.chosen {
            self.unchoke(now, key);
            self.set_optimistic(key, false);
        }
        for key in tried {
            self.set_optimistic(key, true);
        }
    }

    /// Takes slots from those who do not want them, and gives out what is free.
    fn fill(&mut self, now: Time) {
        let slots = self.slots() as usize;
        let (leech, seed) = self.claims(now);
        let (mut plan, mut kept_leech, mut kept_seed) = (Plan::default(), 0, 0);
        for key in self.holders.iter().copied() {
            if let Some(peer) = self.peer(key)
                && peer.interested.is_some()
            {
                plan.keep(self, key);
                let leeching = self.torrents[peer.torrent].mode == Mode::Leeching;
                *(if leeching { &mut kept_leech } else { &mut kept_seed }) += 1;
            }
        }
        let free = slots.saturating_sub(plan.chosen.len());
        let (for_leech, for_seed) = slots::split(slots, self.interested.len() - seed.len(), seed.len());
        let taken = plan.take(self, &leech, for_leech.saturating_sub(kept_leech).min(free));
        plan.take(self, &seed, for_seed.saturating_sub(kept_seed).min(free - taken));
        self.take_rest(&mut plan, slots, &leech, &seed);
        let mut idle: Vec<usize> = self.holders.difference(&plan.chosen).copied().collect();
        for key in plan.chosen.iter().copied().filter(|key| !self.is_unchoked(*key)).collect::<Vec<_>>() {
            if self.holders.len() >= slots
                && let Some(idle) = idle.pop()
            {
                self.choke(now, idle);
            }
            self.unchoke(now, key);
        }
    }

    /// What bounds and snubs left over goes to whoever is next.
    fn take_rest(&self, plan: &mut Plan, slots: usize, leech: &[Claim], seed: &[Claim]) {
        let left = slots.saturating_sub(plan.chosen.len());
        let taken = plan.take(self, leech, left);
        plan.take(self, seed, left - taken);
    }

    /// Claims of interested peers, best first: in torrents we download (without the snubbed), and in those we seed.
    fn claims(&self, now: Time) -> (Vec<Claim>, Vec<Claim>) {
        let (mut leech, mut seed) = (Vec::new(), Vec::new());
        for key in self.interested.iter().copied() {
            let Some(peer) = self.peer(key) else { continue };
            match self.torrents[peer.torrent].mode {
                Mode::Leeching if peer.snubbed => {}
                Mode::Leeching => leech.push(self.claim(now, key, peer)),
                Mode::Seeding => seed.push(self.claim(now, key, peer)),
            }
        }
        leech.sort_unstable();
        seed.sort_unstable();
        (leech, seed)
    }

    /// Fills the optimistic slots: who holds one keeps it until the rotation, and the others are drawn.
    fn try_out(&mut self, now: Time, rng: &mut impl Rng, plan: &mut Plan, trials: usize) -> Vec<usize> {
        let mut tried = Vec::new();
        if now >= self.next_rotation {
            self.next_rotation = now + self.config.optimistic;
        } else {
            for key in self.holders.iter().copied() {
                let stays = self.peer(key).is_some_and(|peer| {
                    peer.optimistic
                        && peer.interested.is_some()
                        && self.torrents[peer.torrent].mode == Mode::Leeching
                });
                if tried.len() < trials && stays && plan.add(self, key) {
                    tried.push(key);
                }
            }
        }
        while tried.len() < trials {
            let Some(key) = self.draw(now, rng, plan) else { break };
            plan.add(self, key);
            tried.push(key);
        }
        tried
    }

    /// Draws one interested peer that the plan has room for, new ones with more weight. Who was tried out just now
    /// is taken again only if there is nobody else.
    fn draw(&self, now: Time, rng: &mut impl Rng, plan: &Plan) -> Option<usize> {
        let new = self.config.optimistic * NEW_ROTATIONS;
        let (mut drawn, mut total, mut last) = (None, 0, None);
        for key in self.interested.iter().copied() {
            let Some(peer) = self.peer(key) else { continue };
            if self.torrents[peer.torrent].mode == Mode::Seeding || !plan.has_room(self, key) {
                continue;
            }
            if peer.optimistic {
                last.get_or_insert(key);
                continue;
            }
            let weight = if now - peer.connected < new { NEW_WEIGHT } else { 1 };
            total += weight;
            if rng.random_range(0..total) < weight {
                drawn = Some(key);
            }
        }
        drawn.or(last)
    }

    fn set_optimistic(&mut self, key: usize, optimistic: bool) {
        if let Some(peer) = self.peers[key].as_mut() {
            peer.optimistic = optimistic;
        }
    }
}
