//! Protocol Buffers, as far as an ONNX file needs them: a message is a run of
//! `(field << 3 | wire type)` keys, each followed by a varint or by a length and that many bytes.
//! Field numbers are those of `onnx.proto`.

/// Element types of `onnx.proto`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Element {
    Float = 1,
    Int32 = 6,
    Int64 = 7,
}

/// Attribute types of `onnx.proto`.
const INT_ATTRIBUTE: u64 = 2;
const IR_VERSION: u64 = 8;
const OPSET: u64 = 17;
/// The symbolic batch axis that each input and output starts with.
const BATCH: &str = "N";

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

/// As [`node`], with one attribute that is a whole number, such as `axis` or `to`.
pub(super) fn node_with(
    op: &str,
    inputs: &[&str],
    output: &str,
    (name, value): (&str, u64),
) -> Message {
    let mut attribute = Message::default();
    attribute.text(1, name);
    attribute.number(3, value);
    attribute.number(20, INT_ATTRIBUTE);
    let mut node = node(op, inputs, output);
    node.message(5, attribute);
    node
}

/// A cast; whole numbers are cut towards zero.
pub(super) fn cast(input: &str, to: Element, output: &str) -> Message {
    node_with("Cast", &[input], output, ("to", to as u64))
}

/// An FP32 initializer.
pub fn tensor(name: &str, dims: &[usize], values: &[f32]) -> Message {
    let raw: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
    initializer(name, dims, Element::Float, &raw)
}

/// An INT64 initializer: shapes, bounds, indices.
pub(super) fn integers(name: &str, dims: &[usize], values: &[i64]) -> Message {
    let raw: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
    initializer(name, dims, Element::Int64, &raw)
}

fn initializer(name: &str, dims: &[usize], element: Element, raw: &[u8]) -> Message {
    let mut tensor = Message::default();
    for &dim in dims {
        tensor.number(1, dim as u64);
    }
    tensor.number(2, element as u64);
    tensor.text(8, name);
    tensor.data(9, raw);
    tensor
}

/// The second axis of an output as the file declares it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Columns {
    Of(usize),
    /// Any number, under this name.
    Free(&'static str),
}

/// The file: `x` FP32 `[N, inputs]` to `y` FP32 `[N, outputs]`.
pub(super) fn model(mut graph: Message, name: &str, inputs: usize, outputs: Columns) -> Vec<u8> {
    graph.text(2, name);
    graph.message(11, value_info("x", Columns::Of(inputs)));
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

/// `name`: FP32 `[N, columns]`.
fn value_info(name: &str, columns: Columns) -> Message {
    let mut batch = Message::default();
    batch.text(2, BATCH);
    let mut second = Message::default();
    match columns {
        Columns::Of(width) => second.number(1, width as u64),
        Columns::Free(name) => second.text(2, name),
    }
    let mut shape = Message::default();
    shape.message(1, batch);
    shape.message(1, second);

    let mut tensor_type = Message::default();
    tensor_type.number(1, Element::Float as u64);
    tensor_type.message(2, shape);
    let mut kind = Message::default();
    kind.message(1, tensor_type);

    let mut info = Message::default();
    info.text(1, name);
    info.message(2, kind);
    info
}
