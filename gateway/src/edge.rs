//! Everything between a socket and a handler, one file per concern; [`stack`] puts them in
//! order.

pub mod answer;
pub mod auth;
pub mod body;
pub mod door;
pub mod drain;
pub mod first_bytes;
pub mod flood;
pub mod idle;
pub mod limit;
pub mod listener;
pub mod permits;
pub mod problem;
pub mod request_id;
pub mod stack;
pub mod tls;
