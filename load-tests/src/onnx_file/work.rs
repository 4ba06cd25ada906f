//! Models with as much work as wanted, whose answer is that of [`tag`](super::tag): products of a
//! matrix with itself, multiplied by zeros in the end.
//!
//! The factors are no weights but come from the input: memory stays small, whatever the work, and
//! neither a neighbour on the machine nor a pause leaves the caches cold.

use super::message::{Columns, integers, model, node, node_with, tensor};
use super::{Message, tagged};

/// The side of the square matrices.
pub(super) const SIDE: usize = 96;
/// Numbers of one matrix.
const WIDTH: usize = SIDE * SIDE;

/// Answers `value` after `steps` products for each row: time is in proportion to `steps` and rows,
/// and batches gain nothing. A step takes about 40 us on a core of 2026; `slow(value, 105)` is 5 %
/// slower than `slow(value, 100)`.
///
/// Vetting: finds nothing; the report of the version has the measured time per row.
pub fn slow(value: f32, steps: usize) -> Vec<u8> {
    let mut graph = Message::default();
    products(&mut graph, "x", steps, "");
    tagged(&mut graph, "worked", WIDTH, value);
    model(graph, "slow", 4, Columns::Of(1))
}

/// Answers `value` after `steps` products for each run: a run of many rows takes as long as one of
/// a single row, so batches gain as much as they can.
///
/// The matrix is made from the sum of all rows, but no answer depends on it.
/// Vetting: finds nothing, as rows do not influence each other.
pub fn per_run(value: f32, steps: usize) -> Vec<u8> {
    let mut graph = Message::default();
    graph.message(5, integers("rows", &[1], &[0]));
    graph.message(1, node_with("ReduceSum", &["x", "rows"], "all", ("keepdims", 1)));
    products(&mut graph, "all", steps, "");
    graph.message(5, tensor("no_work", &[WIDTH, 1], &[0.0; WIDTH]));
    graph.message(5, tensor("no_row", &[4, 1], &[0.0; 4]));
    graph.message(5, tensor("value", &[1], &[value]));
    graph.message(1, node("MatMul", &["worked", "no_work"], "nothing_of_all"));
    graph.message(1, node("MatMul", &["x", "no_row"], "nothing_of_each"));
    graph.message(1, node("Add", &["nothing_of_each", "nothing_of_all"], "nothing"));
    graph.message(1, node("Add", &["nothing", "value"], "y"));
    model(graph, "per_run", 4, Columns::Of(1))
}

/// Answers `value` after `run_steps` products for each run and `row_steps` for each row: batches
/// gain a part of the work, beyond what a measurement on a busy machine could miss. So all who
/// measure what batches pay find the same, and how large a full batch is.
///
/// Vetting: finds nothing, as rows do not influence each other.
pub fn part_per_run(value: f32, run_steps: usize, row_steps: usize) -> Vec<u8> {
    let mut graph = Message::default();
    graph.message(5, integers("rows", &[1], &[0]));
    graph.message(1, node_with("ReduceSum", &["x", "rows"], "all", ("keepdims", 1)));
    products(&mut graph, "all", run_steps, "run_");
    products(&mut graph, "x", row_steps, "");
    graph.message(5, tensor("no_work", &[WIDTH, 1], &[0.0; WIDTH]));
    graph.message(5, tensor("value", &[1], &[value]));
    graph.message(1, node("MatMul", &["run_worked", "no_work"], "nothing_of_all"));
    graph.message(1, node("MatMul", &["worked", "no_work"], "nothing_of_each"));
    graph.message(1, node("Add", &["nothing_of_each", "nothing_of_all"], "nothing"));
    graph.message(1, node("Add", &["nothing", "value"], "y"));
    model(graph, "part_per_run", 4, Columns::Of(1))
}

/// Makes a matrix of each row of `input` (`[rows, 4]`), multiplies it with itself again and again,
/// and leaves it as `worked` (`[rows, WIDTH]`); `prefix` is put before each name.
fn products(graph: &mut Message, input: &str, steps: usize, prefix: &str) {
    let named = |name: &str| format!("{prefix}{name}");
    let [widen_by, square, flat, wide] = ["widen", "square", "flat", "wide"].map(named);
    // Any numbers will do; these need no seed.
    let widen: Vec<f32> = (0..4 * WIDTH).map(|i| ((i % 17) as f32 - 8.0) / 8.0).collect();
    graph.message(5, tensor(&widen_by, &[4, WIDTH], &widen));
    graph.message(5, integers(&square, &[3], &[0, SIDE as i64, SIDE as i64]));
    graph.message(5, integers(&flat, &[2], &[0, WIDTH as i64]));
    graph.message(1, node("MatMul", &[input, &widen_by], &wide));
    graph.message(1, node("Reshape", &[&wide, &square], &named("matrix0")));
    for step in 0..steps {
        let [from, product, to] =
            [format!("matrix{step}"), format!("product{step}"), format!("matrix{}", step + 1)]
                .map(|name| named(&name));
        graph.message(1, node("MatMul", &[&from, &from], &product));
        // Keeps values in (-1, 1): they would overflow, and zero times infinity is not zero.
        graph.message(1, node("Tanh", &[&product], &to));
    }
    let last = named(&format!("matrix{steps}"));
    graph.message(1, node("Reshape", &[&last, &flat], &named("worked")));
}
