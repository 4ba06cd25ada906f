//! Operators that tract 0.23.9 accepts and computes wrongly, found by comparing it with ONNX
//! Runtime over the ONNX backend cases and common exports. Refusing is better than a wrong
//! answer. Look here again when the version of tract changes.

use tract_onnx::pb::NodeProto;

/// Why `node` would be computed wrongly and what to do, or `None` when it is fine.
pub(super) fn why(node: &NodeProto) -> Option<&'static str> {
    if !matches!(node.domain.as_str(), "" | "ai.onnx") {
        return None;
    }
    match node.op_type.as_str() {
        "QuantizeLinear" | "DequantizeLinear" if number(node, "block_size") != 0 => {
            Some("quantisation in blocks is not served: quantise per tensor or per channel")
        }
        _ => None,
    }
}

fn number(node: &NodeProto, attribute: &str) -> i64 {
    node.attribute.iter().find(|a| a.name == attribute).map_or(0, |a| a.i)
}
