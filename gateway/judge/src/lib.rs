//! The judge of a rollout: counts and a spec in, evidence and a decision out. Pure: no clock, no
//! chance, no I/O, so that a stored decision can be replayed.
//!
//! # Shape
//!
//! * [`Judge`] holds the evidence of an attempt. At each look: [`Judge::open_starts`], then what
//!   came in since the last one is absorbed, then [`Judge::assess`] and [`decide`].
//! * [`ShadowJudge`] and [`decide_shadow`] are the same for the shadow stage.
//! * [`Verdict`] is a decision with its numbers; printed, it is the text for people.
//! * [`bucket_of`], [`decay`], [`Thresholds`] and [`level`] turn answer times into levels.
//!
//! # Invariants
//!
//! * Counts are of requests whose coin was drawn at the weight they are absorbed with. What was
//!   routed before a step is absorbed with the weight before it, also when it ends later.
//! * Outcomes come in the order of arrival; what is still open stands in the [`Tail`] only.
//! * Looks may be as frequent as one likes: no number of them makes a false decision likelier.
//! * Evidence belongs to the margins it was gathered under; other margins refuse it.
//!
//! The statistics, what they promise and where the promise ends: `docs/rollouts.md`.

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
