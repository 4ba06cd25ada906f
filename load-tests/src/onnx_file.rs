//! Writes tiny ONNX models byte by byte, so that load and system tests need no Python and no
//! exporter: the same seed gives the same file, hence the same digest, on every machine.
//!
//! ONNX is Protocol Buffers; a message is a run of `(field << 3 | wire type)` keys, each followed
//! by a varint or by a length and that many bytes. The three calls of [`Message`] are all that a
//! dense network needs. Field numbers are those of `onnx.proto` (opset 17, IR version 8).

use crate::random::Random;

const FLOAT: u64 = 1;
const IR_VERSION: u64 = 8;
const OPSET: u64 = 17;
/// The symbolic batch axis that each input and output starts with.
const BATCH: &str = "N";

/// A multi-layer perceptron: `x` FP32 `[N, layers.first]` to `y` FP32 `[N, layers.last]`.
///
/// Gemm layers with a Relu after each but the last; weights are He-initialised from `seed`, so
/// values stay in range whatever the depth. Make the layers larger for a slower model.
///
/// # Panics
/// When `layers` names fewer than two sizes, or a size of zero: the caller's mistake.
pub fn mlp(layers: &[usize], seed: u64) -> Vec<u8> {
    assert!(
        layers.len() >= 2 && layers.iter().all(|&size| size > 0),
        "an mlp needs at least two layer sizes, none of them zero"
    );
    let mut random = Random::new(seed);
    let mut graph = Message::default();
    let last = layers.len() - 2;
    let mut input = "x".to_owned();
    for (index, pair) in layers.windows(2).enumerate() {
        let (rows, columns) = (pair[0], pair[1]);
        let (weights, bias) = (format!("w{index}"), format!("b{index}"));
        let scale = (2.0 / rows as f64).sqrt();
        let drawn: Vec<f32> =
            (0..rows * columns).map(|_| (random.normal() * scale) as f32).collect();
        graph.message(5, tensor(&weights, &[rows, columns], &drawn));
        graph.message(5, tensor(&bias, &[columns], &vec![0.01; columns]));

        let sum = if index == last { "y".to_owned() } else { format!("sum{index}") };
        graph.message(1, node("Gemm", &[&input, &weights, &bias], &sum));
        if index < last {
            let active = format!("hidden{index}");
            graph.message(1, node("Relu", &[&sum], &active));
            input = active;
        }
    }
    model(graph, "mlp", layers[0], layers[layers.len() - 1])
}

/// A model whose answer tells which version ran: `x` FP32 `[N, 4]` to `y` FP32 `[N, 1]`, always
/// `value` for finite input.
pub fn tag(value: f32) -> Vec<u8> {
    let mut graph = Message::default();
    graph.message(5, tensor("zeros", &[4, 1], &[0.0; 4]));
    graph.message(5, tensor("value", &[1], &[value]));
    graph.message(1, node("MatMul", &["x", "zeros"], "nothing"));
    graph.message(1, node("Add", &["nothing", "value"], "y"));
    model(graph, "tag", 4, 1)
}

fn model(mut graph: Message, name: &str, inputs: usize, outputs: usize) -> Vec<u8> {
    graph.text(2, name);
    graph.message(11, value_info("x", inputs));
    graph.message(12, value_info("y", outputs));

    let mut opset = Message::default();
    opset.text(1, "");
    opset.number(2, OPSET);

    let mut model = Message::default();
    model.number(1, IR_VERSION);
    model.text(2, "weighbridge load-tests");
    model.message(7, graph);
    model.message(8, opset);
    model.bytes
}

/// A graph node with one output, named like it.
pub fn node(op: &str, inputs: &[&str], output: &str) -> Message {
    let mut node = Message::default();
    for input in inputs {
        node.text(1, input);
    }
    node.text(2, output);
    // A node's name is optional in ONNX; the output's is unique already and reads well in errors.
    node.text(3, output);
    node.text(4, op);
    node
}

/// An FP32 initializer.
pub fn tensor(name: &str, dims: &[usize], values: &[f32]) -> Message {
    let mut tensor = Message::default();
    for &dim in dims {
        tensor.number(1, dim as u64);
    }
    tensor.number(2, FLOAT);
    tensor.text(8, name);
    let raw: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
    tensor.data(9, &raw);
    tensor
}

/// `name`: FP32 `[N, width]`.
fn value_info(name: &str, width: usize) -> Message {
    let mut batch = Message::default();
    batch.text(2, BATCH);
    let mut columns = Message::default();
    columns.number(1, width as u64);
    let mut shape = Message::default();
    shape.message(1, batch);
    shape.message(1, columns);

    let mut tensor_type = Message::default();
    tensor_type.number(1, FLOAT);
    tensor_type.message(2, shape);
    let mut kind = Message::default();
    kind.message(1, tensor_type);

    let mut info = Message::default();
    info.text(1, name);
    info.message(2, kind);
    info
}

/// One Protocol Buffers message under construction: what models other than these are made of.
#[derive(Debug, Default)]
pub struct Message {
    /// What has been written so far.
    pub bytes: Vec<u8>,
}

impl Message {
    /// A whole number.
    pub fn number(&mut self, field: u64, value: u64) {
        self.varint(field << 3);
        self.varint(value);
    }

    /// Bytes with their length.
    pub fn data(&mut self, field: u64, data: &[u8]) {
        self.varint(field << 3 | 2);
        self.varint(data.len() as u64);
        self.bytes.extend_from_slice(data);
    }

    /// A string.
    pub fn text(&mut self, field: u64, text: &str) {
        self.data(field, text.as_bytes());
    }

    /// A message within this one.
    pub fn message(&mut self, field: u64, message: Message) {
        self.data(field, &message.bytes);
    }

    /// Seven bits a byte, lowest first; the top bit says that more follow.
    fn varint(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.bytes.push(value as u8 | 0x80);
            value >>= 7;
        }
        self.bytes.push(value as u8);
    }
}

#[cfg(test)]
mod tests;
