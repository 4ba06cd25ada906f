//! Tree ensembles: a pure module without types of the runtime.
//!
//! A forest is kept twice. [`Forest`] is the plain form, one node after the other as the file
//! lists them; it can walk any forest and is the truth that the tests compare with. [`packed`]
//! is the fast form: all comparisons brought to `x <= t`, eight bytes a node, sixteen rows
//! walked abreast. A forest that does not fit the fast form (comparisons for equality, shared
//! nodes) is served by the plain one.
//!
//! Layout and choice follow measurements of eight layouts on common models: packed nodes with
//! 16 rows abreast were fastest or within 3 % of it in 21 of 22 cases; SIMD gathers lost to
//! sixteen scalar chains in flight, so there are no intrinsics.

mod ensemble;
mod finish;
mod forest;
mod packed;
mod transform;
mod value;

pub use ensemble::Ensemble;
pub use finish::{Aggregate, Classification, Label, Regression};
pub use forest::{Forest, Mode, NodeLists, WeightLists};
pub use transform::Transform;
pub(crate) use transform::{logistic, probit};
pub use value::Value;

#[cfg(test)]
mod tests;
