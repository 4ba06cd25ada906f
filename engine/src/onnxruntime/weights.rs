//! Weights that sessions share.
//!
//! The library packs the weights of a matrix product or a convolution into another layout. It
//! shares the packed form between sessions for weights that it was given from outside only
//! (`AddInitializer`), so large ones are.

use std::sync::Arc;

use ort::value::{DynValue, Tensor};
use tract_onnx::pb::tensor_proto::DataType;
use tract_onnx::pb::{GraphProto, TensorProto};

/// Smaller weights are not worth an entry in the table of what is shared, and their values may
/// be needed while the graph is optimised (shapes, axes, scales).
const LEAST_BYTES: usize = 16 << 10;

/// The large weights of `graph` by name. Those in another form than raw bytes are left out: no
/// exporter writes large ones so.
pub(super) fn shared(graph: &GraphProto) -> Vec<(String, Arc<DynValue>)> {
    graph.initializer.iter().filter_map(|w| Some((w.name.clone(), Arc::new(value(w)?)))).collect()
}

fn value(weight: &TensorProto) -> Option<DynValue> {
    let raw = &weight.raw_data;
    if raw.len() < LEAST_BYTES || weight.name.is_empty() {
        return None;
    }
    let shape = weight.dims.clone();
    Some(match DataType::try_from(weight.data_type).ok()? {
        DataType::Float => {
            let values =
                raw.as_chunks().0.iter().map(|b| f32::from_le_bytes(*b)).collect::<Vec<_>>();
            Tensor::from_array((shape, values)).ok()?.into_dyn()
        }
        DataType::Int8 => {
            let values = raw.iter().map(|b| b.cast_signed()).collect::<Vec<_>>();
            Tensor::from_array((shape, values)).ok()?.into_dyn()
        }
        DataType::Uint8 => Tensor::from_array((shape, raw.clone())).ok()?.into_dyn(),
        _ => return None,
    })
}
