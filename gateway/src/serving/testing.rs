//! Stand-ins for models, for the tests of this room.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use tokio_util::task::TaskTracker;
use weighbridge_config::{Datatype, ModelName, Signature, Tensor, TensorData, TensorSpec, Version};
use weighbridge_engine::Cost;

use super::compute::Compute;
use super::entry::Lane;
use super::fair::Party;
use super::loaded::{LoadedVersion, RunError, Runner};
use super::queue::Queue;
use super::submit::{Batching, Job};

/// Gives back its input, counts its runs, fails on a row that holds 13 and panics on one that
/// holds 666.
#[derive(Debug, Default)]
pub struct Echo {
    pub runs: AtomicUsize,
    pub largest: AtomicUsize,
}

impl Runner for Arc<Echo> {
    fn run(&self, parts: &[&[Tensor]]) -> Result<Vec<Vec<Tensor>>, RunError> {
        self.runs.fetch_add(1, Ordering::SeqCst);
        let rows = parts.iter().map(|p| p[0].rows()).sum();
        self.largest.fetch_max(rows, Ordering::SeqCst);
        let holds = |value: f32| {
            parts.iter().any(|p| matches!(p[0].data(), TensorData::Fp32(v) if v.contains(&value)))
        };
        assert!(!holds(666.0), "the model panics on 666");
        if holds(13.0) {
            return Err(RunError("13 cannot be served".to_owned()));
        }
        Ok(parts.iter().map(|p| p.to_vec()).collect())
    }
}

/// Runs only when it is told to.
#[derive(Debug)]
pub struct Gated {
    pub open: crossbeam_channel::Receiver<()>,
    pub entered: crossbeam_channel::Sender<usize>,
}

impl Runner for Gated {
    fn run(&self, parts: &[&[Tensor]]) -> Result<Vec<Vec<Tensor>>, RunError> {
        let rows = parts.iter().map(|p| p[0].rows()).sum();
        let _ = self.entered.send(rows);
        let _ = self.open.recv();
        Ok(parts.iter().map(|p| p.to_vec()).collect())
    }
}

pub fn name() -> ModelName {
    "m".parse().unwrap()
}

/// One row of one FP32 in and out. A `slow` version runs on a compute thread.
pub fn version(runner: impl Runner + 'static, is_slow: bool) -> Arc<LoadedVersion> {
    let spec = |name: &str| TensorSpec {
        name: name.to_owned(),
        datatype: Datatype::Fp32,
        shape: vec![-1, 1],
        labels: vec![],
    };
    let signature =
        Signature { inputs: vec![spec("x")], outputs: vec![spec("y")], batchable: true };
    let per_row_us = if is_slow { 1e6 } else { 1.0 };
    let cost = Cost { base_us: 1.0, per_row_us, best_batch_rows: 64 };
    let number = Version::try_from(1).unwrap();
    Arc::new(LoadedVersion::new(name(), number, signature, cost, Box::new(runner)))
}

/// A request of `values.len()` rows.
pub fn job(version: &Arc<LoadedVersion>, values: &[f32]) -> Job {
    let tensor = Tensor::new(vec![values.len(), 1], TensorData::Fp32(values.to_vec())).unwrap();
    let arrived = Instant::now();
    Job {
        version: Arc::clone(version),
        inputs: vec![tensor],
        rows: values.len(),
        arrived,
        deadline: arrived + Duration::from_secs(30),
        lane: Lane::Any,
        party: Party::default(),
    }
}

/// The values of an answer's only output.
pub fn values(outputs: &[Tensor]) -> Vec<f32> {
    match outputs[0].data() {
        TensorData::Fp32(values) => values.clone(),
        other => panic!("wanted floats, got {other:?}"),
    }
}

pub fn batching(max_batch_size: usize) -> Batching {
    Batching { max_batch_size, max_queue_delay: Duration::ZERO, max_queue_size: 1000 }
}

/// A queue and the slots behind it.
pub fn room(slots: usize) -> (Arc<Compute>, Arc<Queue>) {
    (
        Compute::start(slots, TaskTracker::new()).unwrap(),
        Arc::new(Queue::new(name(), Arc::default())),
    )
}

/// Waits until something holds, for at most 30 s.
pub async fn until(holds: impl Fn() -> bool) {
    let limit = Instant::now() + Duration::from_secs(30);
    while !holds() {
        assert!(Instant::now() < limit, "waited 30 s in vain");
        tokio::task::yield_now().await;
    }
}
