//! What the gateway promises, tried from outside on the real binary. One file per topic.

mod bad_input;
mod bad_models;
mod batching;
mod crashes;
mod demo;
mod independence;
mod keys;
mod splitting;
mod starting;
mod steps;
mod stopping;
mod switching;
mod telemetry;
