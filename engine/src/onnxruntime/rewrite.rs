//! What is changed in a file before ONNX Runtime reads it.
//!
//! * ZipMap, which makes a map from class to score of each row, becomes Identity: the tensor of
//!   scores stays one, and the class names are labels of the output, as with the other engine.
//! * An axis 0 that the exporter fixed to the 1 it traced with becomes free, to try whether the
//!   model carries more rows through.
//!
//! Field numbers are those of onnx.proto.

use std::collections::HashSet;

use tract_onnx::pb::tensor_proto::DataType;
use tract_onnx::pb::{GraphProto, NodeProto};

use super::wire::{Field, fields, last, put, put_number, replace};
use crate::error::{Error, ErrorKind};

const ML: &str = "ai.onnx.ml";
/// The name of a freed axis 0; the same in all inputs, since they share it.
const ROWS: &[u8] = b"weighbridge.rows";

/// The changes that a model needs.
pub(super) struct Rewrite {
    /// Outputs of ZipMap.
    maps: HashSet<String>,
    /// The inputs whose axis 0 becomes free.
    freed: HashSet<String>,
}

impl Rewrite {
    pub(super) fn of(graph: &GraphProto, free_rows: bool) -> Self {
        let maps = graph.node.iter().filter(|n| is_zip_map(n)).flat_map(|n| n.output.clone());
        let weights: HashSet<&str> = graph.initializer.iter().map(|t| &*t.name).collect();
        let fed = graph.input.iter().filter(|i| free_rows && !weights.contains(&*i.name));
        Self { maps: maps.collect(), freed: fed.map(|i| i.name.clone()).collect() }
    }

    /// The changed file, `None` when there is nothing to change.
    ///
    /// # Errors
    /// [`ErrorKind::NotOnnx`] when the file is not made of fields after all.
    pub(super) fn apply(&self, onnx: &[u8]) -> Result<Option<Vec<u8>>, Error> {
        if self.maps.is_empty() && self.freed.is_empty() {
            return Ok(None);
        }
        let torn = || Error::new(ErrorKind::NotOnnx, "reading the model: a field does not end");
        self.model(onnx).map(Some).ok_or_else(torn)
    }

    fn model(&self, model: &[u8]) -> Option<Vec<u8>> {
        const GRAPH: u64 = 7;
        const OPSET_IMPORT: u64 = 8;
        let mut torn = false;
        let mut out = replace(model, GRAPH, |graph| {
            let changed = self.graph(graph);
            torn |= changed.is_none();
            changed
        })?;
        if torn {
            return None;
        }
        let imports_default = fields(model)?.iter().filter(|f| f.number == OPSET_IMPORT).any(|f| {
            let domain = f.payload.and_then(fields).and_then(|f| last(&f, 1));
            matches!(domain.unwrap_or_default(), b"" | b"ai.onnx")
        });
        if !imports_default {
            // Identity is of the default domain, which a file of ai.onnx.ml alone need not import.
            let mut import = Vec::new();
            put(&mut import, 1, b"");
            put_number(&mut import, 2, 13);
            put(&mut out, OPSET_IMPORT, &import);
        }
        Some(out)
    }

    fn graph(&self, graph: &[u8]) -> Option<Vec<u8>> {
        const NODE: u64 = 1;
        const INPUT: u64 = 11;
        const OUTPUT: u64 = 12;
        const VALUE_INFO: u64 = 13;
        let mut out = Vec::with_capacity(graph.len());
        for field in fields(graph)? {
            let Some(payload) = field.payload else {
                out.extend_from_slice(field.whole);
                continue;
            };
            let changed = match field.number {
                NODE => self.node(payload)?,
                INPUT => self.input(payload)?,
                OUTPUT => self.output(payload)?,
                // What was noted about values inside holds for one row only, or is a map.
                VALUE_INFO if !self.freed.is_empty() || self.is_map(payload)? => continue,
                _ => None,
            };
            match changed {
                Some(changed) => put(&mut out, field.number, &changed),
                None => out.extend_from_slice(field.whole),
            }
        }
        Some(out)
    }

    /// ZipMap as Identity. The outer option is for torn messages, the inner one for no change.
    #[allow(clippy::option_option, reason = "two kinds of nothing")]
    fn node(&self, node: &[u8]) -> Option<Option<Vec<u8>>> {
        const INPUT: u64 = 1;
        const OUTPUT: u64 = 2;
        const NAME: u64 = 3;
        const OP_TYPE: u64 = 4;
        const DOMAIN: u64 = 7;
        if self.maps.is_empty() {
            return Some(None);
        }
        let fields = fields(node)?;
        let is = |number, wanted: &str| last(&fields, number) == Some(wanted.as_bytes());
        if !is(OP_TYPE, "ZipMap") || !is(DOMAIN, ML) {
            return Some(None);
        }
        let kept = |f: &&Field<'_>| matches!(f.number, INPUT | OUTPUT | NAME);
        let mut identity: Vec<u8> =
            fields.iter().filter(kept).flat_map(|f| f.whole).copied().collect();
        put(&mut identity, OP_TYPE, b"Identity");
        Some(Some(identity))
    }

    fn is_map(&self, value_info: &[u8]) -> Option<bool> {
        Some(self.maps.contains(&*name_of(value_info)?))
    }

    /// The first axis of a tensor that is fed, without its length.
    #[allow(clippy::option_option, reason = "two kinds of nothing")]
    fn input(&self, value_info: &[u8]) -> Option<Option<Vec<u8>>> {
        if !self.freed.contains(&*name_of(value_info)?) {
            return Some(None);
        }
        let changed = in_tensor_type(value_info, |tensor| {
            const SHAPE: u64 = 2;
            const DIMENSION: u64 = 1;
            replace(tensor, SHAPE, |shape| {
                let mut is_first = true;
                replace(shape, DIMENSION, |dimension| {
                    if !std::mem::take(&mut is_first) {
                        return Some(dimension.to_vec());
                    }
                    let mut free = Vec::new();
                    const NAME: u64 = 2;
                    put(&mut free, NAME, ROWS);
                    Some(free)
                })
            })
        });
        Some(changed)
    }

    /// An output without its shape where that is no longer true, as a tensor where it was a map.
    #[allow(clippy::option_option, reason = "two kinds of nothing")]
    fn output(&self, value_info: &[u8]) -> Option<Option<Vec<u8>>> {
        let name = name_of(value_info)?;
        if self.maps.contains(&*name) {
            return Some(Some(scores(&name)));
        }
        if self.freed.is_empty() {
            return Some(None);
        }
        const SHAPE: u64 = 2;
        Some(in_tensor_type(value_info, |tensor| replace(tensor, SHAPE, |_| None)))
    }
}

pub(super) fn is_zip_map(node: &NodeProto) -> bool {
    node.op_type == "ZipMap" && node.domain == ML
}

fn name_of(value_info: &[u8]) -> Option<String> {
    let fields = fields(value_info)?;
    Some(String::from_utf8_lossy(last(&fields, 1).unwrap_or_default()).into_owned())
}

/// `value_info` with its tensor type changed; `None` when it is not a tensor.
fn in_tensor_type(
    value_info: &[u8],
    mut change: impl FnMut(&[u8]) -> Option<Vec<u8>>,
) -> Option<Vec<u8>> {
    const TYPE: u64 = 2;
    const TENSOR: u64 = 1;
    replace(value_info, TYPE, |r#type| replace(r#type, TENSOR, &mut change))
}

/// The description of an output of float scores, of any shape.
fn scores(name: &str) -> Vec<u8> {
    const NAME: u64 = 1;
    const TYPE: u64 = 2;
    const TENSOR: u64 = 1;
    const ELEMENT: u64 = 1;
    let (mut tensor, mut r#type, mut value_info) = (Vec::new(), Vec::new(), Vec::new());
    put_number(&mut tensor, ELEMENT, DataType::Float as u64);
    put(&mut r#type, TENSOR, &tensor);
    put(&mut value_info, NAME, name.as_bytes());
    put(&mut value_info, TYPE, &r#type);
    value_info
}
