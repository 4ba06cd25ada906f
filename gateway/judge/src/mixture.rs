//! A mixture over bets and over the times at which they begin.
//!
//! A canary that was fine for an hour has lost the capital of every bet; a regression would
//! first have to win it back. So fresh capital starts again and again, the k-th time with the
//! share v_k = 1/(k(k+1)). With L_j the log capital of bet j since the attempt began, that is
//! one number per bet: M_j = log Σ_k v_k exp(−L_j at start k), and log E = log mean_j
//! exp(L_j + M_j).

use serde::{Deserialize, Serialize};

use crate::exact;

/// M_j of each bet.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub(crate) struct Mixture(#[serde(with = "exact")] Vec<f64>);

/// When the starts of a mixture are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Starts {
    opened: u64,
    next_ms: u64,
}

impl Mixture {
    /// With the first start, at log capital zero.
    pub(crate) fn new(bets: usize) -> Self {
        Self(vec![Starts::log_share(1); bets])
    }

    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    /// Another start with the share exp(`log_share`), at `log_capitals`.
    pub(crate) fn open(&mut self, log_share: f64, log_capitals: &[f64]) {
        for (log_m, log_capital) in self.0.iter_mut().zip(log_capitals) {
            *log_m = log_add_exp(*log_m, log_share - log_capital);
        }
    }

    /// log E at `log_capitals`.
    pub(crate) fn log_e(&self, log_capitals: &[f64]) -> f64 {
        let grown = self.0.iter().zip(log_capitals).map(|(log_m, log)| log_m + log);
        log_mean_exp(grown)
    }
}

impl Starts {
    /// The first start is that of the attempt.
    pub(crate) fn every(window_ms: u64) -> Self {
        Self { opened: 1, next_ms: window_ms }
    }

    /// The log share of the start that is due, if one is. However many windows have passed
    /// unseen, one start is enough: nothing was counted meanwhile.
    pub(crate) fn due(&mut self, at_ms: u64, window_ms: u64) -> Option<f64> {
        if at_ms < self.next_ms {
            return None;
        }
        let window_ms = window_ms.max(1);
        self.next_ms = (at_ms / window_ms).saturating_add(1).saturating_mul(window_ms);
        self.opened += 1;
        Some(Self::log_share(self.opened))
    }

    /// ln 1/(k(k+1)).
    fn log_share(k: u64) -> f64 {
        let k = k as f64;
        -(k * (k + 1.0)).ln()
    }
}

fn log_add_exp(a: f64, b: f64) -> f64 {
    let (low, high) = if a < b { (a, b) } else { (b, a) };
    if low == f64::NEG_INFINITY { high } else { high + (low - high).exp().ln_1p() }
}

/// log of the mean of exponentials.
pub(crate) fn log_mean_exp(logs: impl Iterator<Item = f64> + Clone) -> f64 {
    let most = logs.clone().fold(f64::NEG_INFINITY, f64::max);
    let n = logs.clone().count();
    let sum: f64 = logs.map(|log| (log - most).exp()).sum();
    most + (sum / n as f64).ln()
}
