//! The system seen from outside: starts the real binary in a folder of its own, talks to it as
//! any client would, and looks that it left nothing behind.
//!
//! A scenario begins with [`Gateway::start`] and ends when the [`Gateway`] is dropped, which
//! stops the process by its own id and asserts that nothing panicked. Nothing here sleeps to
//! let something happen: [`wait::until`] asks again until it has, within a bound.

pub mod answer;
pub mod committed;
pub mod connection;
pub mod gateway;
pub mod grpc;
pub mod invocation;
pub mod listener;
pub mod metrics;
pub mod onnx;
pub mod open_loop;
pub mod rollouts;
pub mod start;
pub mod store;
pub mod tls;
pub mod wait;

pub use answer::Answer;
pub use connection::Connection;
pub use gateway::Gateway;
pub use invocation::Invocation;
pub use listener::{Ask, Listener};
pub use metrics::Metrics;
pub use start::Start;
