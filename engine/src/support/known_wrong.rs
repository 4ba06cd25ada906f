//! Operators that tract 0.23.9 accepts and computes wrongly, found by comparing it with ONNX
//! Runtime over the ONNX backend cases and common exports. Refusing is better than a wrong
//! answer. Look here again when the version of tract changes.

use tract_onnx::pb::tensor_proto::DataType;
use tract_onnx::pb::type_proto::Value;
use tract_onnx::pb::{AttributeProto, ModelProto, NodeProto};

use crate::inspect::{each_graph, each_node};

/// Why `node` would be computed wrongly and what to do, or `None` when it is fine.
pub(super) fn why(proto: &ModelProto, node: &NodeProto) -> Option<&'static str> {
    if !matches!(node.domain.as_str(), "" | "ai.onnx") {
        return None;
    }
    match node.op_type.as_str() {
        "LSTM" | "GRU" | "RNN" if text(node, "direction") == Some(b"reverse") => Some(
            "direction=reverse gives wrong results here: reverse the sequence before and after \
             a forward layer, or use direction=bidirectional",
        ),
        "Celu" if uses_float16(proto) => {
            Some("Celu in float16 gives wrong results here: keep this model in float32")
        }
        "SpaceToDepth" if text(node, "mode").is_some_and(|m| m != b"DCR") => {
            Some("only mode DCR is computed rightly here: use Reshape and Transpose instead")
        }
        _ => None,
    }
}

fn text<'a>(node: &'a NodeProto, attribute: &str) -> Option<&'a [u8]> {
    let found: Option<&AttributeProto> = node.attribute.iter().find(|a| a.name == attribute);
    found.map(|a| a.s.as_slice())
}

/// True when any input, weight or cast of the model is float16. The type of one node's input is
/// only known after analysis, so this errs on the side of refusing.
fn uses_float16(proto: &ModelProto) -> bool {
    let half = DataType::Float16 as i32;
    let mut found = false;
    if let Some(graph) = &proto.graph {
        each_graph(graph, &mut |graph| {
            found |= graph.initializer.iter().any(|t| t.data_type == half);
            found |= graph.input.iter().any(|input| {
                let value = input.r#type.as_ref().and_then(|t| t.value.as_ref());
                matches!(value, Some(Value::TensorType(t)) if t.elem_type == half)
            });
        });
    }
    each_node(proto, &mut |node| {
        let cast_to = node.attribute.iter().find(|a| a.name == "to" || a.name == "dtype");
        found |= cast_to.is_some_and(|a| a.i == i64::from(half));
        found |= node.attribute.iter().any(|a| a.t.as_ref().is_some_and(|t| t.data_type == half));
    });
    found
}
