//! The fast form of a forest against the plain one, on forests of common sizes.
//!
//! Each call takes other rows out of a large pool, so that no branch predictor learns one row.
//! Read the ratio of `packed` to `plain` of the same size, not the absolute times.

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use std::hint::black_box;
use weighbridge_engine::trees::{Aggregate, Ensemble, Forest, Mode, NodeLists, WeightLists};

const FEATURES: usize = 30;
const POOL: usize = 4096;

/// A small generator with a fixed start: the same forest each time, without a dependency.
struct Dice(u64);

impl Dice {
    fn next(&mut self) -> u64 {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        self.0 >> 33
    }

    fn unit(&mut self) -> f32 {
        (self.next() % 1_000_000) as f32 / 1e6
    }
}

#[derive(Default)]
struct Lists {
    tree: Vec<i64>,
    node: Vec<i64>,
    feature: Vec<i64>,
    modes: Vec<Mode>,
    threshold: Vec<f32>,
    yes: Vec<i64>,
    no: Vec<i64>,
    leaf_tree: Vec<i64>,
    leaf_node: Vec<i64>,
    column: Vec<i64>,
    weight: Vec<f32>,
}

impl Lists {
    /// Grows a node; a branch ends early with a chance of `early`, which makes trees lopsided.
    fn grow(
        &mut self,
        dice: &mut Dice,
        tree: i64,
        next: &mut i64,
        depth: usize,
        early: f32,
        columns: usize,
    ) -> i64 {
        let number = *next;
        *next += 1;
        let at = self.node.len();
        self.tree.push(tree);
        self.node.push(number);
        self.feature.push((dice.next() % FEATURES as u64) as i64);
        self.threshold.push(dice.unit());
        self.yes.push(0);
        self.no.push(0);
        if depth == 0 || (number > 0 && dice.unit() < early) {
            self.modes.push(Mode::Leaf);
            let fed = if columns == 1 { 0..1 } else { 0..columns };
            for column in fed {
                self.leaf_tree.push(tree);
                self.leaf_node.push(number);
                self.column.push(column as i64);
                self.weight.push(dice.unit());
            }
        } else {
            self.modes.push(Mode::Leq);
            self.yes[at] = self.grow(dice, tree, next, depth - 1, early, columns);
            self.no[at] = self.grow(dice, tree, next, depth - 1, early, columns);
        }
        number
    }
}

fn ensemble(trees: usize, depth: usize, early: f32, columns: usize) -> Ensemble<f32> {
    let mut lists = Lists::default();
    let mut dice = Dice(7);
    for tree in 0..trees {
        lists.grow(&mut dice, tree as i64, &mut 0, depth, early, columns);
    }
    let nodes = NodeLists {
        tree_ids: &lists.tree,
        node_ids: &lists.node,
        features: &lists.feature,
        modes: lists.modes.clone(),
        thresholds: lists.threshold.clone(),
        yes_ids: &lists.yes,
        no_ids: &lists.no,
        nan_yes: &[],
    };
    let leaves = WeightLists {
        tree_ids: &lists.leaf_tree,
        node_ids: &lists.leaf_node,
        columns: &lists.column,
        weights: lists.weight.clone(),
    };
    let forest = Forest::new(&nodes, &leaves, columns).expect("a sound forest");
    let ensemble = Ensemble::new(forest, Aggregate::Sum);
    assert!(ensemble.is_fast());
    ensemble
}

fn benches(c: &mut Criterion) {
    let mut dice = Dice(3);
    let pool: Vec<f32> = (0..POOL * FEATURES).map(|_| dice.unit()).collect();
    for (name, trees, depth, early, columns) in [
        ("boosted_depth_3", 100, 3, 0.0, 1),
        ("boosted_depth_6", 100, 6, 0.1, 1),
        ("lopsided_depth_16", 100, 16, 0.35, 1),
        ("forest_depth_8", 100, 8, 0.05, 1),
        ("forest_ten_classes", 50, 8, 0.1, 10),
    ] {
        let ensemble = ensemble(trees, depth, early, columns);
        let mut group = c.benchmark_group(name);
        for rows in [1usize, 16, 64] {
            group.throughput(Throughput::Elements(rows as u64));
            for (form, plainly) in [("packed", false), ("plain", true)] {
                let mut from = 0;
                group.bench_function(BenchmarkId::new(form, rows), |b| {
                    b.iter(|| {
                        from = (from + rows) % (POOL - rows);
                        let x = &pool[from * FEATURES..(from + rows) * FEATURES];
                        let sink = |_: usize, scores: &[f32], _: &[bool]| {
                            black_box(scores[0]);
                        };
                        match plainly {
                            true => ensemble.for_each_row_plainly(x, FEATURES, sink),
                            false => ensemble.for_each_row(x, FEATURES, sink),
                        }
                    });
                });
            }
        }
        group.finish();
    }
}

criterion_group!(all, benches);
criterion_main!(all);
