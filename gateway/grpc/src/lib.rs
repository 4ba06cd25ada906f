//! The gRPC face: messages and service made from `proto/inference.proto`.

/// Messages, the service's trait and its client.
#[allow(missing_debug_implementations, clippy::all)]
pub mod inference {
    tonic::include_proto!("inference");
}

pub mod codec;
pub mod convert;

/// The definition, for the reflection service.
pub const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/inference.bin"));
