//! What the gateway promises, tried from outside on the real binary. One file per topic.
#![expect(clippy::disallowed_methods, reason = "tasks end with the runtime of their scenario")]

mod bad_input;
mod bad_models;
mod batching;
mod connections;
mod crashes;
mod demo;
mod engines;
mod experiments;
mod external_data;
mod front_door;
mod golden;
mod grpc;
mod independence;
mod keys;
mod memory;
mod rollouts;
mod shadow;
mod splitting;
mod starting;
mod steps;
mod stopping;
mod switching;
mod telemetry;
mod tls;
mod tokens;
