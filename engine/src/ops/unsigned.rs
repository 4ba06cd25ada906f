//! Constants of uint32 and uint64 that are written as numbers and not as bytes.
//!
//! The standard puts both into the field `uint64_data`, which the runtime does not read. So
//! before the graph is built they become bytes.

use tract_onnx::pb::tensor_proto::DataType;
use tract_onnx::pb::{GraphProto, ModelProto, TensorProto};

/// A copy of `proto` in which all such constants are bytes; `None` when there is nothing to do.
pub(super) fn as_bytes(proto: &ModelProto) -> Option<ModelProto> {
    let graph = proto.graph.as_ref()?;
    if !holds_any(graph) {
        return None;
    }
    let mut proto = proto.clone();
    rewrite(proto.graph.as_mut()?);
    Some(proto)
}

fn is_written_out(tensor: &TensorProto) -> bool {
    tensor.raw_data.is_empty() && !tensor.uint64_data.is_empty()
}

fn holds_any(graph: &GraphProto) -> bool {
    graph.initializer.iter().any(is_written_out)
        || graph.node.iter().flat_map(|node| &node.attribute).any(|attribute| {
            attribute.t.iter().any(is_written_out)
                || attribute.g.iter().chain(&attribute.graphs).any(holds_any)
        })
}

fn rewrite(graph: &mut GraphProto) {
    let of_nodes = graph.node.iter_mut().flat_map(|node| &mut node.attribute);
    for attribute in of_nodes {
        attribute.t.iter_mut().for_each(pack);
        attribute.g.iter_mut().chain(&mut attribute.graphs).for_each(rewrite);
    }
    graph.initializer.iter_mut().for_each(pack);
}

fn pack(tensor: &mut TensorProto) {
    if !is_written_out(tensor) {
        return;
    }
    let numbers = std::mem::take(&mut tensor.uint64_data);
    let bytes: Vec<u8> = if tensor.data_type == DataType::Uint32 as i32 {
        numbers.iter().flat_map(|number| (*number as u32).to_le_bytes()).collect()
    } else {
        numbers.iter().flat_map(|number| number.to_le_bytes()).collect()
    };
    tensor.raw_data = bytes;
}
