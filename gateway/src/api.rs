//! Handlers, thin: they read a request, call, and write the answer. [`routes`] lists them all.

pub mod admin;
pub mod admit;
pub mod ask;
mod awake;
pub mod extract;
pub mod feedback;
pub mod grpc;
pub mod health;
pub mod metadata;
pub mod metrics;
pub mod openapi;
pub mod predict;
pub mod routes;
pub mod triton;
pub mod v1_metadata;
