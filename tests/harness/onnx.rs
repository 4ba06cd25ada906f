//! Tiny models of every kind that the scenarios want, written byte by byte. Those whose answer
//! tells which version ran, and plain networks, come from `load_tests::onnx_file`.

pub mod odd;

use load_tests::onnx_file::{Message, node, tensor};
use load_tests::random::Random;

pub use load_tests::onnx_file::{mlp, tag};

/// `x` FP32 `[N, 4]` to `y` = 8 `x`, doubled three times by a Loop, which the built-in engine has
/// not.
pub const LOOP: &[u8] = include_bytes!("../../engine/tests/fixtures/second_engine/loop.onnx");
/// `x` FP32 `[N, 4]` to `y`, its columns in the order 2, 3, 0, 1, by way of a sequence of tensors.
pub const SEQUENCE: &[u8] =
    include_bytes!("../../engine/tests/fixtures/second_engine/sequence.onnx");

/// Element types of `onnx.proto`.
const FLOAT: u64 = 1;
const INT64: u64 = 7;

/// An axis: of any length, or of this one.
#[derive(Debug, Clone, Copy)]
enum Axis {
    Batch,
    Of(u64),
}

use Axis::{Batch, Of};

/// `x` FP32 `[N, 4]` to `y` = 2 `x`: rows can be told apart.
pub fn doubling() -> Vec<u8> {
    doubling_of(Batch)
}

/// As [`doubling`], traced with one row, as many exporters do: it takes any number all the same.
pub fn doubling_traced_with_one_row() -> Vec<u8> {
    doubling_of(Of(1))
}

/// As [`doubling`], for exactly two rows: requests cannot share a run.
pub fn doubling_two_rows() -> Vec<u8> {
    doubling_of(Of(2))
}

fn doubling_of(rows: Axis) -> Vec<u8> {
    let mut graph = Message::default();
    graph.message(5, tensor("two", &[1], &[2.0]));
    graph.message(1, node("Mul", &["x", "two"], "y"));
    graph.message(11, value("x", FLOAT, &[rows, Of(4)]));
    graph.message(12, value("y", FLOAT, &[rows, Of(4)]));
    model(graph)
}

/// As [`doubling`], after `layers` layers of 256 x 256 whose result is multiplied by zeros: a
/// layer costs about ten microseconds a row.
pub fn slow_doubling(layers: usize) -> Vec<u8> {
    slow_doubling_of(256, layers)
}

/// As [`slow_doubling`], with layers of `width` x `width`.
pub fn slow_doubling_of(width: usize, layers: usize) -> Vec<u8> {
    let mut random = Random::new(7);
    let mut drawn = |rows: usize, columns: usize| -> Vec<f32> {
        let scale = (2.0 / rows as f64).sqrt();
        (0..rows * columns).map(|_| (random.normal() * scale) as f32).collect()
    };
    let mut graph = Message::default();
    graph.message(5, tensor("two", &[1], &[2.0]));
    graph.message(5, tensor("widen", &[4, width], &drawn(4, width)));
    graph.message(5, tensor("layer", &[width, width], &drawn(width, width)));
    graph.message(5, tensor("nothing", &[width, 4], &vec![0.0; width * 4]));
    graph.message(1, node("MatMul", &["x", "widen"], "active0"));
    for number in 0..layers {
        let [input, sum, active] =
            [format!("active{number}"), format!("sum{number}"), format!("active{}", number + 1)];
        graph.message(1, node("MatMul", &[&input, "layer"], &sum));
        graph.message(1, node("Relu", &[&sum], &active));
    }
    graph.message(1, node("MatMul", &[&format!("active{layers}"), "nothing"], "zeros"));
    graph.message(1, node("Mul", &["x", "two"], "doubled"));
    graph.message(1, node("Add", &["doubled", "zeros"], "y"));
    graph.message(11, value("x", FLOAT, &[Batch, Of(4)]));
    graph.message(12, value("y", FLOAT, &[Batch, Of(4)]));
    model(graph)
}

/// `a` and `b` FP32 `[N, 2]` to their sum `y` and their difference `z`.
pub fn sum_and_difference() -> Vec<u8> {
    let mut graph = Message::default();
    graph.message(1, node("Add", &["a", "b"], "y"));
    graph.message(1, node("Sub", &["a", "b"], "z"));
    for input in ["a", "b"] {
        graph.message(11, value(input, FLOAT, &[Batch, Of(2)]));
    }
    for output in ["y", "z"] {
        graph.message(12, value(output, FLOAT, &[Batch, Of(2)]));
    }
    model(graph)
}

/// `a` and `b` FP32 `[N, 2]` to `y` = `a` / `b`: NaN for 0 / 0.
pub fn quotient() -> Vec<u8> {
    let mut graph = Message::default();
    graph.message(1, node("Div", &["a", "b"], "y"));
    for input in ["a", "b"] {
        graph.message(11, value(input, FLOAT, &[Batch, Of(2)]));
    }
    graph.message(12, value("y", FLOAT, &[Batch, Of(2)]));
    model(graph)
}

/// `x` INT64 `[N, 1]` to `y` FP32 `[N, 1]`: 10, 20 or 30 for 0, 1 or 2. The model fails on any
/// other number.
pub fn lookup() -> Vec<u8> {
    lookup_of(&[10.0, 20.0, 30.0])
}

/// As [`lookup`], with a table of these values. The operator looks at nothing before it reads: on
/// a number beyond the table it panics, which the engine survives.
pub fn lookup_of(table: &[f32]) -> Vec<u8> {
    let mut graph = Message::default();
    graph.message(5, tensor("table", &[table.len()], table));
    graph.message(1, node("Gather", &["table", "x"], "y"));
    graph.message(11, value("x", INT64, &[Batch, Of(1)]));
    graph.message(12, value("y", FLOAT, &[Batch, Of(1)]));
    model(graph)
}

/// A model with an operator that nobody has.
pub fn unknown_operator() -> Vec<u8> {
    let mut graph = Message::default();
    graph.message(1, node("Frobnicate", &["x"], "y"));
    graph.message(11, value("x", FLOAT, &[Batch, Of(4)]));
    graph.message(12, value("y", FLOAT, &[Batch, Of(4)]));
    model(graph)
}

fn model(mut graph: Message) -> Vec<u8> {
    graph.text(2, "test");
    let mut opset = Message::default();
    opset.text(1, "");
    opset.number(2, 17);
    let mut model = Message::default();
    model.number(1, 8);
    model.text(2, "weighbridge tests");
    model.message(7, graph);
    model.message(8, opset);
    model.bytes
}

fn value(name: &str, element: u64, axes: &[Axis]) -> Message {
    let mut shape = Message::default();
    for axis in axes {
        let mut dim = Message::default();
        match axis {
            Batch => dim.text(2, "N"),
            Of(length) => dim.number(1, *length),
        }
        shape.message(1, dim);
    }
    let mut tensor = Message::default();
    tensor.number(1, element);
    tensor.message(2, shape);
    let mut kind = Message::default();
    kind.message(1, tensor);
    let mut info = Message::default();
    info.text(1, name);
    info.message(2, kind);
    info
}
