//! Wire form ⇄ tensors, without I/O: the Open Inference Protocol v2 in JSON and with binary
//! tensor data ([`v2`]), the `/v1` forms of TF Serving and KServe ([`v1`]), tensors as plain
//! bytes ([`raw`]), and files of golden cases ([`golden`]).
//!
//! Numbers are decoded straight into typed buffers ([`elements`]): no generic JSON tree
//! stands in between, and nothing larger than a small multiple of the body is allocated. What
//! came is then held against the model's signature ([`bind`]); each mistake is a
//! [`BadRequest`] that names the thing, what came and what was wanted.

mod bare;
pub mod bind;
pub mod classification;
pub mod elements;
mod error;
pub mod golden;
mod output;
pub mod parameters;
pub mod raw;
pub mod v1;
pub mod v2;
mod write;

pub use bind::{Bound, NamedTensor, bind};
pub use error::BadRequest;
pub use output::Output;
pub use parameters::{Parameter, Parameters};
