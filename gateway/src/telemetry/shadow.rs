//! What happens to copies of requests. They never count in the metrics of requests.
#![expect(clippy::disallowed_macros, reason = "the room that records metrics")]

use std::time::Duration;

use metrics::{Counter, Gauge, Histogram, counter, gauge, histogram};
use weighbridge_config::{ModelName, Version};

use crate::shadow::comparisons::Dropped;
use crate::shadow::pair::Outcome;
use crate::telemetry::names;

/// Metrics of one shadow version.
pub struct ShadowMetrics {
    labels: [(&'static str, String); 2],
    copied: Counter,
    dropped: [Counter; Dropped::ALL.len()],
    pairs: [Counter; Outcome::ALL.len()],
    computed: Histogram,
    ratio: Gauge,
}

impl ShadowMetrics {
    /// Handles for the version's series.
    pub fn new(model: &ModelName, version: Version) -> Self {
        let labels = [("model", model.to_string()), ("version", version.to_string())];
        let with = |name: &'static str, value: &'static str| {
            let [model, version] = labels.clone();
            [model, version, (name, value.to_owned())]
        };
        Self {
            copied: counter!(names::SHADOW_COPIED, &labels),
            dropped: Dropped::ALL
                .map(|r| counter!(names::SHADOW_DROPPED, &with("reason", r.name()))),
            pairs: Outcome::ALL.map(|o| counter!(names::SHADOW_PAIRS, &with("outcome", o.name()))),
            computed: histogram!(names::SHADOW_COMPUTE_SECONDS, &labels),
            ratio: gauge!(names::SHADOW_COMPUTE_RATIO, &labels),
            labels,
        }
    }

    /// A copy was taken.
    pub fn copied(&self) {
        self.copied.increment(1);
    }

    /// A request that the coin chose is not compared.
    pub fn dropped(&self, reason: Dropped) {
        self.dropped[reason.index()].increment(1);
    }

    /// A pair was compared.
    pub fn compared(&self, outcome: Outcome) {
        self.pairs[outcome.index()].increment(1);
    }

    /// A run of the shadow ended.
    pub fn computed(&self, took: Duration) {
        self.computed.record(took);
    }

    /// Its compute time over that of the live version, on the same rows.
    pub fn ratio(&self, ratio: f64) {
        self.ratio.set(ratio);
    }

    /// A run did not end: the shadow is off and its thread replaced.
    pub fn written_off(&self, reason: &str) {
        counter!(names::SHADOW_WRITTEN_OFF, &self.labels).increment(1);
        let [(_, model), (_, version)] = &self.labels;
        tracing::error!(model, version, reason, "switched a shadow off");
    }
}

impl std::fmt::Debug for ShadowMetrics {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "ShadowMetrics({:?})", self.labels)
    }
}

/// So many copies wait, or run.
pub fn waiting(copies: usize) {
    gauge!(names::SHADOW_WAITING).set(copies as f64);
}

/// Too many threads hang: no shadow runs any more.
pub fn closed(reason: &str) {
    tracing::error!(reason, "switched all shadows off");
}
