//! The repository's own rules: what no compiler checks and every reader relies on.
//!
//! Plain text scanning, so that each rule fits in a few lines and says what to do when it is
//! broken. `UPDATE=1 cargo test --release -p weighbridge-tests --test rules` rewrites the
//! tables that follow from the code.

mod documents;
mod manifests;
mod sources;
mod text;
mod tree;
