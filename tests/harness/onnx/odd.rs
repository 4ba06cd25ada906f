//! Models that somebody made wrongly, or to do harm.

use super::{Axis, FLOAT, INT64, Message, model, node, value};
use Axis::{Batch, Of};

fn input_and_output(graph: &mut Message) {
    graph.message(11, value("x", FLOAT, &[Batch, Of(4)]));
    graph.message(12, value("y", FLOAT, &[Batch, Of(4)]));
}

fn initializer(name: &str, element: u64, dims: &[u64]) -> Message {
    let mut tensor = Message::default();
    for dim in dims {
        tensor.number(1, *dim);
    }
    tensor.number(2, element);
    tensor.text(8, name);
    tensor
}

/// Two nodes of which each waits for the other.
pub fn cyclic() -> Vec<u8> {
    let mut graph = Message::default();
    graph.message(1, node("Add", &["x", "b"], "a"));
    graph.message(1, node("Add", &["a", "x"], "b"));
    graph.message(1, node("Identity", &["b"], "y"));
    input_and_output(&mut graph);
    model(graph)
}

/// A weight of 2^62 by 8 elements, with four bytes of data.
pub fn overflowing_weight() -> Vec<u8> {
    let mut graph = Message::default();
    let mut weight = initializer("w", FLOAT, &[1 << 62, 8]);
    weight.data(9, &[0, 0, 128, 63]);
    graph.message(5, weight);
    graph.message(1, node("MatMul", &["x", "w"], "y"));
    input_and_output(&mut graph);
    model(graph)
}

/// An input whose rows have 2^62 elements.
pub fn overflowing_input() -> Vec<u8> {
    let mut graph = Message::default();
    graph.message(1, node("Identity", &["x"], "y"));
    graph.message(11, value("x", FLOAT, &[Batch, Of(1 << 62)]));
    graph.message(12, value("y", FLOAT, &[Batch, Of(1 << 62)]));
    model(graph)
}

/// A few bytes that ask for a tensor of 2^42 floats.
pub fn enormous_constant() -> Vec<u8> {
    let mut graph = Message::default();
    let mut shape = initializer("shape", INT64, &[2]);
    shape.data(9, &[1u64 << 21, 1 << 21].map(u64::to_le_bytes).concat());
    graph.message(5, shape);
    graph.message(1, node("ConstantOfShape", &["shape"], "zeros"));
    graph.message(1, node("ReduceSum", &["zeros"], "sum"));
    graph.message(1, node("Add", &["x", "sum"], "y"));
    input_and_output(&mut graph);
    model(graph)
}

/// `y` = `x` times a `[4, 4]` weight, whose bytes are those from `offset` on in the file
/// `location`; `copies` weights of the same bytes, added up.
pub fn external(location: &str, offset: &str, copies: usize) -> Vec<u8> {
    let entry = |key: &str, value: &str| {
        let mut entry = Message::default();
        entry.text(1, key);
        entry.text(2, value);
        entry
    };
    let mut graph = Message::default();
    let mut sum = "w0".to_owned();
    for copy in 0..copies {
        let name = format!("w{copy}");
        let mut weight = initializer(&name, FLOAT, &[4, 4]);
        weight.message(13, entry("location", location));
        weight.message(13, entry("offset", offset));
        weight.number(14, 1);
        graph.message(5, weight);
        if copy > 0 {
            let more = format!("sum{copy}");
            graph.message(1, node("Add", &[&sum, &name], &more));
            sum = more;
        }
    }
    graph.message(1, node("MatMul", &["x", &sum], "y"));
    input_and_output(&mut graph);
    model(graph)
}
