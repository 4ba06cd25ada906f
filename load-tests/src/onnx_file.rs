//! Writes tiny ONNX models byte by byte, so that load and system tests need no Python and no
//! exporter: the same seed gives the same file, hence the same digest, on every machine.
//!
//! [`mlp`] and [`tag`] are healthy; [`faults`] are the models that go wrong in ways that a rollout
//! has to notice.

pub mod faults;
mod message;
mod work;

pub use message::{Message, node, tensor};
pub use work::{part_per_run, per_run, slow};

use crate::random::Random;

use message::{Columns, model};

/// A multi-layer perceptron: `x` FP32 `[N, layers.first]` to `y` FP32 `[N, layers.last]`.
///
/// Gemm layers with a Relu after each but the last; weights are He-initialised from `seed`, so
/// values stay in range whatever the depth. Make the layers larger for a slower model.
///
/// # Panics
/// When `layers` names fewer than two sizes, or a size of zero: the caller's mistake.
pub fn mlp(layers: &[usize], seed: u64) -> Vec<u8> {
    let mut graph = Message::default();
    perceptron(&mut graph, "x", layers, seed, "y");
    model(graph, "mlp", layers[0], Columns::Of(layers[layers.len() - 1]))
}

/// The layers of [`mlp`] from `input` to `output`.
fn perceptron(graph: &mut Message, input: &str, layers: &[usize], seed: u64, output: &str) {
    assert!(
        layers.len() >= 2 && layers.iter().all(|&size| size > 0),
        "an mlp needs at least two layer sizes, none of them zero"
    );
    let mut random = Random::new(seed);
    let last = layers.len() - 2;
    let mut input = input.to_owned();
    for (index, pair) in layers.windows(2).enumerate() {
        let (rows, columns) = (pair[0], pair[1]);
        let (weights, bias) = (format!("w{index}"), format!("b{index}"));
        let scale = (2.0 / rows as f64).sqrt();
        let drawn: Vec<f32> =
            (0..rows * columns).map(|_| (random.normal() * scale) as f32).collect();
        graph.message(5, tensor(&weights, &[rows, columns], &drawn));
        graph.message(5, tensor(&bias, &[columns], &vec![0.01; columns]));

        let sum = if index == last { output.to_owned() } else { format!("sum{index}") };
        graph.message(1, node("Gemm", &[&input, &weights, &bias], &sum));
        if index < last {
            let active = format!("hidden{index}");
            graph.message(1, node("Relu", &[&sum], &active));
            input = active;
        }
    }
}

/// A model whose answer tells which version ran: `x` FP32 `[N, 4]` to `y` FP32 `[N, 1]`, always
/// `value` for finite input.
pub fn tag(value: f32) -> Vec<u8> {
    let mut graph = Message::default();
    graph.message(5, tensor("zeros", &[4, 1], &[0.0; 4]));
    graph.message(5, tensor("value", &[1], &[value]));
    graph.message(1, node("MatMul", &["x", "zeros"], "nothing"));
    graph.message(1, node("Add", &["nothing", "value"], "y"));
    model(graph, "tag", 4, Columns::Of(1))
}

/// As [`tag`], after a perceptron whose result is multiplied by zeros: rows in a batch cost far
/// less than rows alone, since the weights are read once for all of them.
///
/// A version that is asked rarely finds its weights gone from the caches and takes longer for it;
/// [`per_run`] does not.
///
/// # Panics
/// When `hidden` is empty or names a size of zero: the caller's mistake.
pub fn dense_tag(value: f32, hidden: &[usize], seed: u64) -> Vec<u8> {
    assert!(!hidden.is_empty(), "a dense tag needs at least one hidden layer");
    let layers: Vec<usize> = [4].iter().chain(hidden).copied().collect();
    let mut graph = Message::default();
    perceptron(&mut graph, "x", &layers, seed, "dense");
    tagged(&mut graph, "dense", hidden[hidden.len() - 1], value);
    model(graph, "dense_tag", 4, Columns::Of(1))
}

/// Ends a graph: `y` = `value` + `worked` x zeros. The optimiser keeps the work, since zero times
/// what the input may bring (infinity, NaN) is not always zero.
fn tagged(graph: &mut Message, worked: &str, width: usize, value: f32) {
    graph.message(5, tensor("zeros", &[width, 1], &vec![0.0; width]));
    graph.message(5, tensor("value", &[1], &[value]));
    graph.message(1, node("MatMul", &[worked, "zeros"], "nothing"));
    graph.message(1, node("Add", &["nothing", "value"], "y"));
}

/// The same function in other bytes: `file` with a remark, hence another digest.
///
/// Vetting says to it what it says to `file`.
pub fn equal(file: &[u8], remark: &str) -> Vec<u8> {
    let mut remarked = Message { bytes: file.to_vec() };
    // The model's doc_string. Of a field that comes twice the last one counts.
    remarked.text(6, remark);
    remarked.bytes
}

#[cfg(test)]
mod tests;
