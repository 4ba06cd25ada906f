//! What the file declares about its inputs and outputs, before the runtime sees it.
//!
//! Names come from here: the optimiser renames and merges nodes.

use std::collections::{HashMap, HashSet};

use tract_onnx::pb::tensor_proto::DataType;
use tract_onnx::pb::tensor_shape_proto::dimension::Value as Dim;
use tract_onnx::pb::type_proto::Value;
use tract_onnx::pb::{GraphProto, NodeProto, ValueInfoProto};
use tract_onnx::prelude::DatumType;
use weighbridge_config::Datatype;

use crate::error::{Error, ErrorKind};
use crate::exchange::datatype;
use crate::ops;

/// One axis of an input as the file declares it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Axis {
    Fixed(usize),
    /// Free, with a name that other axes may share.
    Named(String),
    Free,
}

#[derive(Debug, Clone)]
pub(crate) struct DeclaredInput {
    pub name: String,
    pub datatype: Datatype,
    pub axes: Vec<Axis>,
}

/// One output: its name and the class names behind its columns, when the model carries them.
#[derive(Debug, Clone)]
pub(crate) struct DeclaredOutput {
    pub name: String,
    pub labels: Vec<String>,
}

/// The inputs that a caller feeds. Files of the old format list their weights among the inputs;
/// those have a value already.
pub(crate) fn inputs(graph: &GraphProto) -> Result<Vec<DeclaredInput>, Error> {
    let weights: HashSet<&str> = graph.initializer.iter().map(|t| &*t.name).collect();
    let fed = graph.input.iter().filter(|i| !weights.contains(&*i.name));
    let inputs = fed.map(input).collect::<Result<Vec<_>, _>>()?;
    if inputs.is_empty() {
        let message = "loading the model: it has no inputs, so there is nothing to predict from";
        return Err(Error::new(ErrorKind::Signature, message));
    }
    Ok(inputs)
}

fn input(info: &ValueInfoProto) -> Result<DeclaredInput, Error> {
    let refused = |detail: &str| {
        let message = format!("loading the model: input \"{}\": {detail}", info.name);
        Error::new(ErrorKind::Signature, message)
    };
    let Some(Value::TensorType(tensor)) = info.r#type.as_ref().and_then(|t| t.value.as_ref())
    else {
        return Err(refused("it is not a tensor; sequences and maps are not supported"));
    };
    let datatype = DataType::try_from(tensor.elem_type)
        .ok()
        .and_then(|t| DatumType::try_from(t).ok())
        .and_then(datatype)
        .ok_or_else(|| refused("its element type cannot be served"))?;
    let Some(shape) = &tensor.shape else {
        return Err(refused("the file does not say how many axes it has: export with a shape"));
    };
    let axes = shape.dim.iter().map(|d| axis(d.value.as_ref())).collect();
    Ok(DeclaredInput { name: info.name.clone(), datatype, axes })
}

fn axis(value: Option<&Dim>) -> Axis {
    match value {
        // Some exporters write 0 or a negative number for "any".
        Some(Dim::DimValue(n)) => {
            usize::try_from(*n).ok().filter(|n| *n > 0).map_or(Axis::Free, Axis::Fixed)
        }
        Some(Dim::DimParam(name)) if !is_made_up(name) => Axis::Named(name.clone()),
        _ => Axis::Free,
    }
}

/// Names that exporters invent afresh for each input, so that two of them do not mean that two
/// axes differ: tf2onnx writes unk__12, PyTorch x_dynamic_axes_1.
fn is_made_up(name: &str) -> bool {
    name.is_empty() || name == "?" || name.starts_with("unk__") || name.contains("dynamic_axes_")
}

pub(crate) fn outputs(graph: &GraphProto) -> Vec<DeclaredOutput> {
    let producers: HashMap<&str, (&NodeProto, usize)> = graph
        .node
        .iter()
        .flat_map(|n| n.output.iter().enumerate().map(move |(slot, o)| (&**o, (n, slot))))
        .collect();
    let output = |info: &ValueInfoProto| DeclaredOutput {
        name: info.name.clone(),
        labels: labels(&producers, &info.name),
    };
    graph.output.iter().map(output).collect()
}

/// Follows `name` back to a ZipMap or to the scores of a classifier, over operators that keep
/// the columns in place.
fn labels(producers: &HashMap<&str, (&NodeProto, usize)>, name: &str) -> Vec<String> {
    const FARTHEST: usize = 8;
    let mut name = name;
    for _ in 0..FARTHEST {
        let Some((node, slot)) = producers.get(name) else { return vec![] };
        let is_scores = *slot == 1 && node.op_type.ends_with("Classifier");
        if node.domain == "ai.onnx.ml" && (is_scores || node.op_type == "ZipMap") {
            return ops::class_labels(node);
        }
        let keeps_columns =
            matches!(&*node.op_type, "Identity" | "Cast" | "Normalizer" | "Softmax" | "Sigmoid");
        match node.input.first() {
            Some(input) if keeps_columns => name = input,
            _ => return vec![],
        }
    }
    vec![]
}
