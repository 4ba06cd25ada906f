//! What shadows cost a request: the lines that stand around its run.

use std::sync::Arc;
use std::time::Duration;

use criterion::{BatchSize, Criterion, criterion_group, criterion_main};
use weighbridge::serving::entry::Answer;
use weighbridge::serving::loaded::{LoadedVersion, RunError, Runner};
use weighbridge::shadow::{Comparisons, Mirror, Purpose, Rules, ShadowTarget};
use weighbridge_config::rollout::Percent;
use weighbridge_config::settings::Shadow;
use weighbridge_config::{ByteSize, Datatype, Signature, Tensor, TensorData, TensorSpec, Version};
use weighbridge_engine::Cost;
use weighbridge_routing::{Decision, Reason, Variant};

/// Elements of the input: an image of 28 x 28.
const WIDTH: usize = 784;

struct Same;

impl Runner for Same {
    fn run(&self, parts: &[&[Tensor]]) -> Result<Vec<Vec<Tensor>>, RunError> {
        Ok(parts.iter().map(|_| vec![scores()]).collect())
    }
}

fn scores() -> Tensor {
    Tensor::new(vec![1, 10], TensorData::Fp32(vec![0.1; 10])).expect("10 elements")
}

fn version(number: u32, expected_us: f64) -> Arc<LoadedVersion> {
    let spec = |name: &str, width: usize| TensorSpec {
        name: name.to_owned(),
        datatype: Datatype::Fp32,
        shape: vec![-1, width as i64],
        labels: vec![],
    };
    let signature =
        Signature { inputs: vec![spec("x", WIDTH)], outputs: vec![spec("y", 10)], batchable: true };
    let cost = Cost { base_us: expected_us, per_row_us: 0.0, best_batch_rows: 64 };
    let (name, number) =
        ("m".parse().expect("a name"), Version::try_from(number).expect("a number"));
    Arc::new(LoadedVersion::new(name, number, signature, cost, Box::new(Same)))
}

fn target(version: Arc<LoadedVersion>, share: Percent) -> ShadowTarget {
    ShadowTarget {
        sink: Arc::new(Comparisons::new(&version.model, version.version)),
        version,
        share,
        purpose: Purpose::Setting,
        rules: Arc::new(Rules { max_batch_size: 64, ..Rules::default() }),
    }
}

fn mirror(queue: u32) -> Mirror {
    let settings = Shadow {
        cpu_share: 100,
        queue,
        memory: ByteSize::gib(1),
        run_limit: Duration::from_secs(10),
        exemplars: 16,
    };
    Mirror::start(settings, 2).expect("a thread")
}

fn benches(c: &mut Criterion) {
    let mut group = c.benchmark_group("shadow");
    let live = version(1, 1.0);
    let inputs =
        [Tensor::new(vec![1, WIDTH], TensorData::Fp32(vec![0.5; WIDTH])).expect("784 elements")];
    let route = Decision { version: live.version, variant: Variant::Stable, reason: Reason::Route };
    let door = mirror(1000);
    let copies = |mirror: &Mirror, shadows: &[ShadowTarget]| {
        mirror.copies(std::hint::black_box(shadows), &route, &live, &inputs, 1)
    };
    group.bench_function("none_configured", |b| b.iter(|| copies(&door, &[])));

    let never = [target(version(2, 0.0), Percent::points(0))];
    group.bench_function("not_chosen", |b| b.iter(|| copies(&door, &never)));

    // One run that is expected to take an hour uses the budget up.
    let dear = [target(version(3, 3.6e9), Percent::whole(100))];
    let held = copies(&door, &dear);
    assert!(held.is_some() && copies(&door, &dear).is_none());
    group.bench_function("over_budget", |b| b.iter(|| copies(&door, &dear)));
    drop(held);

    let full = mirror(1);
    let cheap = [target(version(4, 0.0), Percent::whole(100))];
    let held = copies(&full, &cheap);
    assert!(held.is_some() && copies(&full, &cheap).is_none());
    group.bench_function("queue_full", |b| b.iter(|| copies(&full, &cheap)));
    drop(held);

    let free = [target(version(5, 0.0), Percent::whole(100))];
    let answer =
        Answer { outputs: vec![scores()], queued: Duration::ZERO, computed: Duration::ZERO };
    group.bench_function("taken_and_given_up", |b| b.iter(|| drop(copies(&door, &free))));
    group.bench_function("taken_and_paired", |b| {
        b.iter_batched(
            || copies(&door, &free),
            |copies| {
                if let Some(copies) = copies {
                    copies.pair(&live, Ok(&answer), || "0123456789abcdef".to_owned());
                }
            },
            BatchSize::PerIteration,
        );
    });
    group.finish();
}

criterion_group! {
    name = all;
    config = Criterion::default()
        .sample_size(20)
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_millis(1000));
    targets = benches
}
criterion_main!(all);
