//! The judge of a rollout: counts and a spec in, evidence and a decision out. Pure: no clock,
//! no chance, no I/O, so that a stored decision can be replayed.

mod assessment;
mod bets;
mod counts;
mod decide;
mod effect;
mod exact;
mod guard;
mod histogram;
mod judge;
mod mixture;
mod shadow;
mod split;
mod state;
mod stream;
mod verdict;

pub use assessment::{Assessment, Floor, GuardEvidence, Scores, StreamEvidence};
pub use counts::{LEVELS, Latencies, Observed, Outcomes, Pair, Rewards, Tail, TailPart};
pub use decide::{
    Cause, Decision, Grounds, HoldReason, NO_DATA, SPLIT_EVIDENCE, Situation, Standing, decide,
};
pub use histogram::{
    BUCKETS, LEAST_FOR_THRESHOLDS, LEAST_WEIGHT, QUANTILES, Thresholds, bucket_of, decay, level,
    quantile_ns, upper_edge_ns,
};
pub use judge::{Judge, replay};
pub use shadow::{
    Diff, Pairs, ShadowAssessment, ShadowJudge, ShadowState, decide_shadow, replay_shadow,
};
pub use state::{MarginsChanged, State};
pub use stream::Stream;
pub use verdict::{About, AnswerTimes, Effect, Seen, Verdict};
