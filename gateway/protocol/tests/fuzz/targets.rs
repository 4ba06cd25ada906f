//! Each decoder as a function of bytes that panics when something is wrong with it, and tells
//! whether it took them.

use weighbridge_config::tensor::compare::has_non_finite;
use weighbridge_config::{Datatype, Signature, Tensor, TensorData, TensorSpec, V1Dialect};
use weighbridge_protocol::v2::{self, InferResponse};
use weighbridge_protocol::{BadRequest, NamedTensor, Output, bind, classification, raw, v1};

/// A result, or an error that tells something.
fn told<T>(result: Result<T, BadRequest>) -> Option<T> {
    match result {
        Ok(value) => Some(value),
        Err(BadRequest(text)) => {
            assert!(!text.is_empty() && text.len() < 2000, "an error of {} bytes", text.len());
            None
        }
    }
}

fn spec(name: &str, datatype: Datatype, shape: &[i64]) -> TensorSpec {
    TensorSpec { name: name.into(), datatype, shape: shape.to_vec(), labels: vec![] }
}

fn signature(inputs: Vec<TensorSpec>, batchable: bool) -> Signature {
    Signature { inputs, outputs: vec![], batchable }
}

fn signatures() -> [Signature; 5] {
    [
        signature(vec![spec("x", Datatype::Fp32, &[-1, 2])], true),
        signature(vec![spec("x", Datatype::Bytes, &[-1])], true),
        signature(vec![spec("x", Datatype::Int64, &[-1, -1])], true),
        signature(
            vec![spec("age", Datatype::Fp64, &[-1, 1]), spec("city", Datatype::Bytes, &[-1, 1])],
            true,
        ),
        signature(vec![spec("b64", Datatype::Bool, &[-1, 2, 1])], false),
    ]
}

fn bytes_of(tensor: &Tensor) -> Vec<u8> {
    let mut bytes = Vec::new();
    raw::encode(tensor.data(), &mut bytes);
    assert_eq!(bytes.len(), raw::encoded_len(tensor.data()));
    bytes
}

/// The same shape and the same bits.
fn is_same(a: &NamedTensor, b: &NamedTensor) -> bool {
    let (x, y) = (&a.tensor, &b.tensor);
    a.name == b.name && x.shape() == y.shape() && x.datatype() == y.datatype() && {
        bytes_of(x) == bytes_of(y)
    }
}

/// An answer whose outputs are `tensors`, as a request that has them for inputs.
fn as_request(tensors: &[NamedTensor], binary: bool) -> (Vec<u8>, Option<usize>) {
    let outputs: Vec<Output<'_>> = tensors
        .iter()
        .map(|named| Output::from((named.name.as_str(), &named.tensor)).as_binary(binary))
        .collect();
    let answer = InferResponse { model_name: "m", model_version: "1", id: None, outputs: &outputs };
    let encoded = v2::encode(&answer);
    let lead: &[u8] = br#"{"model_name":"m","model_version":"1","outputs""#;
    let body = encoded.body.strip_prefix(lead).unwrap();
    let request = [b"{\"inputs\"", body].concat();
    let json_length = encoded.json_length.map(|length| length - lead.len() + 9);
    (request, json_length)
}

/// Tensors that were decoded are the same after a way through JSON and through bytes.
fn survives(tensors: &[NamedTensor]) {
    if tensors.is_empty() {
        return;
    }
    let (body, json_length) = as_request(tensors, true);
    let again = v2::decode_binary(&body, json_length.unwrap()).unwrap().inputs;
    assert!(tensors.len() == again.len());
    assert!(tensors.iter().zip(&again).all(|(a, b)| is_same(a, b)), "bytes changed {tensors:?}");
    // JSON has no half floats, no infinities, no text beside UTF-8; and its reader may be off by
    // the last bits of an FP64.
    let exact = |named: &NamedTensor| match named.tensor.data() {
        TensorData::Fp16(_) | TensorData::Bf16(_) | TensorData::Fp64(_) => false,
        TensorData::Bytes(texts) => texts.iter().all(|text| std::str::from_utf8(text).is_ok()),
        data => !has_non_finite(data),
    };
    let exact: Vec<NamedTensor> = tensors.iter().filter(|t| exact(t)).cloned().collect();
    if !exact.is_empty() {
        let again = v2::decode(&as_request(&exact, false).0).unwrap().inputs;
        assert!(exact.iter().zip(&again).all(|(a, b)| is_same(a, b)), "JSON changed {exact:?}");
    }
}

/// Bounds what is held at once: decoding alone shall be measured on long bodies.
fn is_small(body: &[u8]) -> bool {
    body.len() < 8192
}

pub fn v2_json(body: &[u8]) -> bool {
    let Some(request) = told(v2::decode(body)) else { return false };
    if !is_small(body) {
        return true;
    }
    survives(&request.inputs);
    for input in &request.inputs {
        let labels = ["a".to_owned()];
        let best = told(classification::top(&input.tensor, 2, &labels, true));
        assert!(best.is_none_or(|best| best.datatype() == Datatype::Bytes));
    }
    for signature in signatures() {
        told(bind(request.inputs.clone(), &signature));
    }
    true
}

/// JSON up to the first end of line, which is part of it, then blobs.
pub fn v2_binary(body: &[u8]) -> bool {
    let end = body.iter().position(|byte| *byte == b'\n').map_or(body.len(), |at| at + 1);
    told(v2::decode_binary(body, end + body.len()));
    told(v2::decode_binary(body, end.saturating_sub(2)));
    let Some(request) = told(v2::decode_binary(body, end)) else { return false };
    if is_small(body) {
        survives(&request.inputs);
    }
    true
}

pub fn v2_raw(body: &[u8]) -> bool {
    let mut is_any = false;
    for signature in signatures() {
        let Some(request) = told(v2::decode_raw(body, &signature)) else { continue };
        is_any = true;
        assert!(request.wants_binary());
        if is_small(body) {
            survives(&request.inputs);
        }
        // Zero rows are refused only here.
        told(bind(request.inputs, &signature));
    }
    is_any
}

pub fn v1_predict(body: &[u8]) -> bool {
    let mut is_any = false;
    for signature in signatures() {
        let Some((form, tensors)) = told(v1::decode(body, &signature)) else { continue };
        is_any = true;
        if !is_small(body) {
            continue;
        }
        survives(&tensors);
        let outputs: Vec<Output<'_>> =
            tensors.iter().map(|t| Output::from((t.name.as_str(), &t.tensor))).collect();
        for dialect in [V1Dialect::Tfs, V1Dialect::Kserve] {
            let Some(answer) = told(v1::encode(form, dialect, &outputs)) else { continue };
            // Strict JSON in KServe's dialect whatever the values are.
            if dialect == V1Dialect::Kserve {
                serde_json::from_slice::<serde_json::Value>(&answer).unwrap();
            }
        }
    }
    is_any
}

pub fn v1_examples(body: &[u8]) -> bool {
    let mut is_any = false;
    for signature in signatures() {
        let Some(tensors) = told(v1::decode_examples(body, &signature)) else { continue };
        is_any = true;
        if !is_small(body) {
            continue;
        }
        survives(&tensors);
        let Some(bound) = told(bind(tensors, &signature)) else { continue };
        let outputs: Vec<Output<'_>> =
            bound.inputs.iter().map(|tensor| Output::from(("y", tensor))).collect();
        told(v1::encode_classes(V1Dialect::Kserve, bound.rows, &outputs));
        told(v1::encode_regression(V1Dialect::Kserve, bound.rows, &outputs));
    }
    is_any
}

/// A datatype, how many axes, a byte for each (large ones stand for huge lengths), then elements.
pub fn raw_tensor(bytes: &[u8]) -> bool {
    let [kind, axes, rest @ ..] = bytes else { return false };
    let datatype = Datatype::ALL[usize::from(*kind) % Datatype::ALL.len()];
    let axes = usize::from(*axes % 4).min(rest.len());
    let (lengths, elements) = rest.split_at(axes);
    let length = |byte: &u8| match byte {
        0xff => usize::MAX,
        // As many as the shortest elements there is room for.
        0xfe => elements.len() / datatype.size().unwrap_or(4),
        short => usize::from(*short),
    };
    let shape: Vec<usize> = lengths.iter().map(length).collect();
    let Some(tensor) = told(raw::decode("input \"x\"", datatype, shape, elements)) else {
        return false;
    };
    if is_small(bytes) {
        assert_eq!(bytes_of(&tensor), elements);
        survives(&[NamedTensor { name: "x".to_owned(), tensor }]);
    }
    true
}

pub fn golden(body: &[u8]) -> bool {
    let Some(cases) = told(weighbridge_protocol::golden::decode(body)) else { return false };
    assert!(!cases.cases.is_empty());
    for case in cases.cases.iter().filter(|_| is_small(body)) {
        let named = |(name, tensor): &(String, Tensor)| NamedTensor {
            name: name.clone(),
            tensor: tensor.clone(),
        };
        survives(&case.inputs.iter().map(named).collect::<Vec<_>>());
    }
    true
}
