//! The program killed at random moments, and what it must keep to all the same.
//!
//! ```text
//! seed (unchoke) ---> victim (unchoke, killed and started again) ---> taker (unchoke or libtorrent)
//! ```
//!
//! After each kill, and after the next start:
//!
//! - every piece that the record claims is on the disk and matches its hash;
//! - what is verified comes into the record while it runs, and stays there; nothing that was verified is forgotten after the
//!   next start;
//! - files that are not the torrent's are untouched, and no others were made;
//! - the taker, which has the victim for its only source, gets no piece that does not match.
//!
//! The same once more with a disk whose power is cut at that moment: then what was not in the record may be lost.
//!
//! At the end all three have the same bytes. `UNCHOKE_CRASH_KILLS` says how many kills (12 by default), `UNCHOKE_CRASH_SEED`
//! from which number the moments come, and `UNCHOKE_CRASH_PROGRAM` names another program than the one that was just built. A
//! run with a number of kills is one on a machine that does nothing else: what was verified more than five seconds before has
//! to be in the record then.

#[path = "../cli/apart.rs"]
mod apart;
mod judge;
mod power;
mod process;
mod world;

use std::env;
use std::time::Duration;

use judge::Tally;
use power::Disk;
use world::{Taker, World};

/// Kills of the run that everybody makes.
const KILLS: u32 = 12;

#[test]
fn a_download_that_is_killed_again_and_again_loses_and_spoils_nothing() {
    let seed = number("UNCHOKE_CRASH_SEED").unwrap_or(1);
    let kills = number("UNCHOKE_CRASH_KILLS").and_then(|kills| u32::try_from(kills).ok()).unwrap_or(KILLS);
    run(seed, kills, &Taker::Unchoke, None);
}

#[test]
fn libtorrent_gets_no_bad_piece_from_one_that_is_killed() {
    let Some(python) = Taker::libtorrent() else {
        eprintln!("skipped: no python with libtorrent; UNCHOKE_INTEROP_PYTHON names one");
        return;
    };
    let seed = number("UNCHOKE_CRASH_SEED").unwrap_or(1);
    let kills =
        number("UNCHOKE_CRASH_KILLS").map_or(KILLS / 2, |kills| kills.try_into().unwrap_or(KILLS) / 5);
    run(seed + 1000, kills, &python, None);
}

#[test]
fn a_download_whose_power_is_cut_again_and_again_forgets_no_more_than_seconds() {
    apart::apart("a_download_whose_power_is_cut_again_and_again_forgets_no_more_than_seconds", || {
        if Disk::new().is_none() {
            return eprintln!("skipped: no disk can be had here whose power could be cut");
        }
        let seed = number("UNCHOKE_CRASH_SEED").unwrap_or(1);
        let cuts =
            number("UNCHOKE_CRASH_KILLS").map_or(KILLS / 2, |kills| kills.try_into().unwrap_or(KILLS) / 5);
        run(seed + 2000, cuts, &Taker::Unchoke, Some(Disk::new));
    });
}

fn number(name: &str) -> Option<u64> {
    env::var(name).ok()?.parse().ok()
}

/// Rounds of a download each, until it was killed so often.
fn run(seed: u64, kills: u32, taker: &Taker, disk: Option<fn() -> Option<Disk>>) {
    let is_strict = number("UNCHOKE_CRASH_KILLS").is_some();
    let mut tally = Tally::new(is_strict);
    let mut rng = Rng(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
    while tally.kills < kills {
        let round = tally.rounds;
        eprintln!("seed {seed}, round {round}, {} of {kills} kills", tally.kills);
        let mut world = World::new(taker, disk.map(|disk| disk().expect("a disk")), rng.next());
        while !world.is_over() && tally.kills < kills {
            // Mostly soon; now and then as late as something of it is in the record, more often where that is all that counts.
            let is_late = rng.next().is_multiple_of(if disk.is_some() { 3 } else { 8 });
            let life = match is_late && is_strict {
                true => 5_500 + rng.next() % 2_500,
                false => 50 + rng.next() % 1_200,
            };
            world.live(Duration::from_millis(life), is_late, &mut tally);
        }
        world.finish(&mut tally);
        tally.rounds += 1;
    }
    eprintln!("seed {seed}: {tally}");
}

/// Numbers that are the same for the same seed (xorshift).
struct Rng(u64);

impl Rng {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }
}
