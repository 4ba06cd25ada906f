//! Bets: what a score multiplies a test's capital by.
//!
//! With π the canary's share of the coin, Z the score and m a centre, one request gives
//!
//! ```text
//! D = (Z − m − Δ) / π          on the canary
//! D = −(Z − m) / (1 − π)       on stable         E[D] = canary's mean − stable's mean − Δ
//! ```
//!
//! A rollback bet multiplies by 1 + λD, a promotion bet by 1 − λD. Stakes λ are such that no
//! factor is negative; then neither test's capital is expected to grow while its hypothesis
//! holds, whatever the traffic does.

#[cfg(test)]
mod tests;

use crate::counts::Pair;
use crate::stream::{Centres, Tally, Test};

/// Rollback stakes as λ/π, each capped at [`MOST`] of the largest stake.
const LADDER: [f64; 8] = [0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0];
/// Rollback stakes at the further centres, as parts of the largest stake.
const MORE: [f64; 4] = [0.1, 0.3, 0.6, 0.95];
/// Promotion stakes, as parts of the largest stake.
const PROMOTE: [f64; 5] = [0.03, 0.1, 0.3, 0.6, 0.9];
const MOST: f64 = 0.95;

/// The logarithms of the factors of several bets.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Factors {
    /// By bet, then by score.
    bets: Vec<Pair<Vec<f64>>>,
}

impl Factors {
    /// Bets that win when the canary's scores exceed stable's by more than `margin`.
    pub(crate) fn rollback(centres: Centres, scores: &[f64], margin: f64, share: f64) -> Self {
        let most =
            |centre: f64| limit(share, centre + margin).min(limit(1.0 - share, 1.0 - centre));
        let cap = MOST * most(centres.ladder);
        let ladder = LADDER.map(|stake| (centres.ladder, (stake * share).min(cap)));
        let more = centres.more.iter().flat_map(|m| MORE.map(|part| (*m, part * most(*m))));
        Self::of(ladder.into_iter().chain(more), scores, margin, share)
    }

    /// Bets that win when the canary's scores exceed stable's by less than `margin`.
    pub(crate) fn promote(centres: Centres, scores: &[f64], margin: f64, share: f64) -> Self {
        let most =
            |centre: f64| limit(share, 1.0 - centre - margin).min(limit(1.0 - share, centre));
        let all = centres.promote.iter();
        let bets = all.flat_map(|m| PROMOTE.map(|part| (*m, -part * most(*m))));
        Self::of(bets, scores, margin, share)
    }

    /// From (centre, signed stake).
    fn of(bets: impl Iterator<Item = (f64, f64)>, scores: &[f64], margin: f64, share: f64) -> Self {
        let logs = |(centre, stake): (f64, f64)| Pair {
            canary: logs(scores, stake, |z| (z - centre - margin) / share),
            stable: logs(scores, stake, |z| (centre - z) / (1.0 - share)),
        };
        Self { bets: bets.map(logs).collect() }
    }

    pub(crate) fn len(&self) -> usize {
        self.bets.len()
    }

    /// Adds the log capital that `seen` makes to each bet's.
    pub(crate) fn add(&self, seen: &Pair<Tally>, to: &mut [f64]) {
        for (log_capital, bet) in to.iter_mut().zip(&self.bets) {
            *log_capital += dot(&seen.canary, &bet.canary) + dot(&seen.stable, &bet.stable);
        }
    }

    /// The growth of each bet's log capital per request, if scores come with these shares.
    pub(crate) fn drift(&self, of: &Pair<Vec<f64>>, share: f64) -> Vec<f64> {
        let mean = |shares: &[f64], logs: &[f64]| -> f64 {
            shares.iter().zip(logs).map(|(p, log)| p * log).sum()
        };
        let drift = |bet: &Pair<Vec<f64>>| {
            share * mean(&of.canary, &bet.canary) + (1.0 - share) * mean(&of.stable, &bet.stable)
        };
        self.bets.iter().map(drift).collect()
    }
}

impl Centres {
    /// The number of bets of a test.
    pub(crate) fn bets(&self, test: Test) -> usize {
        match test {
            Test::Rollback => LADDER.len() + MORE.len() * self.more.len(),
            Test::Promote => PROMOTE.len() * self.promote.len(),
        }
    }
}

/// The largest stake at which a loss of `most_lost / room` per unit leaves nothing.
fn limit(room: f64, most_lost: f64) -> f64 {
    if most_lost > 0.0 { room / most_lost } else { f64::INFINITY }
}

fn logs(scores: &[f64], stake: f64, gain: impl Fn(f64) -> f64) -> Vec<f64> {
    scores.iter().map(|z| (stake * gain(*z)).ln_1p()).collect()
}

fn dot(seen: &Tally, logs: &[f64]) -> f64 {
    seen.0.iter().zip(logs).map(|(n, log)| *n as f64 * log).sum()
}
