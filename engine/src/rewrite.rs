//! From a decoded model to one that the runtime reads rightly: protobuf in, protobuf out.
//!
//! What can be said in other operators is said in them here, before anything is looked up or
//! built, so that neither the register nor the runtime has to know of it.

mod functions;
mod half;
mod integer_operators;
mod names;
mod quantised;

pub(crate) use quantised::JOINED;
use tract_onnx::pb::ModelProto;

use crate::error::Error;

/// The domain of operators that exist in rewritten models only.
pub(crate) const DOMAIN: &str = "weighbridge";

/// Rewrites `proto`, which was decoded from `onnx`: functions inlined, integer operators taken
/// apart, quantising and dequantising in a row joined, Gemm in float16 said in products and sums.
///
/// # Errors
/// [`crate::ErrorKind::Unsupported`] for functions that call each other in a circle,
/// [`crate::ErrorKind::TooLarge`] when inlining would make the model grow beyond all measure.
pub(crate) fn rewrite(proto: &mut ModelProto, onnx: &[u8]) -> Result<(), Error> {
    functions::inline(proto, onnx)?;
    if let Some(graph) = &mut proto.graph {
        let mut fresh = names::Fresh::of(graph);
        integer_operators::take_apart(graph, &mut fresh);
        quantised::join(graph);
        half::products(graph, &mut fresh);
    }
    Ok(())
}
