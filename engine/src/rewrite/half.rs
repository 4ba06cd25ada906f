//! Gemm in models that use float16: the runtime's own makes float32 of it and then refuses its
//! own graph. A product and a sum say the same.

use tract_onnx::pb::tensor_proto::DataType;
use tract_onnx::pb::type_proto::Value;
use tract_onnx::pb::{AttributeProto, GraphProto, NodeProto};

use super::names::Fresh;
use crate::inspect::each_graph;
use crate::support::domain;

/// Takes each Gemm with factors of 1 apart, when `graph` uses float16 anywhere: the type of one
/// node's input is only known after analysis, and in float32 both forms are the same.
pub(super) fn products(graph: &mut GraphProto, fresh: &mut Fresh) {
    if uses_half(graph) {
        take_apart(graph, fresh);
    }
}

fn take_apart(graph: &mut GraphProto, fresh: &mut Fresh) {
    let nodes = std::mem::take(&mut graph.node);
    for mut node in nodes {
        for attribute in &mut node.attribute {
            for inner in attribute.g.iter_mut().chain(&mut attribute.graphs) {
                take_apart(inner, fresh);
            }
        }
        let is_plain = ["alpha", "beta"].iter().all(|n| find(&node, n).is_none_or(|a| a.f == 1.0));
        if node.op_type == "Gemm" && domain(&node.domain).is_empty() && is_plain {
            graph.node.extend(apart(&node, &fresh.prefix()));
        } else {
            graph.node.push(node);
        }
    }
}

fn apart(node: &NodeProto, prefix: &str) -> Vec<NodeProto> {
    let mut nodes = Vec::new();
    let mut operands: Vec<String> = node.input.iter().take(2).cloned().collect();
    for (operand, flag) in operands.iter_mut().zip(["transA", "transB"]) {
        if find(node, flag).is_some_and(|a| a.i != 0) {
            // Without an order, Transpose reverses the axes.
            let turned = format!("{prefix}.{flag}");
            nodes.push(made("Transpose", vec![operand.clone()], turned.clone()));
            *operand = turned;
        }
    }
    let output = node.output.first().cloned().unwrap_or_default();
    match node.input.get(2).filter(|bias| !bias.is_empty()) {
        None => nodes.push(made("MatMul", operands, output)),
        Some(bias) => {
            let product = format!("{prefix}.product");
            nodes.push(made("MatMul", operands, product.clone()));
            nodes.push(made("Add", vec![product, bias.clone()], output));
        }
    }
    nodes
}

fn made(op: &str, input: Vec<String>, output: String) -> NodeProto {
    let name = output.clone();
    NodeProto { op_type: op.to_owned(), name, input, output: vec![output], ..Default::default() }
}

fn find<'a>(node: &'a NodeProto, attribute: &str) -> Option<&'a AttributeProto> {
    node.attribute.iter().find(|a| a.name == attribute)
}

/// True when any input, weight, constant or cast is float16.
fn uses_half(graph: &GraphProto) -> bool {
    let half = DataType::Float16 as i32;
    let mut found = false;
    each_graph(graph, &mut |graph| {
        found |= graph.initializer.iter().any(|t| t.data_type == half);
        found |= graph.input.iter().any(|input| {
            let value = input.r#type.as_ref().and_then(|t| t.value.as_ref());
            matches!(value, Some(Value::TensorType(t)) if t.elem_type == half)
        });
        found |= graph.node.iter().flat_map(|n| &n.attribute).any(|a| {
            let is_cast = matches!(&*a.name, "to" | "dtype") && a.i == i64::from(half);
            is_cast || a.t.as_ref().is_some_and(|t| t.data_type == half)
        });
    });
    found
}
