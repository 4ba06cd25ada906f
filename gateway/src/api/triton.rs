//! Triton's extensions of the protocol, over REST and for [`crate::api::grpc`]. What they say is
//! put together once, as messages of gRPC, and written as JSON where REST asks.

pub mod config;
pub mod log_settings;
pub mod repository;
pub mod statistics;
