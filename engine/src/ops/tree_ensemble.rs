//! TreeEnsemble, version 5: one operator for what were classifier and regressor, its trees in
//! interior nodes and leaves, tests for membership in a set among its comparisons.
//!
//! The trees become lists as the older operators have them, and the same forest.

use std::collections::HashMap;

use tract_onnx::pb::tensor_proto::DataType;
use tract_onnx::pb::{NodeProto, TensorProto};
use tract_onnx::prelude::*;
use tract_onnx::tract_hir::internal::*;

use super::attributes;
use super::kernel::{Fact, Kernel, filled, rows_and_width, rows_and_width_facts};
use super::trees::{Attribute, Regressor, score_rows};
use crate::trees::{
    Aggregate, Ensemble, Forest, Mode, NodeLists, Regression, Transform, WeightLists,
};

/// Trees that share nodes are written out, so a small file could ask for any number.
const MOST_NODES: usize = 1 << 26;

/// The trees in the type of the file's numbers; halves are f32 here.
#[derive(Debug)]
enum Trees {
    Single(Regressor<f32>),
    Double(Regressor<f64>),
}

#[derive(Debug)]
struct TreeEnsemble {
    trees: Trees,
    targets: usize,
    /// The type of rows and answers.
    datum_type: DatumType,
}

pub(super) fn read(node: &NodeProto) -> TractResult<Box<dyn Kernel>> {
    let targets: usize = node.get_attr_opt("n_targets")?.unwrap_or(1);
    ensure!(targets > 0, "n_targets is 0");
    let weights: &TensorProto = node.get_attr("leaf_weights")?;
    let (trees, datum_type) = match DataType::try_from(weights.data_type) {
        Ok(DataType::Double) => (Trees::Double(regressor(node, targets)?), DatumType::F64),
        Ok(DataType::Float) => (Trees::Single(regressor(node, targets)?), DatumType::F32),
        Ok(DataType::Float16) => (Trees::Single(regressor(node, targets)?), DatumType::F16),
        other => bail!("leaf_weights of {other:?}"),
    };
    Ok(Box::new(TreeEnsemble { trees, targets, datum_type }))
}

fn regressor<T: Attribute>(node: &NodeProto, targets: usize) -> TractResult<Regressor<T>> {
    let aggregate = match node.get_attr_opt("aggregate_function")?.unwrap_or(1i64) {
        0 => Aggregate::Average,
        1 => Aggregate::Sum,
        2 => Aggregate::Min,
        3 => Aggregate::Max,
        other => bail!("the aggregate_function {other}"),
    };
    // The numbers of the standard; ONNX Runtime 1.31 takes 1 for 2 and 2 for 1.
    let transform = match node.get_attr_opt("post_transform")?.unwrap_or(0i64) {
        0 => "NONE",
        1 => "SOFTMAX",
        2 => "LOGISTIC",
        3 => "SOFTMAX_ZERO",
        4 => "PROBIT",
        other => bail!("the post_transform {other}"),
    };
    let transform = Transform::parse(transform).context("a post_transform")?;
    let forest = forest::<T>(node, targets)?;
    let finish = Regression { aggregate, base: vec![], transform, trees: forest.trees() };
    Ok(Regressor { ensemble: Ensemble::new(forest, aggregate), finish })
}

fn forest<T: Attribute>(node: &NodeProto, targets: usize) -> TractResult<Forest<T>> {
    let file = File::<T>::read(node)?;
    let mut lists = Lists::default();
    for (tree, root) in (0..).zip(attributes::ints(node, "tree_roots")?) {
        file.add_tree(tree, *root, &mut lists)?;
    }
    let nodes = NodeLists {
        tree_ids: &lists.trees,
        node_ids: &lists.numbers,
        features: &lists.features,
        modes: lists.modes,
        thresholds: lists.thresholds,
        yes_ids: &lists.yes,
        no_ids: &lists.no,
        nan_yes: &lists.nan_yes,
    };
    let leaves = WeightLists {
        tree_ids: &lists.leaf_trees,
        node_ids: &lists.leaf_numbers,
        columns: &lists.columns,
        weights: lists.weights,
    };
    Forest::new(&nodes, &leaves, targets).map_err(|reason| format_err!("the trees: {reason}"))
}

/// The attributes as they are.
struct File<'a, T> {
    features: &'a [i64],
    tests: Vec<Test<T>>,
    yes: Branches<'a>,
    no: Branches<'a>,
    nan_yes: &'a [i64],
    columns: &'a [i64],
    weights: Vec<T>,
}

/// Where one answer of each node leads to, and whether that is a leaf.
struct Branches<'a> {
    to: &'a [i64],
    is_leaf: &'a [i64],
}

/// What a node asks: how the feature compares with the one threshold, or (by [`Mode::Eq`]) whether
/// it is one of several values.
struct Test<T> {
    mode: Mode,
    thresholds: Vec<T>,
}

/// A node or a leaf of the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Place {
    at: usize,
    is_leaf: bool,
}

impl<'a, T: Attribute> File<'a, T> {
    fn read(node: &'a NodeProto) -> TractResult<Self> {
        let numbers = |name: &str| -> TractResult<Vec<T>> {
            let values = attributes::doubles(node, name)?.unwrap_or_default();
            Ok(values.into_iter().map(T::from_f64).collect())
        };
        let branches = |to, is_leaf| -> TractResult<Branches<'a>> {
            Ok(Branches {
                to: attributes::ints(node, to)?,
                is_leaf: attributes::ints(node, is_leaf)?,
            })
        };
        let tests = tests(
            &attributes::bytes(node, "nodes_modes")?,
            numbers("nodes_splits")?,
            &numbers("membership_values")?,
        )?;
        let file = Self {
            features: attributes::ints(node, "nodes_featureids")?,
            tests,
            yes: branches("nodes_truenodeids", "nodes_trueleafs")?,
            no: branches("nodes_falsenodeids", "nodes_falseleafs")?,
            nan_yes: attributes::ints(node, "nodes_missing_value_tracks_true")?,
            columns: attributes::ints(node, "leaf_targetids")?,
            weights: numbers("leaf_weights")?,
        };
        let count = file.tests.len();
        let lists = [file.features, file.yes.to, file.yes.is_leaf, file.no.to, file.no.is_leaf];
        ensure!(lists.iter().all(|l| l.len() == count), "the nodes_* have different lengths");
        ensure!(
            file.nan_yes.is_empty() || file.nan_yes.len() == count,
            "{} nodes_missing_value_tracks_true for {count} nodes",
            file.nan_yes.len()
        );
        ensure!(file.columns.len() == file.weights.len(), "the leaf_* have different lengths");
        Ok(file)
    }

    /// Lists the nodes that can be reached from `root`, the root first.
    fn add_tree(&self, tree: i64, root: i64, lists: &mut Lists<T>) -> TractResult<()> {
        let root = self.place(root, false)?;
        let (yes, no) = self.children(root)?;
        // A tree of one leaf is written as a node with this leaf on both sides.
        let first = if yes == no && yes.is_leaf { yes } else { root };
        let mut numbers = HashMap::from([(first, 0i64)]);
        let mut open = vec![first];
        while let Some(place) = open.pop() {
            ensure!(lists.numbers.len() < MOST_NODES, "more than {MOST_NODES} nodes");
            let number = numbers[&place];
            if place.is_leaf {
                lists.add_leaf(tree, number, self.columns[place.at], self.weights[place.at]);
                continue;
            }
            let (yes, no) = self.children(place)?;
            for child in [yes, no] {
                let next = numbers.len() as i64;
                numbers.entry(child).or_insert_with(|| {
                    open.push(child);
                    next
                });
            }
            lists.add_node(
                Node {
                    tree,
                    number,
                    feature: self.features[place.at],
                    yes: numbers[&yes],
                    no: numbers[&no],
                    nan_yes: self.nan_yes.get(place.at).copied().unwrap_or(0),
                },
                &self.tests[place.at],
            );
        }
        Ok(())
    }

    fn children(&self, of: Place) -> TractResult<(Place, Place)> {
        let child = |b: &Branches<'_>| self.place(b.to[of.at], b.is_leaf[of.at] != 0);
        Ok((child(&self.yes)?, child(&self.no)?))
    }

    fn place(&self, at: i64, is_leaf: bool) -> TractResult<Place> {
        let count = if is_leaf { self.weights.len() } else { self.tests.len() };
        let found = usize::try_from(at).ok().filter(|at| *at < count);
        let kind = if is_leaf { "leaf" } else { "node" };
        let at = found.with_context(|| format!("{kind} {at} of {count}"))?;
        Ok(Place { at, is_leaf })
    }
}

/// One test per node; the i-th test for membership has the i-th of the sets, which end in NaN.
fn tests<T: Attribute>(modes: &[u8], splits: Vec<T>, members: &[T]) -> TractResult<Vec<Test<T>>> {
    let (count, splits_count) = (modes.len(), splits.len());
    ensure!(count == splits_count, "{splits_count} nodes_splits for {count} nodes");
    let mut sets = members.split(|member| member.is_nan());
    let test = |(mode, split): (&u8, T)| {
        let mode = match mode {
            0 => Mode::Leq,
            1 => Mode::Lt,
            2 => Mode::Gte,
            3 => Mode::Gt,
            4 => Mode::Eq,
            5 => Mode::Neq,
            6 => {
                let set = sets.next().context("there are fewer sets than tests for membership")?;
                // Nothing equals NaN: nothing is one of no values.
                let none = set.is_empty().then_some(T::NAN);
                let thresholds = set.iter().copied().chain(none).collect();
                return Ok(Test { mode: Mode::Eq, thresholds });
            }
            other => bail!("the node mode {other}"),
        };
        Ok(Test { mode, thresholds: vec![split] })
    };
    modes.iter().zip(splits).map(test).collect()
}

/// The lists of the older operators.
#[derive(Default)]
struct Lists<T> {
    trees: Vec<i64>,
    numbers: Vec<i64>,
    features: Vec<i64>,
    modes: Vec<Mode>,
    thresholds: Vec<T>,
    yes: Vec<i64>,
    no: Vec<i64>,
    nan_yes: Vec<i64>,
    leaf_trees: Vec<i64>,
    leaf_numbers: Vec<i64>,
    columns: Vec<i64>,
    weights: Vec<T>,
    /// How many nodes stand for further values of a set.
    further: i64,
}

/// One node, without its test.
#[derive(Clone, Copy)]
struct Node {
    tree: i64,
    number: i64,
    feature: i64,
    yes: i64,
    no: i64,
    nan_yes: i64,
}

impl<T: Attribute> Lists<T> {
    /// A node per threshold: each leads to the next one when it does not hold, the last one to
    /// the node's other side.
    fn add_node(&mut self, node: Node, test: &Test<T>) {
        let mut number = node.number;
        for (place, threshold) in (1..).zip(&test.thresholds) {
            let mut no = node.no;
            if place < test.thresholds.len() {
                // Numbers that no node of the file has.
                self.further += 1;
                no = -self.further;
            }
            self.push(Node { number, no, ..node }, test.mode, *threshold);
            number = no;
        }
    }

    fn add_leaf(&mut self, tree: i64, number: i64, column: i64, weight: T) {
        self.push(
            Node { tree, number, feature: 0, yes: 0, no: 0, nan_yes: 0 },
            Mode::Leaf,
            T::ZERO,
        );
        self.leaf_trees.push(tree);
        self.leaf_numbers.push(number);
        self.columns.push(column);
        self.weights.push(weight);
    }

    fn push(&mut self, node: Node, mode: Mode, threshold: T) {
        self.trees.push(node.tree);
        self.numbers.push(node.number);
        self.features.push(node.feature);
        self.yes.push(node.yes);
        self.no.push(node.no);
        self.nan_yes.push(node.nan_yes);
        self.modes.push(mode);
        self.thresholds.push(threshold);
    }
}

impl Kernel for TreeEnsemble {
    fn name(&self) -> &'static str {
        "TreeEnsemble"
    }

    fn facts(&self, inputs: &[Fact]) -> TractResult<Vec<Fact>> {
        let (dt, shape) = &inputs[0];
        ensure!(*dt == self.datum_type, "an input of {dt:?} for trees of {:?}", self.datum_type);
        let (rows, _) = rows_and_width_facts(shape)?;
        Ok(vec![(self.datum_type, tvec!(rows, self.targets.to_dim()))])
    }

    fn eval(&self, inputs: &[&Tensor]) -> TractResult<Vec<Tensor>> {
        let answer = match &self.trees {
            Trees::Single(trees) => self.answer(trees, inputs[0])?,
            Trees::Double(trees) => self.answer(trees, inputs[0])?,
        };
        Ok(vec![answer.cast_to_dt(self.datum_type)?.into_owned()])
    }
}

impl TreeEnsemble {
    fn answer<T: Attribute>(&self, trees: &Regressor<T>, x: &Tensor) -> TractResult<Tensor> {
        let (rows, _) = rows_and_width(x.shape())?;
        let finish = &trees.finish;
        filled::<T>(&[rows, self.targets], |out| {
            let mut answers = vec![0.0; self.targets];
            score_rows(&trees.ensemble, x, |row, sums, seen| {
                let out = &mut out[row * self.targets..][..self.targets];
                if finish.transform == Transform::None {
                    // Sums of doubles stay doubles.
                    for ((out, sum), seen) in out.iter_mut().zip(sums).zip(seen) {
                        let averages = finish.aggregate == Aggregate::Average;
                        let divisor = T::from_count(if averages { finish.trees } else { 1 });
                        *out = if *seen { *sum / divisor } else { T::ZERO };
                    }
                } else {
                    finish.finish(sums, seen, &mut answers);
                    for (out, answer) in out.iter_mut().zip(&answers) {
                        *out = T::from_f64(f64::from(*answer));
                    }
                }
            })
        })
    }
}
