//! TreeEnsembleClassifier and TreeEnsembleRegressor, versions 1 and 3.
//!
//! The forest itself is in [`crate::trees`]; here its attributes are read and its scores become
//! tensors.

use std::sync::OnceLock;

use tract_onnx::pb::NodeProto;
use tract_onnx::prelude::tract_num_traits::Zero;
use tract_onnx::prelude::*;
use tract_onnx::tract_hir::internal::*;

use super::attributes;
use super::kernel::{
    Fact, Kernel, expect_numbers, filled, rows_and_width, rows_and_width_facts, values,
};
use super::labels::Labels;
use crate::trees::{
    Aggregate, Classification, Ensemble, Forest, Label, Mode, NodeLists, Regression, Transform,
    Value, WeightLists,
};

/// A number type that the attributes can be read as.
pub(super) trait Attribute: Value + Datum + Zero + Default {
    fn list(node: &NodeProto, name: &str) -> TractResult<Vec<Self>>;

    /// Rounded to the type.
    fn from_f64(value: f64) -> Self;
}

impl Attribute for f32 {
    fn list(node: &NodeProto, name: &str) -> TractResult<Vec<f32>> {
        Ok(attributes::floats(node, name)?.to_vec())
    }

    fn from_f64(value: f64) -> f32 {
        value as f32
    }
}

impl Attribute for f64 {
    /// The `*_as_tensor` form, else the list of floats.
    fn list(node: &NodeProto, name: &str) -> TractResult<Vec<f64>> {
        if let Some(doubles) = attributes::doubles(node, &format!("{name}_as_tensor"))? {
            return Ok(doubles);
        }
        Ok(attributes::floats(node, name)?.iter().map(|v| f64::from(*v)).collect())
    }

    fn from_f64(value: f64) -> f64 {
        value
    }
}

fn has_doubles(node: &NodeProto) -> bool {
    node.attribute.iter().any(|a| a.name.ends_with("_as_tensor"))
}

fn read_forest<T: Attribute>(
    node: &NodeProto,
    leaves: &str,
    columns: usize,
) -> TractResult<Forest<T>> {
    let mode = |name: String| Mode::parse(&name).with_context(|| format!("the node mode {name}"));
    let nodes = NodeLists {
        tree_ids: attributes::ints(node, "nodes_treeids")?,
        node_ids: attributes::ints(node, "nodes_nodeids")?,
        features: attributes::ints(node, "nodes_featureids")?,
        modes: attributes::texts(node, "nodes_modes")?
            .into_iter()
            .map(mode)
            .collect::<TractResult<_>>()?,
        thresholds: T::list(node, "nodes_values")?,
        yes_ids: attributes::ints(node, "nodes_truenodeids")?,
        no_ids: attributes::ints(node, "nodes_falsenodeids")?,
        nan_yes: attributes::ints(node, "nodes_missing_value_tracks_true")?,
    };
    let weights = WeightLists {
        tree_ids: attributes::ints(node, &format!("{leaves}_treeids"))?,
        node_ids: attributes::ints(node, &format!("{leaves}_nodeids"))?,
        columns: attributes::ints(node, &format!("{leaves}_ids"))?,
        weights: T::list(node, &format!("{leaves}_weights"))?,
    };
    Forest::new(&nodes, &weights, columns).map_err(|reason| format_err!("the trees: {reason}"))
}

fn read_transform(node: &NodeProto) -> TractResult<Transform> {
    let name = attributes::text(node, "post_transform", "NONE")?;
    Transform::parse(name).with_context(|| format!("the post_transform {name}"))
}

/// Rows of features as `T`: borrowed when they are that already.
pub(super) fn score_rows<T: Attribute>(
    ensemble: &Ensemble<T>,
    x: &Tensor,
    sink: impl FnMut(usize, &[T], &[bool]),
) -> TractResult<()> {
    let (rows, width) = rows_and_width(x.shape())?;
    ensure!(
        width >= ensemble.features() || rows == 0,
        "rows of {width} features, the trees read {}",
        ensemble.features()
    );
    let x = x.cast_to::<T>()?;
    let x = values::<T>(&x)?;
    if width == 0 && rows > 0 {
        // Trees of single leaves read nothing: rows of width 0 cannot be told apart.
        bail!("rows without features");
    }
    ensemble.for_each_row(x, width, sink);
    Ok(())
}

/// A kernel for f32 rows, and one for f64 rows made when the first of them comes: comparing
/// them as f32 could turn a walk. A file with double attributes has the latter only.
#[derive(Debug)]
struct ByType<S, D> {
    single: Option<S>,
    double: OnceLock<D>,
}

#[derive(Debug)]
struct Classifier<T> {
    ensemble: Ensemble<T>,
    finish: Classification<T>,
}

#[derive(Debug)]
struct TreeClassifier {
    by_type: ByType<Classifier<f32>, Classifier<f64>>,
    labels: Labels,
    transform: Transform,
    base: Vec<f32>,
}

pub(super) fn read_classifier(node: &NodeProto) -> TractResult<Box<dyn Kernel>> {
    let labels = Labels::read(node, "classlabels_int64s")?;
    let transform = read_transform(node)?;
    let base = f32::list(node, "base_values")?;
    let by_type = if has_doubles(node) {
        let forest = read_forest::<f64>(node, "class", labels.len())?;
        let double = classifier(forest, f64::list(node, "base_values")?, transform)?;
        ByType { single: None, double: OnceLock::from(double) }
    } else {
        let forest = read_forest::<f32>(node, "class", labels.len())?;
        let single = classifier(forest, base.clone(), transform)?;
        ByType { single: Some(single), double: OnceLock::new() }
    };
    Ok(Box::new(TreeClassifier { by_type, labels, transform, base }))
}

fn classifier<T: Value>(
    forest: Forest<T>,
    base: Vec<T>,
    transform: Transform,
) -> TractResult<Classifier<T>> {
    let finish = Classification::new(&forest, base, transform)
        .map_err(|reason| format_err!("the classes: {reason}"))?;
    Ok(Classifier { ensemble: Ensemble::new(forest, Aggregate::Sum), finish })
}

impl Kernel for TreeClassifier {
    fn name(&self) -> &'static str {
        "TreeEnsembleClassifier"
    }

    fn output_count(&self) -> usize {
        2
    }

    fn facts(&self, inputs: &[Fact]) -> TractResult<Vec<Fact>> {
        expect_numbers(&inputs[0])?;
        let (rows, _) = rows_and_width_facts(&inputs[0].1)?;
        Ok(vec![
            (self.labels.datum_type(), tvec!(rows.clone())),
            (f32::datum_type(), tvec!(rows, self.labels.len().to_dim())),
        ])
    }

    fn eval(&self, inputs: &[&Tensor]) -> TractResult<Vec<Tensor>> {
        let x = inputs[0];
        match &self.by_type.single {
            Some(single) if x.datum_type() != f64::datum_type() => self.answer(single, x),
            single => {
                if let (Some(single), None) = (single, self.by_type.double.get()) {
                    let base = self.base.iter().map(|b| f64::from(*b)).collect();
                    let double =
                        classifier(single.ensemble.forest().widened(), base, self.transform)?;
                    // Another thread may have been first; both made the same.
                    let _ = self.by_type.double.set(double);
                }
                self.answer(self.by_type.double.get().context("no trees")?, x)
            }
        }
    }
}

impl TreeClassifier {
    fn answer<T: Attribute>(&self, kernel: &Classifier<T>, x: &Tensor) -> TractResult<Vec<Tensor>> {
        let (rows, _) = rows_and_width(x.shape())?;
        let classes = self.labels.len();
        let mut picked = vec![Label::Class(0); rows];
        let scores = filled(&[rows, classes], |out| {
            score_rows(&kernel.ensemble, x, |row, sums, seen| {
                let out = &mut out[row * classes..][..classes];
                picked[row] = kernel.finish.finish(sums, seen, out);
            })
        })?;
        Ok(vec![self.label_tensor(&picked)?, scores])
    }

    fn label_tensor(&self, picked: &[Label]) -> TractResult<Tensor> {
        if let Labels::Ints(names) = &self.labels {
            return filled(&[picked.len()], |out| {
                for (out, label) in out.iter_mut().zip(picked) {
                    *out = match *label {
                        Label::Class(k) => names[k],
                        Label::Bare(number) => number as i64,
                    };
                }
                Ok(())
            });
        }
        let number = |label: &Label| match *label {
            Label::Class(k) | Label::Bare(k) => k,
        };
        self.labels.of(&picked.iter().map(number).collect::<Vec<_>>())
    }
}

#[derive(Debug)]
pub(super) struct Regressor<T> {
    pub ensemble: Ensemble<T>,
    pub finish: Regression<T>,
}

#[derive(Debug)]
struct TreeRegressor {
    by_type: ByType<Regressor<f32>, Regressor<f64>>,
    targets: usize,
}

pub(super) fn read_regressor(node: &NodeProto) -> TractResult<Box<dyn Kernel>> {
    let targets: usize = node.get_attr_opt("n_targets")?.unwrap_or(1);
    ensure!(targets > 0, "n_targets is 0");
    let by_type = if has_doubles(node) {
        ByType { single: None, double: OnceLock::from(regressor::<f64>(node, targets)?) }
    } else {
        ByType { single: Some(regressor::<f32>(node, targets)?), double: OnceLock::new() }
    };
    Ok(Box::new(TreeRegressor { by_type, targets }))
}

fn regressor<T: Attribute>(node: &NodeProto, targets: usize) -> TractResult<Regressor<T>> {
    let name = attributes::text(node, "aggregate_function", "SUM")?;
    let aggregate =
        Aggregate::parse(name).with_context(|| format!("the aggregate_function {name}"))?;
    let forest = read_forest::<T>(node, "target", targets)?;
    let base = T::list(node, "base_values")?;
    ensure!(
        base.is_empty() || base.len() == targets,
        "{} base values for {targets} targets",
        base.len()
    );
    let finish =
        Regression { aggregate, base, transform: read_transform(node)?, trees: forest.trees() };
    Ok(Regressor { ensemble: Ensemble::new(forest, aggregate), finish })
}

impl Regressor<f32> {
    fn widened(&self) -> Regressor<f64> {
        let finish = Regression {
            aggregate: self.finish.aggregate,
            base: self.finish.base.iter().map(|b| f64::from(*b)).collect(),
            transform: self.finish.transform,
            trees: self.finish.trees,
        };
        let ensemble = Ensemble::new(self.ensemble.forest().widened(), finish.aggregate);
        Regressor { ensemble, finish }
    }
}

impl Kernel for TreeRegressor {
    fn name(&self) -> &'static str {
        "TreeEnsembleRegressor"
    }

    fn facts(&self, inputs: &[Fact]) -> TractResult<Vec<Fact>> {
        expect_numbers(&inputs[0])?;
        let (rows, _) = rows_and_width_facts(&inputs[0].1)?;
        Ok(vec![(f32::datum_type(), tvec!(rows, self.targets.to_dim()))])
    }

    fn eval(&self, inputs: &[&Tensor]) -> TractResult<Vec<Tensor>> {
        let x = inputs[0];
        let answer = match &self.by_type.single {
            Some(single) if x.datum_type() != f64::datum_type() => self.answer(single, x)?,
            Some(single) => self.answer(self.by_type.double.get_or_init(|| single.widened()), x)?,
            None => self.answer(self.by_type.double.get().context("no trees")?, x)?,
        };
        Ok(vec![answer])
    }
}

impl TreeRegressor {
    fn answer<T: Attribute>(&self, kernel: &Regressor<T>, x: &Tensor) -> TractResult<Tensor> {
        let (rows, _) = rows_and_width(x.shape())?;
        filled(&[rows, self.targets], |out| {
            score_rows(&kernel.ensemble, x, |row, sums, seen| {
                kernel.finish.finish(sums, seen, &mut out[row * self.targets..][..self.targets]);
            })
        })
    }
}
