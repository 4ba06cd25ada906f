use std::collections::BTreeMap;

use weighbridge_config::{Datatype, ModelSettings, TensorData, TensorSpec, V1Dialect, Version};
use weighbridge_engine::Cost;
use weighbridge_judge::Latencies;
use weighbridge_routing::ModelRoute;

use super::*;
use crate::rollout::evidence::Thresholds;
use crate::rollout::snapshot::{EffectiveSettings, RescueSettings};
use crate::serving::loaded::Runner;
use crate::serving::testing::{Echo, batching, name, room, values};

/// What a canary does.
#[derive(Debug, Clone, Copy)]
enum Does {
    Echo,
    Fails,
    Panics,
    AnswersNan,
    AnswersTwoColumns,
    Sleeps(Duration),
}

impl Runner for Does {
    fn run(&self, parts: &[&[Tensor]]) -> Result<Vec<Vec<Tensor>>, RunError> {
        let of = |values: fn(usize) -> Vec<f32>, width: usize| {
            let answer = |rows: usize| {
                vec![Tensor::new(vec![rows, width], TensorData::Fp32(values(rows))).unwrap()]
            };
            Ok(parts.iter().map(|p| answer(p[0].rows())).collect())
        };
        match self {
            Self::Echo => Ok(parts.iter().map(|p| p.to_vec()).collect()),
            Self::Fails => Err(RunError("it fails".to_owned())),
            Self::Panics => panic!("it panics"),
            Self::AnswersNan => of(|rows| vec![f32::NAN; rows], 1),
            Self::AnswersTwoColumns => of(|rows| vec![0.0; 2 * rows], 2),
            Self::Sleeps(time) => {
                std::thread::sleep(*time);
                Self::Echo.run(parts)
            }
        }
    }
}

fn loaded(number: u32, runner: impl Runner + 'static, width: i64) -> Arc<LoadedVersion> {
    let spec = |name: &str, width| TensorSpec {
        name: name.to_owned(),
        datatype: Datatype::Fp32,
        shape: vec![-1, width],
        labels: vec![],
    };
    let (inputs, outputs) = (vec![spec("x", 1)], vec![spec("y", width)]);
    let signature = Signature { inputs, outputs, batchable: true };
    let cost = Cost { base_us: 1.0, per_row_us: 1.0, best_batch_rows: 64 };
    let version = Version::try_from(number).unwrap();
    Arc::new(LoadedVersion::new(name(), version, signature, cost, Box::new(runner)))
}

struct Bench {
    compute: Arc<Compute>,
    model: ServedModel,
    trial: Trial,
}

fn bench(canary: Does, width: i64, rescue: RescueSettings) -> Bench {
    let (compute, queue) = room(2);
    let (stable, canary) = (loaded(1, Arc::new(Echo::default()), 1), loaded(2, canary, width));
    let settings = EffectiveSettings {
        batching: batching(16),
        timeout: Duration::from_secs(30),
        sticky: None,
        v1_dialect: V1Dialect::default(),
        rescue,
        is_idempotent: ModelSettings::default().idempotent.unwrap_or(true),
        allow_nan: false,
        residency: weighbridge_config::Residency::default(),
        is_loaded: true,
    };
    let route = ModelRoute {
        salt: "m".to_owned(),
        split: None,
        aliases: BTreeMap::new(),
        versions: BTreeMap::new(),
    };
    let (trial, loaded, shadows) = (None, BTreeMap::new(), Vec::new());
    let experiment = None;
    let model =
        ServedModel { name: name(), route, loaded, settings, queue, trial, shadows, experiment };
    let thresholds = Thresholds::new(Some([1_000_000; 8]), 1.1, 1.2, Duration::from_secs(1), None);
    let longest = Duration::from_secs(60);
    let evidence = Evidence::new(Instant::now(), longest, 2, Arc::new(thresholds), None);
    let trial = Trial::new(
        "ro-1".to_owned(),
        1,
        0,
        Percent::whole(5),
        stable,
        canary,
        Control::Stable,
        Arc::new(evidence),
        None,
        Arc::default(),
    );
    Bench { compute, model, trial }
}

const ON: RescueSettings = RescueSettings { is_on: true, after: None };
const OFF: RescueSettings = RescueSettings { is_on: false, after: None };

impl Bench {
    async fn ask(&self, side: Side, value: f32) -> Result<Served, Unserved> {
        let version = match side {
            Side::Stable => &self.trial.stable,
            Side::Canary => &self.trial.canary,
        };
        let job = crate::serving::testing::job(version, &[value]);
        self.trial.answer(&self.compute, &self.model, side, job, None).await
    }

    /// Outcomes of the canary: fine, errors.
    fn canary(&self) -> (u64, u64) {
        let taken = (0..3).map(|second| self.trial.evidence.take(second, Sample::Canary).outcomes);
        taken.fold((0, 0), |(ok, err), o| (ok + o.ok, err + o.err))
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_copy_answers_its_share_of_stables_requests_and_only_they_are_compared() {
    for (share, of_copy) in [(1.0, true), (0.0, false)] {
        let mut bench = bench(Does::Echo, 1, ON);
        let copy = loaded(1, Arc::new(Echo::default()), 1);
        bench.trial.control = Control::Copy { version: Arc::clone(&copy), share };
        let served = bench.ask(Side::Stable, 5.0).await.unwrap();
        assert_eq!(values(&served.answer.outputs), [5.0]);
        assert_eq!(Arc::ptr_eq(&served.version, &copy), of_copy);
        let counted = [Sample::Control, Sample::Rest].map(|sample| {
            let added = bench.trial.evidence.take(0, sample);
            (added.outcomes.ok, added.latencies.rollback.iter().sum::<u64>())
        });
        assert_eq!(counted, if of_copy { [(1, 1), (0, 0)] } else { [(0, 0), (1, 0)] });
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn while_the_copy_is_awaited_errors_count_and_answer_times_do_not() {
    let mut bench = bench(Does::Echo, 1, ON);
    bench.trial.control = Control::Awaited;
    for _ in 0..300 {
        bench.trial.stable.latencies.record(Duration::from_millis(1));
    }
    bench.trial.refresh_thresholds(&RolloutSpec::default());
    bench.ask(Side::Canary, 5.0).await.unwrap();
    bench.ask(Side::Stable, 5.0).await.unwrap();
    let canary = bench.trial.evidence.take(0, Sample::Canary);
    assert_eq!((canary.outcomes.ok, canary.latencies), (1, Latencies::default()));
    assert_eq!(bench.trial.evidence.take(0, Sample::Rest).outcomes.ok, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_canary_and_its_control_share_one_size_of_batches() {
    let mut bench = bench(Does::Echo, 1, ON);
    let with = |rows| {
        let version = loaded(1, Arc::new(Echo::default()), 1);
        let mut version = Arc::into_inner(version).expect("nobody else has it");
        version.cost.best_batch_rows = rows;
        Arc::new(version)
    };
    (bench.trial.stable, bench.trial.canary) = (with(4), with(2));
    for sample in [Sample::Canary, Sample::Control] {
        let mut batching = batching(16);
        let mut job = crate::serving::testing::job(&bench.trial.stable, &[1.0]);
        bench.trial.prepare(sample, &mut batching, &mut job);
        assert_eq!(batching.max_batch_size, 2, "{sample:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_the_canary_fails_with_stable_answers_and_the_failure_counts() {
    for does in [Does::Fails, Does::Panics, Does::AnswersNan, Does::AnswersTwoColumns] {
        let bench = bench(does, 1, ON);
        let served = bench.ask(Side::Canary, 5.0).await.unwrap();
        assert_eq!(values(&served.answer.outputs), [5.0], "{does:?}");
        assert_eq!(served.version.version.get(), 1);
        assert_eq!(served.rescued_from.unwrap().version.get(), 2);
        assert_eq!(bench.canary(), (0, 1), "{does:?}");
        assert_eq!(bench.trial.shared.rescued.load(Ordering::Relaxed), 1);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_canary_that_overruns_its_time_is_answered_for() {
    let after = Some(Duration::from_millis(30));
    let slow = Does::Sleeps(Duration::from_secs(3));
    let bench = bench(slow, 1, RescueSettings { is_on: true, after });
    let began = Instant::now();
    let served = bench.ask(Side::Canary, 5.0).await.unwrap();
    assert!(served.rescued_from.is_some() && began.elapsed() < Duration::from_secs(3));
    assert_eq!(bench.canary(), (0, 1));
    let stable = bench.ask(Side::Stable, 6.0).await.unwrap();
    assert_eq!((values(&stable.answer.outputs), stable.version.version.get()), (vec![6.0], 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn without_rescue_the_caller_gets_what_the_canary_gave() {
    let fails = bench(Does::Fails, 1, OFF);
    let unserved = fails.ask(Side::Canary, 5.0).await.unwrap_err();
    assert_eq!(unserved.version.version.get(), 2);
    assert!(matches!(unserved.error, SubmitError::Model(_)));
    assert_eq!(
        (fails.canary(), fails.trial.shared.seen_failures.load(Ordering::Relaxed)),
        ((0, 1), 1)
    );
    let nan = bench(Does::AnswersNan, 1, OFF).ask(Side::Canary, 5.0).await.unwrap_err();
    let SubmitError::Model(RunError(reason)) = nan.error else { panic!("{nan:?}") };
    assert!(reason.contains('y') && reason.contains("NaN"), "{reason}");
}

#[tokio::test(flavor = "multi_thread")]
async fn models_that_are_not_idempotent_are_never_run_twice() {
    let mut bench = bench(Does::Fails, 1, ON);
    bench.model.settings.is_idempotent = false;
    assert!(bench.ask(Side::Canary, 5.0).await.is_err());
    assert_eq!(bench.trial.shared.rescued.load(Ordering::Relaxed), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn nan_from_nan_and_nan_that_is_allowed_are_answers() {
    let from_nan = bench(Does::AnswersNan, 1, ON);
    assert!(from_nan.ask(Side::Canary, f32::NAN).await.unwrap().rescued_from.is_none());
    assert_eq!(from_nan.canary(), (1, 0));
    let mut allowed = bench(Does::AnswersNan, 1, ON);
    allowed.model.settings.allow_nan = true;
    assert!(allowed.ask(Side::Canary, 5.0).await.unwrap().rescued_from.is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_canary_that_openly_answers_in_another_shape_is_held_to_its_own() {
    let bench = bench(Does::AnswersTwoColumns, 2, ON);
    let served = bench.ask(Side::Canary, 5.0).await.unwrap();
    assert_eq!(served.version.version.get(), 2);
    assert_eq!(bench.canary(), (1, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn rescues_have_bounds_and_the_error_is_told_beyond_them() {
    let bench = bench(Does::Fails, 1, ON);
    let mut failed = 0;
    for _ in 0..100 {
        failed += usize::from(bench.ask(Side::Canary, 5.0).await.is_err());
    }
    assert_eq!(failed, 80, "20 in 10 s for a model of no known rate");
    assert_eq!(bench.canary(), (0, 100));
}
