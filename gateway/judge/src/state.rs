//! The evidence of an attempt as it is stored.

use serde::{Deserialize, Serialize};
use weighbridge_config::rollout::{Percent, RolloutSpec};

use crate::counts::{Latencies, Observed, Outcomes, Pair, Rewards};
use crate::exact;
use crate::guard::GuardState;
use crate::mixture::{Mixture, Starts};
use crate::stream::{Stream, Tally, Test};

/// Raised whenever stored numbers get another meaning.
const FORMAT: u32 = 1;

/// The evidence of one attempt: counts by weight, from which all capitals follow, and the
/// starts of the mixtures, which remember capitals of the past.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct State {
    /// Of what the numbers mean; see [`margins_of`].
    pub(crate) margins: String,
    pub(crate) step: usize,
    pub(crate) weight: Percent,
    pub(crate) at: Vec<AtWeight>,
    pub(crate) starts: Starts,
    /// In the order of [`Stream::judged`].
    pub(crate) streams: Vec<StreamState>,
    pub(crate) guard: GuardState,
}

/// What was counted of requests whose coin was drawn at one weight.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Counts {
    pub(crate) warm_up: Pair<Outcomes>,
    pub(crate) counted: Pair<Outcomes>,
    pub(crate) latencies: Pair<Latencies>,
    pub(crate) rewards: Pair<Rewards>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct AtWeight {
    pub(crate) weight: Percent,
    pub(crate) counts: Counts,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct StreamState {
    pub(crate) stream: Stream,
    pub(crate) mixture: Mixture,
    #[serde(with = "exact::one")]
    pub(crate) sup_log_e: f64,
}

/// The stored evidence was gathered under other margins.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "the stored evidence was gathered under other margins ({stored}; those of the spec are {wanted}): start a new attempt"
)]
pub struct MarginsChanged {
    pub stored: String,
    pub wanted: String,
}

impl Counts {
    /// What a live stream's test sees of them.
    pub(crate) fn of(&self, stream: Stream, observed: Observed, test: Test) -> Pair<Tally> {
        match stream {
            Stream::Err | Stream::ClientErrors | Stream::Diff => {
                of_outcomes(&self.counted, stream, observed, test)
            }
            Stream::Rank | Stream::P95 | Stream::P99 | Stream::Slo => Pair {
                canary: stream.of_latencies(&self.latencies.canary, test),
                stable: stream.of_latencies(&self.latencies.stable, test),
            },
            Stream::Reward => Pair {
                canary: Stream::of_rewards(&self.rewards.canary),
                stable: Stream::of_rewards(&self.rewards.stable),
            },
        }
    }
}

pub(crate) fn of_outcomes(
    of: &Pair<Outcomes>,
    stream: Stream,
    observed: Observed,
    test: Test,
) -> Pair<Tally> {
    Pair {
        canary: stream.of_outcomes(&of.canary, observed, test),
        stable: stream.of_outcomes(&of.stable, observed, test),
    }
}

/// A short name for everything that gives the numbers of a state their meaning: 64 bits of
/// FNV-1a over the margins, the unit, the steps and the error rates of the tests.
pub(crate) fn margins_of(spec: &RolloutSpec, observed: Observed) -> String {
    let meaning = (
        (FORMAT, observed, &spec.steps, spec.alpha, spec.beta, spec.window.as_millis()),
        (&spec.err, &spec.latency, &spec.guard),
        (&spec.client_errors, &spec.slo, &spec.reward),
        (spec.shadow.requests > 0, &spec.outputs),
    );
    // Debug prints every field, and floats so that they differ when the numbers do.
    let text = format!("{meaning:?}");
    let hash = text.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    });
    format!("{hash:016x}")
}
