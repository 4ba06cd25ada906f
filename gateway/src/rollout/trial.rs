//! A canary beside its stable version at one weight: what the requests of a rollout go through.
//!
//! The canary and its control go the same way (the same queue, compute threads, checks of the
//! answer and time budget), so that what differs between them is the version.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tokio::sync::Notify;
use weighbridge_config::rollout::{Percent, Reward, RolloutSpec};
use weighbridge_config::tensor::compare::has_non_finite;
use weighbridge_config::{Signature, Tensor};

use crate::rollout::control::Control;
use crate::rollout::evidence::{Admitted, Evidence, Outcome, Sample, Side, Thresholds};
use crate::rollout::rewards::RewardBook;
use crate::rollout::snapshot::ServedModel;
use crate::serving::compute::Compute;
use crate::serving::entry::{Answer, Lane};
use crate::serving::loaded::{LoadedVersion, RunError};
use crate::serving::rescue::{Rescue, RescueBounds};
use crate::serving::submit::{Batching, Job, SubmitError, submit};

/// Stable's p99 times this is how long a canary may take, where nobody has set a time...
const BUDGET_FACTOR: u64 = 4;
/// ...but at least this long: below it the clock of a busy machine decides.
const LEAST_BUDGET: Duration = Duration::from_millis(25);
/// While stable's p99 is not known: this, or so many times its measured run, if that is longer.
const UNKNOWN_BUDGET: Duration = Duration::from_secs(1);
const UNKNOWN_FACTOR: u32 = 20;
/// Latencies above this multiple of stable's p99 are not told apart...
const CEILING_FACTOR: u32 = 4;
/// ...nor those outside these bounds.
const CEILING_LEAST: Duration = Duration::from_secs(1);
const CEILING_MOST: Duration = Duration::from_secs(5);
/// The place of the 99th percentile in the thresholds.
const P99: usize = 6;

/// One weight of one rollout.
#[derive(Debug)]
pub struct Trial {
    /// The id of the rollout.
    pub rollout: String,
    /// The sequence of the route that this is the trial of.
    pub route: u64,
    pub step: usize,
    /// The canary's share of the two variants' requests.
    pub weight: Percent,
    pub stable: Arc<LoadedVersion>,
    pub canary: Arc<LoadedVersion>,
    pub control: Control,
    pub evidence: Arc<Evidence>,
    /// Over all weights of the rollout.
    pub shared: Arc<Shared>,
    /// The metric whose reports count, if any.
    pub reward: Option<Reward>,
    /// What an answer must look like.
    expected: Arc<Signature>,
}

/// What the trials of one rollout share.
#[derive(Debug, Default)]
pub struct Shared {
    pub rescues: RescueBounds,
    /// Canary failures that stable answered.
    pub rescued: AtomicU64,
    /// Canary failures that a user saw.
    pub seen_failures: AtomicU64,
    /// Stable's p99 in nanoseconds; 0 while it is not known.
    pub stable_p99: AtomicU64,
    /// Rung when a canary has failed.
    pub failed: Notify,
    /// What users report back, where the spec wants to know.
    pub rewards: RewardBook,
}

/// An answer, and who gave it.
#[derive(Debug)]
pub struct Served {
    pub answer: Answer,
    pub version: Arc<LoadedVersion>,
    /// The version that should have answered.
    pub rescued_from: Option<Arc<LoadedVersion>>,
}

/// Why nobody answered: the version that was asked last, and its failure.
#[derive(Debug)]
pub struct Unserved {
    pub error: SubmitError,
    pub version: Arc<LoadedVersion>,
}

impl Trial {
    /// A trial of `canary` beside `stable`.
    #[expect(clippy::too_many_arguments, reason = "each is a part of the trial")]
    pub fn new(
        rollout: String,
        route: u64,
        step: usize,
        weight: Percent,
        stable: Arc<LoadedVersion>,
        canary: Arc<LoadedVersion>,
        control: Control,
        evidence: Arc<Evidence>,
        reward: Option<Reward>,
        shared: Arc<Shared>,
    ) -> Self {
        // A canary that openly answers in another shape (pushed with --allow-incompatible) is
        // held to its own word, any other to stable's.
        let is_alike = canary.signature.incompatibilities(&stable.signature).is_empty();
        let expected = Arc::clone(if is_alike { &stable.signature } else { &canary.signature });
        Self {
            rollout,
            route,
            step,
            weight,
            stable,
            canary,
            control,
            evidence,
            shared,
            reward,
            expected,
        }
    }

    /// The sample of a request whose coin fell on `side`.
    fn sample(&self, side: Side, unit: Option<u64>) -> Sample {
        match side {
            Side::Canary => Sample::Canary,
            Side::Stable if self.control.takes(unit) => Sample::Control,
            Side::Stable => Sample::Rest,
        }
    }

    /// How a request of `sample` is run: those that are compared go the same way.
    fn prepare(&self, sample: Sample, batching: &mut Batching, job: &mut Job) {
        job.lane = match sample {
            Sample::Canary => Lane::Trial,
            Sample::Control => Lane::Thread,
            Sample::Rest => Lane::Any,
        };
        if sample == Sample::Rest {
            return;
        }
        let control = self.compared();
        if sample == Sample::Control {
            job.version = Arc::clone(control);
        }
        // Which batch pays best was measured for each, and measurements differ by chance.
        let most = batching.max_batch_size;
        batching.max_batch_size = control.useful_batch(most).min(self.canary.useful_batch(most));
    }

    /// What the canary's answer times are compared with: the control's copy of stable, or stable.
    pub fn compared(&self) -> &Arc<LoadedVersion> {
        self.control.copy().unwrap_or(&self.stable)
    }

    /// Takes over what is known of recent answer times: those of the control, or stable's while
    /// the control's past is too short.
    pub fn refresh_thresholds(&self, spec: &RolloutSpec) {
        let of = |version: &LoadedVersion| version.latencies.thresholds();
        let quantiles = of(self.compared()).or_else(|| of(&self.stable));
        let p99 = quantiles.map_or(0, |levels| levels[P99]);
        self.shared.stable_p99.store(p99, Ordering::Relaxed);
        let ceiling = Duration::from_nanos(p99).saturating_mul(CEILING_FACTOR);
        let ceiling = ceiling.clamp(CEILING_LEAST, CEILING_MOST);
        let levels = quantiles.filter(|_| self.control.is_there());
        let (rollback, promote) = (spec.latency.rollback_scale, spec.latency.promote_scale);
        let slo = spec.slo.as_ref().filter(|_| self.control.is_there()).map(|slo| slo.latency);
        let thresholds = Thresholds::new(levels, rollback, promote, ceiling, slo);
        self.evidence.set_thresholds(Arc::new(thresholds));
    }

    /// Answers a request whose coin fell on `side`.
    ///
    /// A canary that fails, gives an invalid answer or overruns its time is answered for by
    /// stable within the deadline of `job`, if the model's settings and the bounds allow it.
    /// Whatever the caller gets, the failure counts against the canary.
    pub async fn answer(
        &self,
        compute: &Arc<Compute>,
        model: &ServedModel,
        side: Side,
        mut job: Job,
        unit: Option<u64>,
    ) -> Result<Served, Unserved> {
        let sample = self.sample(side, unit);
        let mut batching = model.settings.batching;
        self.prepare(sample, &mut batching, &mut job);
        let request = Request {
            trial: self,
            compute,
            model,
            batching,
            sample,
            began: Instant::now(),
            budget: self.budget(model),
            is_finite: !job.inputs.iter().any(|t| has_non_finite(t.data())),
        };
        let admitted = self.evidence.admit(sample, request.began, unit).within(request.budget);
        match side {
            Side::Stable => request.by_stable(admitted, job).await,
            Side::Canary => request.by_canary(admitted, job).await,
        }
    }

    /// A request whose coin fell on `side` was answered under this id: somebody may report on it.
    pub fn answered(&self, side: Side, request: &str) {
        if self.reward.is_some() {
            self.shared.rewards.expect(request, side, self.weight);
        }
    }

    /// Somebody reports `value` of `metric` on a request. False when that counts for nothing.
    pub fn report(&self, request: &str, metric: &str, value: f64) -> bool {
        let wanted = self.reward.as_ref().filter(|reward| reward.metric == metric);
        wanted.is_some_and(|reward| {
            self.shared.rewards.report(request, value >= reward.good_at_least)
        })
    }

    /// Counts a request that the version of `side` refused as invalid.
    pub fn refused_by(&self, side: Side, unit: Option<u64>) {
        let sample = match side {
            Side::Canary => Sample::Canary,
            Side::Stable => Sample::Rest,
        };
        let admitted = self.evidence.admit(sample, Instant::now(), unit);
        admitted.end(Outcome::ClientError, Duration::ZERO);
    }

    /// How long an answer may take before it counts as a failure; of both variants, or the
    /// comparison would not be fair. None when nobody is rescued.
    fn budget(&self, model: &ServedModel) -> Option<Duration> {
        let rescue = &model.settings.rescue;
        if !rescue.is_on {
            return None;
        }
        let of_p99 = match self.shared.stable_p99.load(Ordering::Relaxed) {
            0 => {
                let expected = Duration::from_secs_f64(self.stable.expected_us(1) / 1e6);
                (expected * UNKNOWN_FACTOR).max(UNKNOWN_BUDGET)
            }
            p99 => Duration::from_nanos(p99.saturating_mul(BUDGET_FACTOR)).max(LEAST_BUDGET),
        };
        Some(rescue.after.unwrap_or(of_p99))
    }
}

/// One request on its way through a trial.
struct Request<'a> {
    trial: &'a Trial,
    compute: &'a Arc<Compute>,
    model: &'a ServedModel,
    batching: Batching,
    sample: Sample,
    began: Instant,
    budget: Option<Duration>,
    /// No input was NaN or infinite.
    is_finite: bool,
}

impl Request<'_> {
    async fn by_stable(self, admitted: Admitted<'_>, job: Job) -> Result<Served, Unserved> {
        let version = Arc::clone(&job.version);
        let rows = job.rows;
        // A canary's request is copied in case stable has to answer it. What it is compared with
        // pays for a copy too: inputs may be large, and the model small.
        let _spare = (self.sample == Sample::Control).then(|| self.spare(&job));
        let outcome = self.submit(self.batching, job).await;
        self.settle(admitted, &outcome, rows);
        match outcome {
            Ok(answer) => Ok(Served { answer, version, rescued_from: None }),
            Err(error) => Err(Unserved { error, version }),
        }
    }

    async fn by_canary(self, admitted: Admitted<'_>, job: Job) -> Result<Served, Unserved> {
        let version = Arc::clone(&job.version);
        let rows = job.rows;
        let spare = self.spare(&job);
        let mut run = std::pin::pin!(self.submit(self.batching, job));
        let in_time = match self.budget {
            Some(budget) => {
                tokio::time::timeout_at((self.began + budget).into(), run.as_mut()).await.ok()
            }
            None => Some(run.as_mut().await),
        };
        let outcome = match in_time {
            Some(outcome) => {
                let outcome = self.settle(admitted, &outcome, rows).map_or(outcome, Err);
                if !matches!(outcome, Err(SubmitError::Model(_) | SubmitError::DeadlinePassed)) {
                    return told(outcome, version);
                }
                Some(outcome)
            }
            None => {
                admitted.end(Outcome::Overran, self.began.elapsed());
                None
            }
        };
        // Before the controller looks: it tells failures that users see from those they do not.
        let rescue = self.begin_rescue(spare);
        self.trial.shared.failed.notify_one();
        if let Some((job, permit)) = rescue
            && let Some(served) = self.rescue(job, permit, &version).await
        {
            return Ok(served);
        }
        self.trial.shared.seen_failures.fetch_add(1, Ordering::Relaxed);
        match outcome {
            Some(outcome) => told(outcome, version),
            // Late is better than never.
            None => {
                let late = run.await;
                let wrong = late.as_ref().ok().and_then(|answer| self.invalid(answer, rows));
                told(wrong.map_or(late, |what| Err(invalid(&what))), version)
            }
        }
    }

    async fn submit(&self, batching: Batching, job: Job) -> Result<Answer, SubmitError> {
        submit(self.compute, &self.model.queue, batching, job).await
    }

    /// Counts the end of a request, and returns what is wrong with an answer that came.
    fn settle(
        &self,
        admitted: Admitted<'_>,
        outcome: &Result<Answer, SubmitError>,
        rows: usize,
    ) -> Option<SubmitError> {
        let latency = self.began.elapsed();
        let wrong = outcome.as_ref().ok().and_then(|answer| self.invalid(answer, rows));
        let counted = match outcome {
            Ok(_) if wrong.is_some() => Outcome::Failed,
            Ok(_) => Outcome::Ok,
            Err(SubmitError::Model(_)) => Outcome::Failed,
            Err(SubmitError::DeadlinePassed) => Outcome::Overran,
            Err(SubmitError::Full(_) | SubmitError::TooLate(_) | SubmitError::Stopped) => {
                Outcome::Neutral
            }
        };
        admitted.end(counted, latency);
        wrong.map(|what| invalid(&what))
    }

    /// What makes an answer invalid.
    fn invalid(&self, answer: &Answer, rows: usize) -> Option<String> {
        let expected = match self.sample.side() {
            Side::Stable => &self.trial.stable.signature,
            Side::Canary => &self.trial.expected,
        };
        if let Some(what) = misfit(expected, &answer.outputs, rows) {
            return Some(what);
        }
        let may_be_nan = self.model.settings.allow_nan || !self.is_finite;
        let bad = answer.outputs.iter().position(|t| has_non_finite(t.data()));
        let place = bad.filter(|_| !may_be_nan)?;
        let name = expected.outputs.get(place).map_or("an output", |spec| spec.name.as_str());
        Some(format!("{name} holds NaN or infinity, the inputs do not (allow_nan)"))
    }

    /// The same request for stable, if it may be asked.
    fn spare(&self, job: &Job) -> Option<Job> {
        let settings = &self.model.settings;
        if !settings.rescue.is_on || !settings.is_idempotent {
            return None;
        }
        let (from, stable) = (&job.version.signature, &self.trial.stable);
        let by_name = |name: &str| from.input_index(name).map(|at| job.inputs[at].clone());
        let inputs: Option<Vec<Tensor>> =
            stable.signature.inputs.iter().map(|spec| by_name(&spec.name)).collect();
        Some(Job {
            version: Arc::clone(stable),
            inputs: inputs?,
            rows: job.rows,
            arrived: job.arrived,
            deadline: job.deadline,
            // With stable's other requests.
            lane: match self.trial.control {
                Control::Stable => Lane::Thread,
                Control::Copy { .. } | Control::Awaited => Lane::Any,
            },
            party: job.party.clone(),
        })
    }

    /// Takes a place among the rescues, if there is one.
    fn begin_rescue(&self, spare: Option<Job>) -> Option<(Job, Rescue<'_>)> {
        let job = spare?;
        let permit = self.trial.shared.rescues.permit(Instant::now())?;
        self.trial.shared.rescued.fetch_add(1, Ordering::Relaxed);
        Some((job, permit))
    }

    async fn rescue(
        &self,
        job: Job,
        _permit: Rescue<'_>,
        canary: &Arc<LoadedVersion>,
    ) -> Option<Served> {
        let version = Arc::clone(&job.version);
        match self.submit(self.model.settings.batching, job).await {
            Ok(answer) => Some(Served { answer, version, rescued_from: Some(Arc::clone(canary)) }),
            Err(_) => {
                self.trial.shared.rescued.fetch_sub(1, Ordering::Relaxed);
                None
            }
        }
    }
}

fn invalid(what: &str) -> SubmitError {
    SubmitError::Model(RunError(format!("its answer is invalid: {what}")))
}

fn told(
    outcome: Result<Answer, SubmitError>,
    version: Arc<LoadedVersion>,
) -> Result<Served, Unserved> {
    match outcome {
        Ok(answer) => Ok(Served { answer, version, rescued_from: None }),
        Err(error) => Err(Unserved { error, version }),
    }
}

/// Where outputs are not what the signature says, for a request of `rows` rows.
fn misfit(signature: &Signature, outputs: &[Tensor], rows: usize) -> Option<String> {
    if outputs.len() != signature.outputs.len() {
        return Some(format!("{} outputs, not {}", outputs.len(), signature.outputs.len()));
    }
    signature.outputs.iter().zip(outputs).find_map(|(spec, came)| {
        let shape = came.shape();
        let fits = |(axis, wanted): (usize, &i64)| {
            let is_batch = axis == 0 && signature.batchable;
            let wanted = if is_batch { Some(rows) } else { usize::try_from(*wanted).ok() };
            // -1 is any length.
            wanted.is_none_or(|wanted| shape.get(axis) == Some(&wanted))
        };
        let is_alike = came.datatype() == spec.datatype
            && shape.len() == spec.shape.len()
            && spec.shape.iter().enumerate().all(fits);
        (!is_alike).then(|| {
            let (name, datatype) = (&spec.name, spec.datatype);
            format!(
                "{name} is {} {shape:?}, not {datatype} {:?} for {rows} rows",
                came.datatype(),
                spec.shape
            )
        })
    })
}

#[cfg(test)]
mod tests;
