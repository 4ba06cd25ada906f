//! Shadow versions: they see copies of requests that others answered, and answer nobody.
//!
//! The way of a copy: [`mirror`] draws each shadow's own coin before the live run, sheds what
//! does not fit the budget before anything is cloned, and pairs the copy with the live outcome
//! once that is there → one low-priority thread ([`worker`]) runs the shadow → [`pair`] compares
//! → [`comparisons`] counts and keeps the worst disagreements ([`exemplars`]).
//!
//! * [`budget`]: how much compute copies may take, and how shadows share it. Pure.
//! * [`target`]: which versions are shadows of a model, and by which rules they are compared.
//! * [`report`]: what a shadow has come to, for people and programs.
//!
//! Nothing here waits, locks or runs on the way of an answer, and nothing here counts for a
//! version's own request metrics.

pub mod budget;
pub mod comparisons;
pub mod exemplars;
pub mod mirror;
pub mod pair;
pub mod report;
pub mod spread;
pub mod target;
mod worker;

pub use comparisons::{Comparisons, Dropped, PairCounts};
pub use mirror::Mirror;
pub use report::ShadowReport;
pub use target::{Purpose, Rules, ShadowTarget};

#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;
