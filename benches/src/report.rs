//! Rounds put together: medians, and ratios to a rival of the same run.

use serde_json::{Value, json};

use crate::round::Round;
use crate::subject::Role;

const GIB: f64 = 1024.0 * 1024.0 * 1024.0;
const MIB: f64 = 1024.0 * 1024.0;

/// All rounds of one subject in one role.
pub struct Series {
    /// The subject's name.
    pub name: String,
    /// What it did.
    pub role: Role,
    /// Bytes that each round moved.
    pub size: u64,
    /// In the order in which they ran: round n of every subject ran beside round n of the others.
    pub rounds: Vec<Round>,
    /// System calls for a GiB, if they were counted.
    pub syscalls_per_gib: Option<f64>,
}

impl Series {
    /// The series as JSON; `base` is the series to compare with.
    pub fn to_json(&self, base: Option<&Series>) -> Value {
        let speed = self.each(|round| self.speed(round));
        let cpu = self.each(|round| self.cpu_per_gib(round));
        json!({
            "scenario": match self.role { Role::Leech => "leech", Role::Seed => "seed" },
            "subject": self.name,
            "runs": self.rounds.len(),
            "mb_per_s": rounded(median(&speed)),
            "mb_per_s_min": rounded(speed.iter().copied().reduce(f64::min)),
            "mb_per_s_max": rounded(speed.iter().copied().reduce(f64::max)),
            "seconds": rounded(median(&self.each(|round| round.seconds))),
            "start_s": rounded(median(&self.starts())),
            "mb_per_s_after_start": rounded(median(&self.each(|round| {
                self.size as f64 / 1e6 / (round.seconds - round.start.unwrap_or(0.0))
            }))),
            "cpu_s_per_gib": rounded(median(&cpu)),
            "user_s_per_gib": rounded(median(&self.each(|round| self.per_gib(round.cpu.user)))),
            "system_s_per_gib": rounded(median(&self.each(|round| self.per_gib(round.cpu.system)))),
            "peak_rss_mib": rounded(median(&self.each(|round| round.peak as f64 / MIB))),
            "anonymous_mib": rounded(median(&self.each(|round| round.anonymous as f64 / MIB))),
            "syscalls_per_gib": self.syscalls_per_gib.map(f64::round),
            "ratio_to": base.map(|base| json!({
                "subject": base.name,
                "mb_per_s": rounded(median(&self.ratios(base, Series::speed))),
                "cpu_s_per_gib": rounded(median(&self.ratios(base, Series::cpu_per_gib))),
            })),
        })
    }

    fn each(&self, value: impl Fn(&Round) -> f64) -> Vec<f64> {
        self.rounds.iter().map(value).collect()
    }

    fn starts(&self) -> Vec<f64> {
        self.rounds.iter().filter_map(|round| round.start).collect()
    }

    fn ratios(&self, base: &Series, value: impl Fn(&Series, &Round) -> f64) -> Vec<f64> {
        let pairs = self.rounds.iter().zip(&base.rounds);
        pairs.map(|(ours, theirs)| value(self, ours) / value(base, theirs)).collect()
    }

    fn speed(&self, round: &Round) -> f64 {
        self.size as f64 / 1e6 / round.seconds
    }

    fn cpu_per_gib(&self, round: &Round) -> f64 {
        self.per_gib(round.cpu.user + round.cpu.system)
    }

    fn per_gib(&self, value: f64) -> f64 {
        value * GIB / self.size as f64
    }
}

fn median(values: &[f64]) -> Option<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    match sorted.len() {
        0 => None,
        n if n % 2 == 1 => Some(sorted[middle]),
        _ => Some(f64::midpoint(sorted[middle - 1], sorted[middle])),
    }
}

fn rounded(value: Option<f64>) -> Option<f64> {
    value.map(|value| (value * 1000.0).round() / 1000.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::process::Cpu;

    fn series(name: &str, seconds: &[f64]) -> Series {
        let cpu = |s| Cpu { user: s, system: 0.0 };
        let rounds =
            seconds.iter().map(|&s| Round { seconds: s, start: None, cpu: cpu(s), peak: 0, anonymous: 0 });
        Series {
            name: name.into(),
            role: Role::Leech,
            size: 1 << 30,
            rounds: rounds.collect(),
            syscalls_per_gib: None,
        }
    }

    #[test]
    fn ratios_compare_rounds_that_ran_side_by_side() {
        // The machine was twice as slow in the second round; the ratio does not see it.
        let json = series("a", &[1.0, 2.0, 1.0]).to_json(Some(&series("b", &[2.0, 4.0, 2.0])));
        assert_eq!(json["ratio_to"]["mb_per_s"], 2.0);
        assert_eq!(json["ratio_to"]["cpu_s_per_gib"], 0.5);
        assert_eq!(json["cpu_s_per_gib"], 1.0);
    }

    #[test]
    fn the_median_of_an_even_number_is_between_the_middle_two() {
        assert_eq!(median(&[4.0, 1.0, 2.0, 3.0]), Some(2.5));
        assert_eq!(median(&[]), None);
    }
}
