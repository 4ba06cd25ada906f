//! Sample ratio mismatch: whether units are counted in the shares in which they were drawn.
//!
//! An e-value per epoch (a time with constant shares), multiplied over epochs: the likelihood
//! of the counts under shares drawn from a Dirichlet distribution around the true ones, over
//! their likelihood under the true ones. At any number of looks it reaches `E` with a
//! probability of at most `1/E` when nothing is wrong.

use std::collections::BTreeMap;

use weighbridge_config::experiment::MOST_VARIANTS;

use crate::gamma::ln_gamma;

/// How strongly the Dirichlet distribution keeps to the true shares.
const KAPPA: f64 = 1000.0;
/// The evidence from which on a split counts as wrong.
pub const REQUIRED: f64 = 1000.0;

/// Counts of one variant in one epoch.
#[derive(Debug, Clone, Copy, Default)]
struct Cell {
    count: f64,
    share: f64,
}

/// Counts units by epoch and variant.
#[derive(Debug, Clone, Default)]
pub struct Split {
    epochs: BTreeMap<u64, [Cell; MOST_VARIANTS]>,
}

impl Split {
    /// A unit of this epoch got this variant, with this probability.
    pub fn add(&mut self, epoch: u64, variant: usize, share: f64) {
        if let Some(cell) = self.epochs.entry(epoch).or_default().get_mut(variant) {
            cell.count += 1.0;
            cell.share = share;
        }
    }

    /// The natural logarithm of the evidence against the split that was drawn. A variant
    /// without a unit needs no share: its factors are 1.
    pub fn log_evidence(&self) -> f64 {
        self.epochs.values().map(log_of_epoch).sum()
    }
}

fn log_of_epoch(cells: &[Cell; MOST_VARIANTS]) -> f64 {
    let mut all = 0.0;
    let mut log = 0.0;
    for cell in cells.iter().filter(|cell| cell.count > 0.0) {
        let prior = KAPPA * cell.share;
        log += ln_gamma(prior + cell.count) - ln_gamma(prior) - cell.count * cell.share.ln();
        all += cell.count;
    }
    log + ln_gamma(KAPPA) - ln_gamma(KAPPA + all)
}

/// Whether evidence of this logarithm is enough.
pub fn is_wrong(log_evidence: f64) -> bool {
    log_evidence >= REQUIRED.ln()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn log_evidence(epochs: &[&[(f64, u32)]]) -> f64 {
        let mut split = Split::default();
        for (epoch, cells) in (0..).zip(epochs) {
            for (variant, (share, count)) in cells.iter().enumerate() {
                (0..*count).for_each(|_| split.add(epoch, variant, *share));
            }
        }
        split.log_evidence()
    }

    /// The first is that of the rollouts' split check; all were computed with Python.
    #[test]
    fn golden_evidence() {
        let eight: Vec<(f64, u32)> =
            (0..8).map(|v| [(0.1, 100), (0.1, 0), (0.3, 400)][usize::max(v, 5) - 5]).collect();
        for (epochs, wanted) in [
            (&[&[(0.05, 400), (0.95, 9600)][..]][..], 9.070_277_234_245_168),
            (&[&[(0.5, 5000), (0.5, 5000)]], -1.199_174_909_083_922),
            (&[&[(0.5, 5200), (0.5, 4800)]], 6.075_817_651_578_291),
            (&[&[(0.5, 60), (0.5, 0)]], 1.671_478_131_760_182),
            (&[&[(0.2, 2000), (0.3, 3000), (0.5, 5000)]], -2.398_602_343_040_693),
            (&[&[(0.2, 2000), (0.3, 2700), (0.5, 5300)]], 19.728_946_983_692_367),
            (&[&eight], 36.431_623_892_674_45),
            (&[&[(0.5, 520), (0.5, 480)], &[(0.25, 300), (0.75, 700)]], 2.939_405_454_491_179_6),
        ] {
            let log = log_evidence(epochs);
            assert!((log - wanted).abs() < 1e-7, "{epochs:?}: {log}, wanted {wanted}");
        }
        assert_eq!(Split::default().log_evidence(), 0.0);
    }
}
