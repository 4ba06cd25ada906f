//! The decision for one request, with a coin and with a sticky key.

use std::collections::BTreeMap;
use std::hint::black_box;
use std::time::Duration;

use criterion::{Criterion, criterion_group, criterion_main};
use weighbridge_config::{Split, Version};
use weighbridge_routing::experiment::{Assignment, Intervals, Slice, Unit};
use weighbridge_routing::{Ask, Availability, Key, ModelRoute, decide};

fn version(number: u32) -> Version {
    Version::try_from(number).expect("a positive number")
}

fn route(weights: &[(u32, u32)]) -> ModelRoute {
    let weights: BTreeMap<Version, u32> = weights.iter().map(|(v, w)| (version(*v), *w)).collect();
    ModelRoute {
        salt: "fraud".to_owned(),
        split: Some(Split::new(&weights).expect("weights that sum to 10,000")),
        aliases: BTreeMap::new(),
        versions: weights.keys().map(|v| (*v, Availability::Loaded)).collect(),
    }
}

fn benches(c: &mut Criterion) {
    let only = route(&[(1, 10_000)]);
    let two = route(&[(1, 9_500), (2, 500)]);
    let five = route(&[(1, 6_000), (2, 1_000), (3, 1_000), (4, 1_000), (5, 1_000)]);
    let mut group = c.benchmark_group("route");
    let mut coin = 1u64;
    for (name, route) in [("one_version", &only), ("two_versions", &two), ("five_versions", &five)]
    {
        group.bench_function(format!("coin/{name}"), |b| {
            b.iter(|| {
                coin = coin.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                decide(black_box(route), Ask::Routed, Key::Coin(coin))
            });
        });
    }
    group.bench_function("sticky/two_versions", |b| {
        b.iter(|| {
            decide(black_box(&two), Ask::Routed, Key::Sticky(black_box(b"customer-1234567")))
        });
    });
    group.bench_function("pinned/two_versions", |b| {
        b.iter(|| decide(black_box(&two), Ask::Version(version(2)), Key::Coin(0)));
    });
    let intervals = Intervals::new(&[5_000, 5_000]).expect("weights that sum to 10,000");
    let layer = Some(("checkout", Slice { from: 0, share: 10_000 }));
    let table = Assignment::new("ex-1", layer, 500, intervals, BTreeMap::new());
    group.bench_function("experiment/layer_holdout_variant", |b| {
        b.iter(|| table.place(black_box(Unit::Key("customer-1234567")), None));
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
