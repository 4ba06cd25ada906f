//! Load for Weighbridge, over the wire only: nothing here names another crate of the workspace.
//!
//! - [`steady`]: open loop at a fixed arrival rate, latency from the intended time.
//! - [`saturate`]: closed loop, the gateway beside the bare handler (`examples/bare.rs`).
//! - [`scenario`]: releases of good and bad models on a gateway of its own, many times over.
//! - [`onnx_file`]: writes tiny ONNX models; the system tests use it too.
//!
//! The generator is one thread over non-blocking sockets ([`connection`]), because it shares its
//! cores with the server it measures: what it spends, the server cannot.

pub mod admin;
pub mod body;
pub mod cli;
pub mod connection;
pub mod http;
pub mod latency;
pub mod onnx_file;
pub mod process;
pub mod random;
pub mod saturate;
pub mod scenario;
pub mod schedule;
pub mod steady;
pub mod stop;
#[cfg(test)]
mod testing;
