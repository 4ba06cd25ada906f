//! The wire form of requests and answers: bytes to tensors and back, in JSON and in binary, and
//! our reader of numbers beside other parsers.
//!
//! `cargo bench -p weighbridge-protocol --bench codec`, on two cores of an EPYC that were shared
//! with others: the fastest of 20 samples, the best of two runs. Rows have 512 FP32 of about ten
//! characters in JSON; MB/s are of the body.
//!
//! | | 1 row | 64 rows | 1024 rows |
//! |---|---|---|---|
//! | decode v2 JSON | 15 µs, 376 MB/s | 1.33 ms, 275 MB/s | 18.7 ms, 311 MB/s |
//! | decode v1 | 14 µs, 414 MB/s | 1.11 ms, 328 MB/s | 20.2 ms, 289 MB/s |
//! | decode v2 binary | 0.99 µs, 2.2 GB/s | 4.9 µs, 27 GB/s | 51 µs, 41 GB/s |
//! | encode v2 JSON | 10 µs, 587 MB/s | 0.79 ms, 460 MB/s | 16.9 ms, 346 MB/s |
//! | encode v1 | 10 µs, 571 MB/s | 0.82 ms, 447 MB/s | 18.3 ms, 319 MB/s |
//! | encode v2 binary | 0.14 µs, 16 GB/s | 3.7 µs, 36 GB/s | 45 µs, 46 GB/s |
//! | time of JSON / of binary, decode | 16 | 270 | 360 |
//! | time of JSON / of binary, encode | 71 | 220 | 370 |
//!
//! The same list of numbers by each parser, in MB/s:
//!
//! | | 1 row | 64 rows | 1024 rows |
//! |---|---|---|---|
//! | ours, a visitor on serde_json | 550 | 321 | 269 |
//! | serde_json, `Vec<f32>` | 679 | 440 | 313 |
//! | serde_json, `Value` | 494 | 383 | 307 |
//! | sonic-rs, `Vec<f32>` | 322 | 253 | 332 |
//! | simd-json, `Vec<f32>`, its copy of the body not counted | 603 | 327 | 300 |
//!
//! So serde_json stays: the others are at most a quarter faster where the body is large, which is
//! nothing beside what binary saves, and cannot be led through a body member by member without
//! a second pass. Read ratios of one run, not the absolute figures.

use std::hint::black_box;
use std::time::Duration;

use criterion::{BatchSize, BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use weighbridge_config::{Datatype, Signature, Tensor, TensorData, TensorSpec, V1Dialect};
use weighbridge_protocol::{Output, elements, v1, v2};

const WIDTH: usize = 512;
const ROWS: [usize; 3] = [1, 64, 1024];

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

/// JSON whose input is a blob behind it, and the length of the JSON.
fn v2_binary_body(rows: usize) -> (Vec<u8>, usize) {
    let blob: Vec<u8> = floats(rows * WIDTH).iter().flat_map(|x| x.to_le_bytes()).collect();
    let size = blob.len();
    let json = format!(
        r#"{{"inputs":[{{"name":"x","shape":[{rows},{WIDTH}],"datatype":"FP32","parameters":{{"binary_data_size":{size}}}}}]}}"#
    );
    ([json.as_bytes(), &blob].concat(), json.len())
}

fn decode(c: &mut Criterion) {
    let mut group = c.benchmark_group("decode");
    for rows in ROWS {
        let body = v2_body(rows);
        group.throughput(Throughput::Bytes(body.len() as u64));
        group.bench_with_input(BenchmarkId::new("v2_json", rows), &body, |b, body| {
            b.iter(|| v2::decode(black_box(body)));
        });
        let (body, json_length) = v2_binary_body(rows);
        group.throughput(Throughput::Bytes(body.len() as u64));
        group.bench_with_input(BenchmarkId::new("v2_binary", rows), &body, |b, body| {
            b.iter(|| v2::decode_binary(black_box(body), json_length));
        });
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
    for rows in ROWS {
        let tensor = Tensor::new(vec![rows, WIDTH], TensorData::Fp32(floats(rows * WIDTH)));
        let tensor = tensor.expect("as many values as the shape says");
        for (name, binary) in [("v2_json", false), ("v2_binary", true)] {
            let answer = v2::InferResponse {
                model_name: "mlp",
                model_version: "1",
                id: Some("a-request"),
                outputs: &[Output::from(("y", &tensor)).as_binary(binary)],
            };
            group.throughput(Throughput::Bytes(v2::encode(&answer).body.len() as u64));
            group.bench_function(BenchmarkId::new(name, rows), |b| {
                b.iter(|| v2::encode(black_box(&answer)));
            });
        }
        let outputs = [Output::from(("y", &tensor))];
        let v1 = || v1::encode(v1::Form::Row, V1Dialect::Tfs, black_box(&outputs));
        group.throughput(Throughput::Bytes(v1().map_or(0, |body| body.len()) as u64));
        group.bench_function(BenchmarkId::new("v1", rows), |b| b.iter(v1));
    }
    group.finish();
}

/// One flat list of numbers, read by each parser into a vector of floats.
fn parsers(c: &mut Criterion) {
    let mut group = c.benchmark_group("parsers");
    for rows in ROWS {
        let list = format!("[{}]", text(&floats(rows * WIDTH)));
        group.throughput(Throughput::Bytes(list.len() as u64));
        group.bench_with_input(BenchmarkId::new("ours_on_serde_json", rows), &list, |b, list| {
            b.iter(|| elements::read(black_box(list), Datatype::Fp32, rows * WIDTH, "x"));
        });
        group.bench_with_input(BenchmarkId::new("serde_json", rows), &list, |b, list| {
            b.iter(|| serde_json::from_str::<Vec<f32>>(black_box(list)));
        });
        group.bench_with_input(BenchmarkId::new("serde_json_value", rows), &list, |b, list| {
            b.iter(|| serde_json::from_str::<serde_json::Value>(black_box(list)));
        });
        group.bench_with_input(BenchmarkId::new("sonic_rs", rows), &list, |b, list| {
            b.iter(|| sonic_rs::from_str::<Vec<f32>>(black_box(list)));
        });
        // It parses in place: what it destroys is copied outside of the measure.
        group.bench_with_input(BenchmarkId::new("simd_json", rows), &list, |b, list| {
            b.iter_batched_ref(
                || list.clone().into_bytes(),
                |list| simd_json::serde::from_slice::<Vec<f32>>(black_box(list)),
                BatchSize::LargeInput,
            );
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
    targets = decode, encode, parsers
}
criterion_main!(codec);
