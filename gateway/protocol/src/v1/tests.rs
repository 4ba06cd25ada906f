use weighbridge_config::{Datatype, Tensor, TensorData, TensorSpec, V1Dialect};

use super::*;
use crate::output::Output;

fn spec(name: &str, datatype: Datatype, shape: &[i64]) -> TensorSpec {
    TensorSpec { name: name.into(), datatype, shape: shape.to_vec(), labels: vec![] }
}

fn one_input() -> Signature {
    let inputs = vec![spec("image", Datatype::Fp32, &[-1, 2])];
    Signature { inputs, outputs: vec![], batchable: true }
}

fn two_inputs() -> Signature {
    let inputs =
        vec![spec("age", Datatype::Fp32, &[-1, 1]), spec("city", Datatype::Bytes, &[-1, 1])];
    Signature { inputs, outputs: vec![], batchable: true }
}

fn text_input() -> Signature {
    let inputs = vec![spec("image", Datatype::Bytes, &[-1])];
    Signature { inputs, outputs: vec![], batchable: true }
}

fn tensors(body: &str, signature: &Signature) -> (Form, Vec<Tensor>) {
    let (form, named) = decode(body.as_bytes(), signature).unwrap();
    (form, named.into_iter().map(|n| n.tensor).collect())
}

#[test]
fn rows_and_columns_give_the_same_tensors() {
    let wanted = Tensor::new(vec![2, 2], TensorData::Fp32(vec![1.0, 2.0, 3.0, 4.0])).unwrap();
    for (body, form) in [
        (r#"{"instances":[[1,2],[3,4]]}"#, Form::Row),
        (
            r#"{"signature_name":"serving_default","instances":[{"image":[1,2]}, {"image":[3,4]}]}"#,
            Form::Row,
        ),
        (r#"{"inputs":[[1,2],[3,4]]}"#, Form::Column),
        (r#"{"inputs": {"image":[[1,2],[3,4]]}}"#, Form::Column),
    ] {
        assert_eq!(tensors(body, &one_input()), (form, vec![wanted.clone()]), "{body}");
    }
}

#[test]
fn a_table_of_plain_values_becomes_columns() {
    let ages = Tensor::new(vec![2, 1], TensorData::Fp32(vec![30.0, 41.0])).unwrap();
    let cities =
        Tensor::new(vec![2, 1], TensorData::Bytes(vec![b"Bonn".to_vec(), b"Oslo".to_vec()]))
            .unwrap();
    for body in [
        r#"{"instances":[{"age":30,"city":"Bonn"},{"city":"Oslo","age":41}]}"#,
        r#"{"inputs":{"age":[[30],[41]],"city":["Bonn","Oslo"]}}"#,
    ] {
        let (_, got) = tensors(body, &two_inputs());
        assert_eq!(got, [ages.clone(), cities.clone()]);
    }
}

#[test]
fn each_mistake_is_named() {
    let table = [
        ("{}", one_input(), "missing \"instances\" or \"inputs\""),
        ("[1]", one_input(), "a predict request"),
        (r#"{"instances":[]}"#, one_input(), "\"instances\" is empty"),
        (r#"{"instances":[[1,2]],"inputs":[[1,2]]}"#, one_input(), "both came"),
        (r#"{"instances":[[1,2],[3]]}"#, one_input(), "arrays differ in length"),
        (r#"{"instances":[[1,"a"]]}"#, one_input(), "element 1 is \"a\""),
        (r#"{"instances":[{"picture":[1,2]}]}"#, one_input(), "unknown input \"picture\""),
        (r#"{"instances":[{"image":[1,2],"image":[1,2]}]}"#, one_input(), "came twice"),
        (r#"{"instances":[1]}"#, two_inputs(), "each wants its name"),
        (r#"{"instances":[{"age":1}]}"#, two_inputs(), "input \"city\" is missing"),
        (
            r#"{"instances":[{"age":1,"city":"a"},{"age":1}]}"#,
            two_inputs(),
            "input \"city\" is missing",
        ),
        (r#"{"instances":[[1,2]"#, one_input(), "not valid JSON"),
        (r#"{"instances":[[1,2]],"instances":[[1,2]]}"#, one_input(), "\"instances\" came twice"),
        (
            r#"{"signature_name":"other","instances":[[1,2]]}"#,
            one_input(),
            "signature_name is \"other\": wanted \"serving_default\"",
        ),
        (r#"{"signature_name":7,"instances":[[1,2]]}"#, one_input(), "signature_name is \"7\""),
        (r#"{"instances":[[{"b64":"AA=="},2]]}"#, one_input(), "element 0 is an object, FP32"),
        (r#"{"instances":[NaN]}"#, text_input(), "no element of a float tensor"),
        (r#"{"instances":[{"b64":"A"}]}"#, text_input(), "element 0 is \"A\", BYTES wants base64"),
        (
            r#"{"instances":["a",{"b64":"AA==","c":1}]}"#,
            text_input(),
            "element 1 is an object, BYTES wants a string or {\"b64\"",
        ),
        (r#"{"inputs":[[{"c":"AA=="}]]}"#, text_input(), "element 0 is an object, BYTES wants"),
        (r#"{"instances":[{"b64":7}]}"#, text_input(), "invalid type"),
    ];
    for (body, signature, text) in table {
        let error = decode(body.as_bytes(), &signature).unwrap_err().to_string();
        assert!(error.contains(text), "{body}\n gave: {error}\n wanted: {text}");
    }
}

#[test]
fn answers_take_the_form_of_the_question() {
    let label = Tensor::new(vec![2], TensorData::Int64(vec![7, 1])).unwrap();
    let p = Tensor::new(vec![2, 2], TensorData::Fp32(vec![0.25, 0.75, 1.0, 0.0])).unwrap();
    let both: &[Output<'_>] = &[("label", &label).into(), ("p", &p).into()];
    let text = |form, dialect, outputs| {
        String::from_utf8(encode(form, dialect, outputs).unwrap()).unwrap()
    };
    assert_eq!(
        text(Form::Row, V1Dialect::Tfs, &both[1..]),
        r#"{"predictions":[[0.25,0.75],[1.0,0.0]]}"#
    );
    assert_eq!(
        text(Form::Row, V1Dialect::Kserve, both),
        r#"{"predictions":[{"label":7,"p":[0.25,0.75]},{"label":1,"p":[1.0,0.0]}]}"#
    );
    assert_eq!(text(Form::Column, V1Dialect::Tfs, &both[..1]), r#"{"outputs":[7,1]}"#);
    assert_eq!(
        text(Form::Column, V1Dialect::Kserve, both),
        r#"{"predictions":{"label":[7,1],"p":[[0.25,0.75],[1.0,0.0]]}}"#
    );
    let scalar = Tensor::new(vec![], TensorData::Int64(vec![7])).unwrap();
    let odd = [("a", &label).into(), ("b", &scalar).into()];
    assert!(encode(Form::Row, V1Dialect::Tfs, &odd).is_err());
    let names = ["no".to_owned(), "yes".to_owned()];
    let labelled = [both[0], both[1].labelled(&names)];
    assert_eq!(
        text(Form::Row, V1Dialect::Tfs, &labelled),
        r#"{"predictions":[{"label":7,"p":{"no":0.25,"yes":0.75}},{"label":1,"p":{"no":1.0,"yes":0.0}}]}"#
    );
    assert_eq!(
        text(Form::Column, V1Dialect::Tfs, &labelled[1..]),
        r#"{"outputs":[{"no":0.25,"yes":0.75},{"no":1.0,"yes":0.0}]}"#
    );
}

#[test]
fn base64_stands_for_elements_of_bytes() {
    let wanted = Tensor::new(vec![2], TensorData::Bytes(vec![vec![0xff, 0], b"a".to_vec()]));
    let wanted = wanted.unwrap();
    for body in [
        r#"{"instances":[{"b64":"/wA="},"a"]}"#,
        r#"{"instances":[ { "b64" : "/wA" }, {"image":"a"}]}"#,
        r#"{"instances":[{"image":{"b64":"/wA="}},{"image":"a"}]}"#,
        r#"{"inputs":[{"b64":"/wA="},{"b64":"YQ"}]}"#,
        r#"{"inputs":{"image":[{"b64":"/wA="},"a"]}}"#,
    ] {
        assert_eq!(tensors(body, &text_input()).1, std::slice::from_ref(&wanted), "{body}");
    }
    // An input of that name is an input.
    let inputs = vec![spec("b64", Datatype::Bytes, &[-1])];
    let named = Signature { inputs, outputs: vec![], batchable: true };
    let (_, read) = tensors(r#"{"instances":[{"b64":"YQ=="}]}"#, &named);
    assert_eq!(read[0].data(), &TensorData::Bytes(vec![b"YQ==".to_vec()]));
}

fn written(encoded: Result<Vec<u8>, BadRequest>) -> String {
    String::from_utf8(encoded.unwrap()).unwrap()
}

#[test]
fn what_json_cannot_say_leaves_as_the_dialect_has_it() {
    let odd = Tensor::new(vec![2], TensorData::Fp32(vec![f32::NAN, f32::NEG_INFINITY])).unwrap();
    let raw = Tensor::new(vec![2], TensorData::Bytes(vec![vec![0xff], b"a".to_vec()])).unwrap();
    let outputs = [Output::from(("p", &odd)), Output::from(("raw_bytes", &raw))];
    assert_eq!(
        written(encode(Form::Row, V1Dialect::Tfs, &outputs)),
        r#"{"predictions":[{"p":NaN,"raw_bytes":{"b64":"/w=="}},{"p":-Infinity,"raw_bytes":{"b64":"YQ=="}}]}"#
    );
    assert_eq!(
        written(encode(Form::Column, V1Dialect::Kserve, &outputs)),
        r#"{"predictions":{"p":[null,null],"raw_bytes":[{"b64":"/w=="},{"b64":"YQ=="}]}}"#
    );
    // And what leaves as a bare word is read again.
    let (_, read) = tensors(r#"{"inputs":[[NaN,-Infinity]]}"#, &one_input());
    let TensorData::Fp32(values) = read[0].data() else { panic!("wanted floats") };
    assert!(values[0].is_nan() && values[1] == f32::NEG_INFINITY);
}

#[test]
fn examples_are_rows_that_share_a_context() {
    let ages = Tensor::new(vec![2, 1], TensorData::Fp32(vec![30.0, 41.0])).unwrap();
    let cities =
        Tensor::new(vec![2, 1], TensorData::Bytes(vec![b"Bonn".to_vec(), b"Oslo".to_vec()]))
            .unwrap();
    for body in [
        r#"{"examples":[{"age":30,"city":"Bonn"},{"age":[41],"city":["Oslo"]}]}"#,
        r#"{"signature_name":"","examples":[{"age":30},{"age":41,"city":"Oslo"}],
            "context":{"city":"Bonn"}}"#,
        r#"{"context":{"city":{"b64":"Qm9ubg=="},"age":41},"examples":[{"age":30},{"city":"Oslo"}]}"#,
        r#"{"context":null,"examples":[{"age":30,"city":"Bonn"},{"age":41,"city":"Oslo"}]}"#,
    ] {
        // A list and a plain value of one input differ in shape: the first body mixes them.
        let read = decode_examples(body.as_bytes(), &two_inputs());
        if body.contains("[41]") {
            assert!(read.unwrap_err().0.contains("its arrays differ"), "{body}");
            continue;
        }
        let read: Vec<Tensor> = read.unwrap().into_iter().map(|named| named.tensor).collect();
        assert_eq!(read, [ages.clone(), cities.clone()], "{body}");
    }
    let lists = r#"{"examples":[{"image":["a"]},{"image":["b"]}]}"#;
    let read = decode_examples(lists.as_bytes(), &text_input()).unwrap();
    assert_eq!(read[0].tensor.shape(), [2]);
}

#[test]
fn each_mistake_of_examples_is_named() {
    let long = format!(
        r#"{{"context":{{"age":1,"city":"{}"}},"examples":[{}{{}}]}}"#,
        "c".repeat(2000),
        "{},".repeat(300)
    );
    let table = [
        ("{}", "missing \"examples\""),
        ("[]", "a classify or regress request"),
        (r#"{"examples":[]}"#, "\"examples\" is empty"),
        (r#"{"examples":{}}"#, "\"examples\": a list with one object per row"),
        (r#"{"examples":[{"age":1,"city":"a"},7]}"#, "examples[1]: an object of input names"),
        (r#"{"examples":[{"age":1}]}"#, "input \"city\" is missing"),
        (r#"{"examples":[{"town":1}]}"#, "unknown input \"town\""),
        (r#"{"examples":[{"age":1,"age":1,"city":"a"}]}"#, "input \"age\" came twice"),
        (r#"{"examples":[{"age":"x","city":"a"}]}"#, "input \"age\": element 0 is \"x\""),
        (r#"{"context":{"town":1},"examples":[{}]}"#, "unknown input \"town\""),
        (r#"{"context":{"age":1,"age":1},"examples":[{}]}"#, "context: input \"age\" came twice"),
        (r#"{"context":[1],"examples":[{}]}"#, "\"context\": an object"),
        (r#"{"context":{"age":"x","city":"a"},"examples":[{}]}"#, "input \"age\": element 0"),
        (r#"{"context":{},"context":{},"examples":[{}]}"#, "\"context\" came twice"),
        (r#"{"signature_name":"s","examples":[{}]}"#, "signature_name is \"s\""),
        (r#"{"examples":[{"age":1"#, "not valid JSON"),
        (&long, "context: put into all examples its values are far longer"),
    ];
    for (body, told) in table {
        let error = decode_examples(body.as_bytes(), &two_inputs()).unwrap_err().0;
        assert!(error.contains(told), "{body}\n gave: {error}\n wanted: {told}");
    }
}

#[test]
fn results_are_taken_from_the_output_that_has_them() {
    let p = Tensor::new(vec![2, 2], TensorData::Fp32(vec![0.25, 0.75, f32::NAN, 0.0])).unwrap();
    let label = Tensor::new(vec![2], TensorData::Int64(vec![1, 0])).unwrap();
    let y = Tensor::new(vec![2, 1], TensorData::Fp64(vec![1.5, f64::INFINITY])).unwrap();
    let half = Tensor::new(vec![2], TensorData::Fp16(vec![0x3c00, 0])).unwrap();
    let names = ["no".to_owned(), "yes".to_owned()];
    let labelled = [Output::from(("l", &label)), Output::from(("p", &p)).labelled(&names)];
    assert_eq!(
        written(encode_classes(V1Dialect::Tfs, 2, &labelled)),
        r#"{"results":[[["no",0.25],["yes",0.75]],[["no",NaN],["yes",0.0]]]}"#
    );
    assert_eq!(
        written(encode_classes(V1Dialect::Kserve, 2, &[("p", &p).into()])),
        r#"{"results":[[["0",0.25],["1",0.75]],[["0",null],["1",0.0]]]}"#
    );
    assert_eq!(
        written(encode_classes(V1Dialect::Tfs, 1, &[("h", &half).into()])),
        r#"{"results":[[["0",1.0],["1",0.0]]]}"#
    );
    let outputs = [labelled[0], labelled[1], ("y", &y).into()];
    assert_eq!(
        written(encode_regression(V1Dialect::Tfs, 2, &outputs)),
        r#"{"results":[1.5,Infinity]}"#
    );
    assert_eq!(
        written(encode_regression(V1Dialect::Kserve, 2, &[("h", &half).into()])),
        r#"{"results":[1.0,0.0]}"#
    );
    let none = encode_classes(V1Dialect::Tfs, 2, &[labelled[0], ("y", &y).into()]).unwrap_err();
    assert!(none.0.contains("which :classify wants: ask with :predict"), "{none}");
    let none = encode_regression(V1Dialect::Tfs, 2, &labelled).unwrap_err();
    assert!(none.0.contains("which :regress wants: ask with :predict"), "{none}");
}
