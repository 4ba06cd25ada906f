//! Which version answers a request: a pure function of what the request asks for, its key and
//! the routing table. No clock, no chance, no I/O.
//!
//! A key's point is a hash of (salt, key): SipHash-2-4 with a fixed, published key, so that
//! every replica and every release puts a caller on the same point. Which version owns a point
//! is written in the route itself ([`weighbridge_config::split`]), so a change of one weight
//! moves only the callers it must. [`experiment`] decides the same way which variant of an A/B
//! experiment a caller gets.

mod assign;
mod decide;
pub mod experiment;

pub use assign::{hash_of_key, point_of_coin, point_of_key};
pub use decide::{
    Ask, Availability, Decision, Key, ModelRoute, Reason, Refusal, Variant, decide, decide_variant,
    named,
};
