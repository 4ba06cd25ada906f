//! Stand-ins for the tests of this room.

use std::sync::Arc;
use std::time::{Duration, Instant};

use weighbridge_config::rollout::Percent;
use weighbridge_config::settings::Shadow;
use weighbridge_config::{
    ByteSize, Datatype, ModelName, Signature, Tensor, TensorData, TensorSpec, Version,
};
use weighbridge_engine::Cost;
use weighbridge_routing::{Decision, Reason, Variant};

use super::pair::LiveRequest;
use super::{Comparisons, Mirror, Purpose, Rules, ShadowTarget};
use crate::serving::entry::Answer;
use crate::serving::loaded::{LoadedVersion, RunError, Runner};

/// A model as a function of its first input.
pub struct Model<F>(pub F);

impl<F> Runner for Model<F>
where
    F: Fn(&Tensor) -> Result<Tensor, RunError> + Send + Sync,
{
    fn run(&self, parts: &[&[Tensor]]) -> Result<Vec<Vec<Tensor>>, RunError> {
        parts.iter().map(|part| Ok(vec![(self.0)(&part[0])?])).collect()
    }
}

/// A model that multiplies.
pub fn times(factor: f32) -> impl Runner {
    Model(move |x: &Tensor| Ok(mapped(x, |v| v * factor)))
}

/// Each element of a tensor of floats, mapped.
pub fn mapped(tensor: &Tensor, to: impl Fn(f32) -> f32) -> Tensor {
    let TensorData::Fp32(values) = tensor.data() else { panic!("wanted floats") };
    floats(tensor.shape(), &values.iter().map(|v| to(*v)).collect::<Vec<_>>())
}

pub fn floats(shape: &[usize], values: &[f32]) -> Tensor {
    Tensor::new(shape.to_vec(), TensorData::Fp32(values.to_vec())).unwrap()
}

pub fn name() -> ModelName {
    "m".parse().unwrap()
}

pub fn number(version: u32) -> Version {
    Version::try_from(version).unwrap()
}

pub fn spec(name: &str, shape: &[i64]) -> TensorSpec {
    TensorSpec {
        name: name.to_owned(),
        datatype: Datatype::Fp32,
        shape: shape.to_vec(),
        labels: vec![],
    }
}

pub fn signature(inputs: &[(&str, &[i64])], outputs: &[(&str, &[i64])]) -> Signature {
    let specs = |of: &[(&str, &[i64])]| of.iter().map(|(name, shape)| spec(name, shape)).collect();
    Signature { inputs: specs(inputs), outputs: specs(outputs), batchable: true }
}

/// `x` `[N, 2]` to `y` `[N, 2]`, with next to no cost.
pub fn version(version: u32, runner: impl Runner + 'static) -> Arc<LoadedVersion> {
    with_cost(version, runner, 1.0)
}

/// A run of it is expected to take so many microseconds, whatever it takes.
pub fn with_cost(
    version: u32,
    runner: impl Runner + 'static,
    expected_us: f64,
) -> Arc<LoadedVersion> {
    let signature = signature(&[("x", &[-1, 2])], &[("y", &[-1, 2])]);
    let cost = Cost { base_us: expected_us, per_row_us: 0.0, best_batch_rows: 64 };
    Arc::new(LoadedVersion::new(name(), number(version), signature, cost, Box::new(runner)))
}

/// A shadow of all requests.
pub fn shadow(version: &Arc<LoadedVersion>) -> ShadowTarget {
    shadow_of(version, Percent::whole(100))
}

pub fn shadow_of(version: &Arc<LoadedVersion>, share: Percent) -> ShadowTarget {
    ShadowTarget {
        version: Arc::clone(version),
        share,
        purpose: Purpose::Setting,
        rules: Arc::new(Rules { max_batch_size: 8, ..Rules::default() }),
        sink: Arc::new(Comparisons::new(&name(), version.version)),
    }
}

pub fn settings() -> Shadow {
    Shadow {
        cpu_share: 100,
        queue: 1000,
        memory: ByteSize::mib(64),
        run_limit: Duration::from_secs(60),
        exemplars: 4,
    }
}

pub fn mirror(settings: Shadow) -> Mirror {
    Mirror::start(settings, 1).unwrap()
}

pub fn routed(version: u32) -> Decision {
    Decision { version: number(version), variant: Variant::Stable, reason: Reason::Route }
}

pub fn answer(outputs: Vec<Tensor>) -> Answer {
    Answer { outputs, queued: Duration::ZERO, computed: Duration::ZERO }
}

/// A request with an outcome, as the shadow thread gets it.
pub fn live(
    version: &Arc<LoadedVersion>,
    input: Tensor,
    outputs: Result<Vec<Tensor>, &str>,
) -> LiveRequest {
    LiveRequest {
        signature: Arc::clone(&version.signature),
        version: Arc::clone(version),
        rows: input.rows(),
        inputs: vec![input],
        outputs: outputs.map_err(str::to_owned),
        request_id: "r-1".to_owned(),
        at: 7,
    }
}

/// One routed request from beginning to end: `live` answers what it computes.
pub fn ask(mirror: &Mirror, shadows: &[ShadowTarget], live: &Arc<LoadedVersion>, values: &[f32]) {
    let input = floats(&[values.len() / 2, 2], values);
    let decision = routed(live.version.get());
    let inputs = [input];
    let copies = mirror.copies(shadows, &decision, live, &inputs, values.len() / 2);
    let outcome = live.run(&[&inputs]).map(|mut answers| answer(answers.remove(0)));
    let outcome = outcome.map_err(crate::serving::submit::SubmitError::Model);
    if let Some(copies) = copies {
        copies.pair(live, outcome.as_ref(), || "r-1".to_owned());
    }
}

/// Waits until `holds`.
#[track_caller]
pub fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let began = Instant::now();
    while !holds() {
        assert!(began.elapsed() < Duration::from_secs(30), "waited in vain: {what}");
        std::thread::sleep(Duration::from_millis(1));
    }
}
