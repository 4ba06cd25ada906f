//! What a shadow has come to, for people and programs.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use weighbridge_config::Version;
use weighbridge_config::rollout::Percent;
use weighbridge_config::tensor::compare::Agreement;

use crate::shadow::comparisons::PairCounts;
use crate::shadow::spread::Quantiles;
use crate::shadow::target::Purpose;

/// All that is known of one shadow.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct ShadowReport {
    pub version: Version,
    /// The share of the requests that are copied.
    pub percent: Percent,
    pub purpose: Purpose,
    pub state: State,
    /// Why it does not run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    #[serde(flatten)]
    pub results: Results,
}

/// Whether copies go to a shadow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[derive(utoipa::ToSchema)]
#[schema(as = ShadowState)]
pub enum State {
    On,
    /// Switched off by the gateway.
    Off,
    /// Its version is not loaded, or cannot be.
    NotLoaded,
}

/// Everything that was counted since `since`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
#[schema(as = ShadowResults)]
pub struct Results {
    /// Unix milliseconds.
    pub since: u64,
    /// Requests that the shadow's coin chose and that were taken.
    pub copied: u64,
    /// Requests that its coin chose and that were not compared, by reason.
    pub dropped: BTreeMap<String, u64>,
    pub pairs: PairCounts,
    /// Unless no pair has been compared.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outputs: Option<Differences>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub compute: Option<ComputeTimes>,
    /// How the shadow failed last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_error: Option<LastError>,
    /// How many disagreements are kept.
    pub exemplars: usize,
}

/// How the outputs differ, over the pairs that both answered.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
#[schema(as = ShadowDifferences)]
pub struct Differences {
    /// Elements compared, and how many of them were beyond the tolerance.
    pub elements: u64,
    pub beyond: u64,
    /// The largest absolute error of each pair.
    pub absolute: Quantiles,
    /// The largest error of each pair relative to the live element.
    pub relative: Quantiles,
    /// Rows whose largest element stands in the same place.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub top1: Option<Agreement>,
}

/// Compute time of both versions on the same requests.
///
/// The live run itself does not serve as the measure: it shares its batch with other requests, on
/// a thread of another priority. So for one pair in eight the live version is run once more, on
/// the shadow thread, alone, and what is compared is the processor time of that thread.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct ComputeTimes {
    /// Pairs that were timed.
    pub pairs: u64,
    pub rows: u64,
    pub shadow_us_per_row: f64,
    pub live_us_per_row: f64,
    /// Shadow over live: above 1 is slower.
    pub ratio: f64,
}

/// The thread of all shadows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct MirrorStatus {
    /// Percent of the compute threads' time.
    pub cpu_share: u32,
    /// Copies that wait or run, or whose live request is not answered yet.
    pub waiting: usize,
    pub memory_bytes: u64,
    /// Threads whose run was written off and has not ended.
    pub stuck_threads: usize,
    /// Why no shadow runs any more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub off: Option<String>,
}

/// A failure of a shadow.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[schema(as = ShadowError)]
pub struct LastError {
    /// Unix milliseconds.
    pub at: u64,
    pub request_id: String,
    pub error: String,
}

/// A number as JSON can hold it: infinite means that it has no size.
pub(crate) fn sized(number: f64) -> Option<f64> {
    Some(number).filter(|n| n.is_finite())
}
