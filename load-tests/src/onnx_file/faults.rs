//! Real models that go wrong: each takes `x` FP32 `[N, 4]` and answers `y` FP32 `[N, 1]` like
//! [`tag`](super::tag) (but for [`other_shape`]), so that it can be the canary of a healthy one.
//!
//! Vetting loads a file and runs it on made-up rows: 1, 2 and 5 rows of `0, 1, 0, 1`, then two
//! rows of values in [0, 1), together and alone. An error or a strange value there is only noted;
//! a panic rejects the version. Each model says what vetting finds; all of them pass, since a
//! fault that vetting finds never meets a user.

use super::Message;
use super::message::{Columns, Element, cast, integers, model, node, node_with, tensor};
pub use super::work::slow;

/// Takes its answer from a table of `limit` places by the whole part of `x[0]`: right (`value`)
/// while that is below `limit`, a failed run when it is not.
///
/// The operator is `Gather`, whose index nothing checks before it is used: the runtime (0.23.9)
/// panics there, which the engine turns into an error.
/// Vetting: `x[0]` is below 1 in each of its rows, so it finds nothing.
///
/// # Panics
/// When `limit` is 0: a table without places fits no input.
pub fn gather_fault(value: f32, limit: usize) -> Vec<u8> {
    assert!(limit > 0, "a table needs at least one place");
    let mut graph = Message::default();
    column(&mut graph, 0);
    graph.message(5, tensor("table", &[limit], &vec![value; limit]));
    graph.message(1, cast("column", Element::Int64, "place"));
    graph.message(1, node("Gather", &["table", "place"], "y"));
    model(graph, "gather_fault", 4, Columns::Of(1))
}

/// As [`gather_fault`], by an operator that looks before it reads (`GatherElements`): the run
/// fails with an error, without a panic.
///
/// Vetting: finds nothing, as there.
///
/// # Panics
/// When `limit` is 0.
pub fn fails(value: f32, limit: usize) -> Vec<u8> {
    assert!(limit > 0, "a table needs at least one place");
    let mut graph = Message::default();
    column(&mut graph, 0);
    graph.message(5, tensor("zeros", &[4, limit], &vec![0.0; 4 * limit]));
    graph.message(5, tensor("value", &[limit], &vec![value; limit]));
    graph.message(1, node("MatMul", &["x", "zeros"], "nothing"));
    graph.message(1, node("Add", &["nothing", "value"], "table"));
    graph.message(1, cast("column", Element::Int64, "place"));
    graph.message(1, node_with("GatherElements", &["table", "place"], "y", ("axis", 1)));
    model(graph, "fails", 4, Columns::Of(1))
}

/// Answers `value` x `x[1]` / `x[1]`: `value`, but NaN when `x[1]` is 0.
///
/// Vetting: `x[1]` is never 0 in its rows, so it finds nothing (and a NaN would not trouble it).
pub fn divides(value: f32) -> Vec<u8> {
    let mut graph = Message::default();
    column(&mut graph, 1);
    graph.message(5, tensor("value", &[1], &[value]));
    graph.message(1, node("Div", &["column", "column"], "one"));
    graph.message(1, node("Mul", &["one", "value"], "y"));
    model(graph, "divides", 4, Columns::Of(1))
}

/// Where [`panics`] does: while the whole part of `x[1]` is this.
pub const PANICS_AT: f32 = 5.0;

/// Answers `value`, but panics inside an operator when the whole part of `x[1]` is
/// [`PANICS_AT`]: it divides 32-bit integers, and the divisor is 0 then.
///
/// Vetting: `x[1]` is at most 1 in its rows, so it finds nothing.
pub fn panics(value: f32) -> Vec<u8> {
    let mut graph = Message::default();
    column(&mut graph, 1);
    graph.message(5, tensor("forbidden", &[1], &[PANICS_AT]));
    graph.message(5, tensor("value", &[1], &[value]));
    graph.message(1, node("Sub", &["column", "forbidden"], "distance"));
    graph.message(1, node("Floor", &["distance"], "whole"));
    // No 64-bit integers: the runtime takes them for symbolic sizes, and divides those by 0.
    graph.message(1, cast("whole", Element::Int32, "divisor"));
    graph.message(1, node("Div", &["divisor", "divisor"], "quotient"));
    graph.message(1, cast("quotient", Element::Float, "one"));
    graph.message(1, node("Mul", &["one", "value"], "y"));
    model(graph, "panics", 4, Columns::Of(1))
}

/// How a model with another output shape declares it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Declared {
    /// `[N, 2]`, as it answers: found by comparing signatures.
    Openly,
    /// `[N, K]` with a free `K`, known only once it has answered.
    Hidden,
}

/// Answers `value` twice in each row: `y` FP32 `[N, 2]` where the healthy model has `[N, 1]`.
///
/// Vetting: finds nothing wrong; the signature in the version's report has `[-1, 2]` or `[-1, -1]`.
pub fn other_shape(value: f32, declared: Declared) -> Vec<u8> {
    let mut graph = Message::default();
    let width = match declared {
        Declared::Openly => 2,
        Declared::Hidden => 3,
    };
    let wide = if declared == Declared::Openly { "y" } else { "three" };
    graph.message(5, tensor("zeros", &[4, width], &vec![0.0; 4 * width]));
    graph.message(5, tensor("value", &[1], &[value]));
    graph.message(1, node("MatMul", &["x", "zeros"], "nothing"));
    graph.message(1, node("Add", &["nothing", "value"], wide));
    if declared == Declared::Openly {
        return model(graph, "other_shape", 4, Columns::Of(2));
    }
    // The greatest 2 of 3; that it is 2 (2.5 and almost nothing, cut) shows with an input only.
    // A `Slice` up to a calculated end would be plainer, but the runtime (0.23.9) cannot run it.
    graph.message(5, tensor("tiny", &[1], &[1e-30]));
    graph.message(5, tensor("more_than_two", &[1], &[2.5]));
    graph.message(5, integers("one_number", &[1], &[1]));
    graph.message(1, node_with("ReduceSum", &["x"], "sum", ("keepdims", 0)));
    graph.message(1, node("Mul", &["sum", "tiny"], "almost_nothing"));
    graph.message(1, node("Add", &["almost_nothing", "more_than_two"], "count"));
    graph.message(1, cast("count", Element::Int64, "whole_count"));
    graph.message(1, node("Reshape", &["whole_count", "one_number"], "two"));
    let mut greatest = node("TopK", &["three", "two"], "y");
    greatest.text(2, "places");
    graph.message(1, greatest);
    model(graph, "other_shape", 4, Columns::Free("K"))
}

/// Adds `column`: column `index` of `x`, FP32 `[N, 1]`.
fn column(graph: &mut Message, index: i64) {
    graph.message(5, integers("from", &[1], &[index]));
    graph.message(5, integers("to", &[1], &[index + 1]));
    graph.message(5, integers("columns", &[1], &[1]));
    graph.message(1, node("Slice", &["x", "from", "to", "columns"], "column"));
}
