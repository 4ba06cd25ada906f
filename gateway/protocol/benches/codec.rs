//! The wire form of requests and answers: bytes to tensors and back.
//!
//! `serde_json::Value` decodes the same bytes in the same run: read the ratio of the two, not
//! the absolute figures.

use std::hint::black_box;
use std::time::Duration;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use weighbridge_config::{Datatype, Signature, Tensor, TensorData, TensorSpec};
use weighbridge_protocol::{v1, v2};

const WIDTH: usize = 512;

/// Floats as clients send them: about eight digits, either sign, a fixed start.
fn floats(count: usize) -> Vec<f32> {
    let mut state = 7u64;
    let mut next = || {
        state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 40) as f32 / (1 << 23) as f32 - 1.0
    };
    (0..count).map(|_| next()).collect()
}

fn text(values: &[f32]) -> String {
    let words: Vec<String> = values.iter().map(f32::to_string).collect();
    words.join(",")
}

fn v2_body(rows: usize) -> Vec<u8> {
    let data = text(&floats(rows * WIDTH));
    format!(r#"{{"inputs":[{{"name":"x","shape":[{rows},{WIDTH}],"datatype":"FP32","data":[{data}]}}]}}"#)
        .into_bytes()
}

fn v1_body(rows: usize) -> Vec<u8> {
    let values = floats(rows * WIDTH);
    let rows: Vec<String> = values.chunks(WIDTH).map(|row| format!("[{}]", text(row))).collect();
    format!(r#"{{"instances":[{}]}}"#, rows.join(",")).into_bytes()
}

fn signature() -> Signature {
    let spec = |name: &str, width: i64| TensorSpec {
        name: name.to_owned(),
        datatype: Datatype::Fp32,
        shape: vec![-1, width],
        labels: Vec::new(),
    };
    Signature {
        inputs: vec![spec("x", WIDTH as i64)],
        outputs: vec![spec("y", 10)],
        batchable: true,
    }
}

fn decode(c: &mut Criterion) {
    let mut group = c.benchmark_group("decode");
    for rows in [1usize, 64] {
        let body = v2_body(rows);
        group.throughput(Throughput::Bytes(body.len() as u64));
        group.bench_with_input(BenchmarkId::new("v2", rows), &body, |b, body| {
            b.iter(|| v2::decode(black_box(body)));
        });
        group.bench_with_input(
            BenchmarkId::new("v2_as_serde_json_value", rows),
            &body,
            |b, body| {
                b.iter(|| serde_json::from_slice::<serde_json::Value>(black_box(body)));
            },
        );
        let (body, signature) = (v1_body(rows), signature());
        group.throughput(Throughput::Bytes(body.len() as u64));
        group.bench_with_input(BenchmarkId::new("v1", rows), &body, |b, body| {
            b.iter(|| v1::decode(black_box(body), &signature));
        });
    }
    group.finish();
}

fn encode(c: &mut Criterion) {
    let mut group = c.benchmark_group("encode");
    for (rows, width) in [(1usize, 10usize), (64, WIDTH)] {
        let tensor = Tensor::new(vec![rows, width], TensorData::Fp32(floats(rows * width)));
        let tensor = tensor.expect("as many values as the shape says");
        let answer = v2::InferResponse {
            model_name: "mlp",
            model_version: "1",
            id: Some("a-request"),
            outputs: &[("y", &tensor).into()],
        };
        group.throughput(Throughput::Bytes(v2::encode(&answer).body.len() as u64));
        group.bench_function(BenchmarkId::new("v2", format!("{rows}x{width}")), |b| {
            b.iter(|| v2::encode(black_box(&answer)));
        });
    }
    group.finish();
}

criterion_group! {
    name = codec;
    config = Criterion::default()
        .sample_size(20)
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_millis(1500));
    targets = decode, encode
}
criterion_main!(codec);
