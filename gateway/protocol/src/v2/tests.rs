use proptest::prelude::*;
use weighbridge_config::{Datatype, Tensor, TensorData, TensorSpec};

use super::*;
use crate::output::Output;

fn error(body: &str) -> String {
    decode(body.as_bytes()).unwrap_err().to_string()
}

const X: &str = r#"{"name":"x","shape":[1,2],"datatype":"FP32","data":[1,2]}"#;

#[test]
fn a_request_is_read_whatever_the_order_of_its_members() {
    let usual = decode(
        format!(r#"{{"id":"7","inputs":[{X}],"outputs":[{{"name":"y"}}],"parameters":{{"a":1}}}}"#)
            .as_bytes(),
    );
    let turned = decode(
        br#"{"outputs":[{"name":"y","parameters":{"binary_data":false}}], "parameters":{"a":1},
            "inputs":[{"data":[[1,2]],"parameters":{"k":true},"datatype":"FP32","name":"x","shape":[1,2]}],
            "id":"7"}"#,
    );
    let usual = usual.unwrap();
    let mut turned = turned.unwrap();
    assert_eq!(turned.outputs.as_mut().unwrap()[0].binary.take(), Some(false));
    assert_eq!(usual, turned);
    assert_eq!(usual.id.as_deref(), Some("7"));
    let asked = &usual.outputs.as_ref().unwrap()[0];
    assert_eq!((asked.name.as_str(), asked.binary, asked.classification), ("y", None, None));
    assert_eq!(usual.inputs[0].tensor.shape(), [1, 2]);
    assert_eq!(usual.inputs[0].tensor.data(), &TensorData::Fp32(vec![1.0, 2.0]));
}

#[test]
fn parameters_are_read_as_text_when_somebody_asks() {
    let parameters = r#"{"user":"zoë","n":7,"b":true,"none":null,"d":0.5}"#;
    let body = format!(r#"{{"parameters":{parameters},"inputs":[{X}]}}"#);
    let request = decode(body.as_bytes()).unwrap();
    let got = ["user", "n", "b", "none", "d", "absent"].map(|name| request.parameter(name));
    let text = |text: &str| Some(text.to_owned());
    assert_eq!(got, [text("zoë"), text("7"), text("true"), None, text("0.5"), None]);
    let body = format!(r#"{{"parameters":null,"inputs":[{X}]}}"#);
    assert!(decode(body.as_bytes()).unwrap().parameters.is_empty());
    assert!(
        error(&format!(r#"{{"parameters":{{}},"parameters":{{}},"inputs":[{X}]}}"#))
            .contains("twice")
    );
}

#[test]
fn an_empty_list_of_outputs_means_all() {
    let request = decode(format!(r#"{{"inputs":[{X}],"outputs":[]}}"#).as_bytes()).unwrap();
    assert_eq!(request.outputs, None);
    let request =
        decode(format!(r#"{{"id":3,"inputs":[{X}],"outputs":null}}"#).as_bytes()).unwrap();
    assert_eq!((request.outputs, request.id.as_deref()), (None, Some("3")));
}

#[test]
fn each_mistake_is_named() {
    let input = |members: &str| format!(r#"{{"inputs":[{{{members}}}]}}"#);
    let table = [
        (String::new(), "not valid JSON"),
        ("[]".into(), "an inference request"),
        ("{".into(), "not valid JSON"),
        (format!("{{\"inputs\":[{X}]}} x"), "trailing"),
        ("{}".into(), "\"inputs\" is missing"),
        (r#"{"inputs":5}"#.into(), "\"inputs\": a list of tensors"),
        (r#"{"inputs":[5]}"#.into(), "inputs[0]: an object with name"),
        (format!(r#"{{"inputs":[{X}],"inputs":[{X}]}}"#), "\"inputs\" came twice"),
        (format!(r#"{{"id":"a","id":"b","inputs":[{X}]}}"#), "\"id\" came twice"),
        (format!(r#"{{"id":[],"inputs":[{X}]}}"#), "\"id\" wants a string"),
        (format!(r#"{{"inputs":[{X}],"outputs":[{{}}]}}"#), "missing field `name`"),
        (input(r#""name":"x","shape":[1],"datatype":"FP32""#), "input \"x\": \"data\" is missing"),
        (input(r#""name":"x","shape":[1],"data":[1]"#), "input \"x\": \"datatype\" is missing"),
        (input(r#""name":"x","datatype":"FP32","data":[1]"#), "input \"x\": \"shape\" is missing"),
        (input(r#""shape":[1],"datatype":"FP32","data":[1]"#), "inputs[0]: \"name\" is missing"),
        (
            input(r#""name":"x","shape":[1],"datatype":"FLOAT","data":[1]"#),
            "\"FLOAT\" is not a datatype",
        ),
        (input(r#""name":"x","shape":[-1],"datatype":"FP32","data":[1]"#), "-1 came"),
        (input(r#""name":"x","shape":[1.5],"datatype":"FP32","data":[1]"#), "1.5 came"),
        (
            input(
                r#""name":"x","shape":[1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1],"datatype":"FP32","data":[1]"#,
            ),
            "input \"x\": shape wants a list of at most 16 lengths of 0 or more, one axis more came",
        ),
        (input(r#""name":"x","shape":"[1]","datatype":"FP32","data":[1]"#), "shape wants a list"),
        (
            input(r#""name":"x","shape":[2],"datatype":"FP32","data":[1]"#),
            "wants 2 elements, 1 came",
        ),
        (
            input(r#""name":"x","shape":[18446744073709551615,2],"datatype":"FP32","data":[1]"#),
            "more elements than can be counted",
        ),
        (input(r#""name":"x","shape":[1],"datatype":"INT64","data":[null]"#), "element 0 is null"),
        (
            input(r#""data":["a"],"name":"x","shape":[1],"datatype":"INT64""#),
            "input \"x\": element 0 is \"a\"",
        ),
        (
            input(r#""name":"x","shape":[1],"datatype":"FP16","data":[1]"#),
            "FP16 cannot be sent as JSON",
        ),
        (
            input(r#""name":"x","shape":[1],"datatype":"FP32","data":[1],"data":[2]"#),
            "\"data\" came twice",
        ),
        (
            input(
                r#""name":"x","shape":[1],"datatype":"FP32","parameters":{"binary_data_size":4}"#,
            ),
            "input \"x\": binary_data_size came, but no binary part",
        ),
        (
            input(
                r#""name":"x","shape":[1],"datatype":"FP32","data":[1],"parameters":{"binary_data_size":4}"#,
            ),
            "input \"x\": data and binary_data_size both came",
        ),
        (
            input(r#""name":"x","shape":[1],"datatype":"BF16","data":[1]"#),
            "BF16 cannot be sent as JSON: wanted binary tensor data",
        ),
        (format!(r#"{{"parameters":[1],"inputs":[{X}]}}"#), "parameters: \"[1]\" came"),
        (
            format!(r#"{{"parameters":{{"k":{{}}}},"inputs":[{X}]}}"#),
            "parameter \"k\" is an object",
        ),
        (format!(r#"{{"parameters":{{"triton_k":1}},"inputs":[{X}]}}"#), "parameter \"triton_k\""),
        (
            format!(r#"{{"parameters":{{"binary_data_output":1}},"inputs":[{X}]}}"#),
            "parameters.binary_data_output is \"1\": wanted true or false",
        ),
        (
            format!(
                r#"{{"inputs":[{X}],"outputs":[{{"name":"y","parameters":{{"binary_data":"no"}}}}]}}"#
            ),
            "output \"y\": parameter binary_data is",
        ),
        (
            format!(
                r#"{{"inputs":[{X}],"outputs":[{{"name":"y","parameters":{{"classification":-1}}}}]}}"#
            ),
            "output \"y\": parameter classification is \"-1\"",
        ),
        (
            input(
                r#""name":"x","shape":[1],"datatype":"FP32","parameters":{"shared_memory_region":"r"}"#,
            ),
            "shared memory is not offered",
        ),
    ];
    for (body, text) in table {
        let error = error(&body);
        assert!(error.contains(text), "{body}\n gave: {error}\n wanted: {text}");
    }
}

#[test]
fn a_shape_that_lies_reserves_no_more_than_the_body_could_hold() {
    let body =
        r#"{"inputs":[{"name":"x","shape":[4611686018427387904],"datatype":"FP32","data":[1]}]}"#;
    assert!(error(body).contains("wants 4611686018427387904 elements, 1 came"));
}

#[test]
fn an_answer_is_json_with_flat_data() {
    let floats = Tensor::new(vec![1, 3], TensorData::Fp32(vec![0.1, f32::NAN, 1e-7])).unwrap();
    let labels = Tensor::new(vec![1], TensorData::Bytes(vec![b"a\"b".to_vec()])).unwrap();
    let encoded = encode(&InferResponse {
        model_name: "m",
        model_version: "3",
        id: Some("q\n"),
        outputs: &[("p", &floats).into(), ("label", &labels).into()],
    });
    assert_eq!(encoded.json_length, None);
    let json: serde_json::Value = serde_json::from_slice(&encoded.body).unwrap();
    let wanted = serde_json::json!({
        "model_name": "m", "model_version": "3", "id": "q\n",
        "outputs": [
            {"name": "p", "datatype": "FP32", "shape": [1, 3], "data": [0.1, null, 1e-7],
             "parameters": {"non_finite_as_null": 1}},
            {"name": "label", "datatype": "BYTES", "shape": [1], "data": ["a\"b"]},
        ]
    });
    assert_eq!(json, wanted);
}

#[test]
fn a_labelled_output_also_has_its_rows_by_label() {
    let scores = Tensor::new(vec![1, 2], TensorData::Fp32(vec![0.25, 0.75])).unwrap();
    let names = ["no".to_owned(), "yes".to_owned()];
    let encoded = encode(&InferResponse {
        model_name: "m",
        model_version: "3",
        id: None,
        outputs: &[Output::from(("p", &scores)).labelled(&names)],
    });
    let json: serde_json::Value = serde_json::from_slice(&encoded.body).unwrap();
    let wanted = serde_json::json!({
        "name": "p", "datatype": "FP32", "shape": [1, 2], "data": [0.25, 0.75],
        "parameters": {"by_label": [{"no": 0.25, "yes": 0.75}]},
    });
    assert_eq!(json["outputs"][0], wanted);
}

#[test]
fn truncated_and_altered_bodies_never_panic() {
    let body =
        format!(r#"{{"id":"7","inputs":[{X},{X}],"outputs":[{{"name":"y"}}]}}"#).into_bytes();
    for cut in 0..body.len() {
        assert!(decode(&body[..cut]).is_err());
        for byte in [0u8, b'"', b'[', b'{', b'9', 0xff] {
            let mut altered = body.clone();
            altered[cut] = byte;
            let _ = decode(&altered);
        }
    }
}

/// JSON with its blobs behind it.
fn joined(json: &str, blobs: &[u8]) -> (Vec<u8>, usize) {
    ([json.as_bytes(), blobs].concat(), json.len())
}

fn binary_input(name: &str, datatype: &str, shape: &str, parameters: &str) -> String {
    format!(
        r#"{{"name":"{name}","shape":{shape},"datatype":"{datatype}","parameters":{parameters}}}"#
    )
}

#[test]
fn blobs_follow_in_the_order_of_their_inputs() {
    let a = binary_input("a", "FP16", "[1,2]", r#"{"binary_data_size":4}"#);
    let b = binary_input("b", "BYTES", "[2]", r#"{"binary_data_size":10,"content_type":"x"}"#);
    let c = binary_input("c", "BOOL", "[0]", r#"{"binary_data_size":0}"#);
    let json = format!(
        r#"{{"inputs":[{a},{X},{b},{c}],"parameters":{{"binary_data_output":true}},
            "outputs":[{{"name":"y","parameters":{{"binary_data":false,"classification":3}}}},
                       {{"name":"z","parameters":{{"classification":0}}}}]}}"#
    );
    let (body, length) = joined(&json, &[0, 0x3c, 0, 0xc0, 2, 0, 0, 0, b'h', b'i', 0, 0, 0, 0]);
    let request = decode_binary(&body, length).unwrap();
    let data: Vec<&TensorData> = request.inputs.iter().map(|input| input.tensor.data()).collect();
    let wanted = [
        &TensorData::Fp16(vec![0x3c00, 0xc000]),
        &TensorData::Fp32(vec![1.0, 2.0]),
        &TensorData::Bytes(vec![b"hi".to_vec(), vec![]]),
        &TensorData::Bool(vec![]),
    ];
    assert_eq!(data, wanted);
    assert!(
        request.wants_binary() && !request.wants_binary_of("y") && request.wants_binary_of("z")
    );
    assert_eq!(request.asked_of("y").unwrap().classification, Some(3));
    assert_eq!(request.asked_of("z").unwrap().classification, None);
    assert!(request.asked_of("q").is_none() && request.wants_binary_of("q"));
}

#[test]
fn sizes_are_derived_where_only_one_is_possible() {
    let a = binary_input("a", "FP32", "[2]", "{}");
    let b = r#"{"name":"b","shape":[1],"datatype":"BYTES"}"#;
    let c = binary_input("c", "UINT8", "[2]", r#"{"binary_data_size":null}"#);
    let json = format!(r#"{{"inputs":[{a},{b},{c}]}}"#);
    let blobs = [0, 0, 0, 0, 0, 0, 0x80, 0x3f, 1, 0, 0, 0, b'x', 7, 8];
    let (body, length) = joined(&json, &blobs);
    let request = decode_binary(&body, length).unwrap();
    assert_eq!(request.inputs[0].tensor.data(), &TensorData::Fp32(vec![0.0, 1.0]));
    assert_eq!(request.inputs[1].tensor.data(), &TensorData::Bytes(vec![b"x".to_vec()]));
    assert_eq!(request.inputs[2].tensor.data(), &TensorData::Uint8(vec![7, 8]));
    let two = format!(r#"{{"inputs":[{b},{}]}}"#, b.replace("\"b\"", "\"d\""));
    let (body, length) = joined(&two, &[0; 8]);
    let error = decode_binary(&body, length).unwrap_err().0;
    assert!(error.contains("input \"d\": binary_data_size is missing"), "{error}");
}

#[test]
fn each_mistake_of_a_binary_body_is_named() {
    let sized = |size: &str| {
        let size = format!(r#"{{"binary_data_size":{size}}}"#);
        format!(r#"{{"inputs":[{}]}}"#, binary_input("x", "FP32", "[2]", &size))
    };
    let huge = r#"{"inputs":[{"name":"x","shape":[9223372036854775807,3],"datatype":"INT64"}]}"#;
    let twice = binary_input("x", "FP32", "[2]", r#"{"binary_data_size":8,"binary_data_size":8}"#);
    let table: Vec<(String, &[u8], &str)> = vec![
        (sized("8"), &[0; 7], "input \"x\": binary_data_size is 8, but 7 bytes are left"),
        (sized("8"), &[0; 9], "unexpected additional input data: the inputs take 8 of the 9 bytes"),
        (sized("4"), &[0; 4], "input \"x\": 4 bytes came, shape [2] of FP32 wants 8"),
        (sized("-8"), &[0; 8], "input \"x\": binary_data_size is \"-8\", wanted a whole number"),
        (sized("8.5"), &[0; 8], "binary_data_size is \"8.5\""),
        (sized("\"8\""), &[0; 8], "binary_data_size is"),
        (sized("[8]"), &[0; 8], "binary_data_size is"),
        (sized("18446744073709551615"), &[0; 8], "binary_data_size is 18446744073709551615, but 8"),
        (sized("1e400"), &[0; 8], "binary_data_size is \"1e400\""),
        (format!(r#"{{"inputs":[{twice}]}}"#), &[0; 8], "binary_data_size came twice"),
        (format!(r#"{{"inputs":[{X}]}}"#), &[0], "unexpected additional input data"),
        (huge.into(), &[0; 8], "8 bytes are left in the body, shape [9223372036854775807, 3]"),
        (
            r#"{"inputs":[{"name":"x","shape":[2],"datatype":"FP32"}]}"#.into(),
            &[0; 7],
            "input \"x\": 7 bytes are left in the body, shape [2] of FP32 wants more",
        ),
        ("{\"inputs\":[".into(), &[], "not valid JSON"),
    ];
    for (json, blobs, told) in table {
        let (body, length) = joined(&json, blobs);
        let error = decode_binary(&body, length).unwrap_err().0;
        assert!(error.contains(told), "{json}\n gave: {error}\n wanted: {told}");
    }
    let error = decode_binary(b"{}", 3).unwrap_err().0;
    assert_eq!(
        error,
        "Inference-Header-Content-Length is 3: wanted at most the 2 bytes of the body"
    );
}

fn one_input(datatype: Datatype, shape: &[i64], batchable: bool) -> Signature {
    let spec = TensorSpec { name: "x".into(), datatype, shape: shape.to_vec(), labels: vec![] };
    Signature { inputs: vec![spec], outputs: vec![], batchable }
}

/// The one input of a model, a body, and what comes of it.
type Raw<'a, W> = (Datatype, &'a [i64], bool, &'a [u8], W);

#[test]
fn a_body_without_json_is_the_only_input() {
    let table: [Raw<'_, &[usize]>; 7] = [
        (Datatype::Fp16, &[-1, 2], true, &[0, 0x3c, 0, 0x3c], &[1, 2]),
        (Datatype::Fp16, &[-1, -1], true, &[0, 0x3c, 0, 0x3c, 0, 0x3c], &[1, 3]),
        (Datatype::Int8, &[-1, 2], false, &[1, 2, 3, 4], &[2, 2]),
        (Datatype::Int8, &[2, 2], false, &[1, 2, 3, 4], &[2, 2]),
        (Datatype::Int8, &[-1], true, &[1], &[1]),
        (Datatype::Bytes, &[-1, 1], true, b"hello", &[1, 1]),
        (Datatype::Bytes, &[1], false, b"", &[1]),
    ];
    for (datatype, shape, batchable, body, wanted) in table {
        let request = decode_raw(body, &one_input(datatype, shape, batchable)).unwrap();
        let NamedTensor { name, tensor } = &request.inputs[0];
        assert_eq!((name.as_str(), tensor.shape()), ("x", wanted), "{shape:?}");
        assert!(request.wants_binary() && request.outputs.is_none());
        if let TensorData::Bytes(texts) = tensor.data() {
            assert_eq!(texts, &[body.to_vec()]);
        }
    }
}

#[test]
fn each_mistake_of_a_body_without_json_is_named() {
    let table: [Raw<'_, &str>; 7] = [
        (Datatype::Fp32, &[-1, 2], true, &[0; 7], "input \"x\": 7 bytes came, shape [1, 2]"),
        (Datatype::Fp32, &[-1, 2], true, &[0; 16], "input \"x\": 16 bytes came, shape [1, 2]"),
        (Datatype::Fp32, &[-1, -1, 2], true, &[0; 9], "wants a multiple of 8"),
        (Datatype::Fp32, &[-1, -1, 0], true, &[0; 9], "wants a multiple of 0"),
        (Datatype::Fp32, &[-1, -1], false, &[0; 8], "the length of one free axis only"),
        (Datatype::Bytes, &[-1, 2], true, b"hello", "holds one element only"),
        (Datatype::Bytes, &[-1], false, b"hello", "holds one element only"),
    ];
    for (datatype, shape, batchable, body, told) in table {
        let error = decode_raw(body, &one_input(datatype, shape, batchable)).unwrap_err().0;
        assert!(error.contains(told), "{shape:?}: {error} should contain {told}");
    }
    let mut two = one_input(Datatype::Fp32, &[1], false);
    two.inputs.push(two.inputs[0].clone());
    let error = decode_raw(&[0; 4], &two).unwrap_err().0;
    assert!(error.contains("wants a model of one input: this one has 2"), "{error}");
}

#[test]
fn binary_outputs_stand_behind_the_json() {
    let floats = Tensor::new(vec![1, 2], TensorData::Fp32(vec![f32::NAN, 1.0])).unwrap();
    let brains = Tensor::new(vec![2], TensorData::Bf16(vec![0x3f80, 0x7f80])).unwrap();
    let texts = Tensor::new(vec![1], TensorData::Bytes(vec![b"hi".to_vec()])).unwrap();
    let names = ["no".to_owned(), "yes".to_owned()];
    let encoded = encode(&InferResponse {
        model_name: "m",
        model_version: "3",
        id: None,
        outputs: &[
            Output::from(("p", &floats)).labelled(&names).as_binary(true),
            Output::from(("b", &brains)),
            Output::from(("t", &texts)).as_binary(true),
        ],
    });
    let (json, blobs) = encoded.body.split_at(encoded.json_length.unwrap());
    let json: serde_json::Value = serde_json::from_slice(json).unwrap();
    let wanted = serde_json::json!([
        {"name": "p", "datatype": "FP32", "shape": [1, 2],
         "parameters": {"binary_data_size": 8, "by_label": [{"no": null, "yes": 1.0}]}},
        {"name": "b", "datatype": "BF16", "shape": [2], "data": [1.0, null],
         "parameters": {"non_finite_as_null": 1}},
        {"name": "t", "datatype": "BYTES", "shape": [1], "parameters": {"binary_data_size": 6}},
    ]);
    assert_eq!(json["outputs"], wanted);
    let nan = f32::NAN.to_le_bytes();
    assert_eq!(blobs, [&nan[..], &[0, 0, 0x80, 0x3f, 2, 0, 0, 0, b'h', b'i']].concat());
}

#[test]
fn words_for_numbers_that_json_has_not_are_read_in_float_tensors_only() {
    let input = |datatype: &str, data: &str| {
        format!(
            r#"{{"inputs":[{{"name":"x","shape":[1],"datatype":"{datatype}","data":{data}}}]}}"#
        )
    };
    for (data, wanted) in [
        ("[NaN]", f32::NAN),
        ("[-Infinity]", f32::NEG_INFINITY),
        ("Infinity", f32::INFINITY),
        ("[\"-Infinity\"]", f32::NEG_INFINITY),
        ("[\"NaN\"]", f32::NAN),
    ] {
        let request = decode(input("FP32", data).as_bytes()).unwrap();
        let TensorData::Fp32(values) = request.inputs[0].tensor.data() else { panic!("floats") };
        assert_eq!(values[0].is_nan(), wanted.is_nan());
        assert!(wanted.is_nan() || values[0] == wanted, "{data}");
    }
    assert!(decode(input("FP64", "[NaN]").as_bytes()).is_ok());
    let elsewhere = "came without quotes where no element of a float tensor stands";
    let table = [
        (input("BYTES", "[NaN]"), elsewhere),
        (input("INT32", "[NaN]"), "element 0 is \"NaN\", INT32 wants"),
        (format!(r#"{{"id":NaN,"inputs":[{X}]}}"#), elsewhere),
        (format!(r#"{{"parameters":{{"a":Infinity}},"inputs":[{X}]}}"#), elsewhere),
        (format!(r#"{{"inputs":[{X}],"outputs":[{{"name":NaN}}]}}"#), elsewhere),
        (X.replace("\"x\"", "NaN").replacen('{', "{\"inputs\":[{", 1) + "]}", elsewhere),
        (input("FP32", "[NaNs]"), "not valid JSON"),
        (input("FP32", "[NaN,]"), "not valid JSON"),
        (input("FP32", "[\"nan\"]"), "element 0 is \"nan\""),
    ];
    for (body, told) in table {
        let error = error(&body);
        assert!(error.contains(told) && !error.contains('\u{ffff}'), "{body}: {error}");
    }
    // A text that is such a word stays a text.
    let request = decode(input("BYTES", "[\"NaN\"]").as_bytes()).unwrap();
    assert_eq!(request.inputs[0].tensor.data(), &TensorData::Bytes(vec![b"NaN".to_vec()]));
}

/// Tensors as outputs of an answer in JSON, read again as inputs of a request.
fn through_json(data: TensorData) -> TensorData {
    let tensor = Tensor::new(vec![data.len()], data).unwrap();
    let outputs = [Output::from(("x", &tensor))];
    let answer = InferResponse { model_name: "m", model_version: "1", id: None, outputs: &outputs };
    let text = String::from_utf8(encode(&answer).body).unwrap();
    let request = decode(text.replacen("\"outputs\"", "\"inputs\"", 1).as_bytes()).unwrap();
    request.inputs[0].tensor.data().clone()
}

proptest! {
    #[test]
    fn numbers_survive_a_way_through_json(
        singles in proptest::collection::vec(any::<u32>().prop_map(f32::from_bits), 0..40),
        doubles in proptest::collection::vec(any::<u64>().prop_map(f64::from_bits), 0..40),
        whole in proptest::collection::vec(any::<i64>(), 0..40),
        unsigned in proptest::collection::vec(any::<u64>(), 0..40),
    ) {
        let singles: Vec<f32> = singles.into_iter().filter(|x| x.is_finite()).collect();
        let read = through_json(TensorData::Fp32(singles.clone()));
        prop_assert_eq!(read, TensorData::Fp32(singles));
        prop_assert_eq!(through_json(TensorData::Int64(whole.clone())), TensorData::Int64(whole));
        let read = through_json(TensorData::Uint64(unsigned.clone()));
        prop_assert_eq!(read, TensorData::Uint64(unsigned));
        let doubles: Vec<f64> = doubles.into_iter().filter(|x| x.is_finite()).collect();
        let read = through_json(TensorData::Fp64(doubles.clone()));
        prop_assert_eq!(read, TensorData::Fp64(doubles));
    }
}
