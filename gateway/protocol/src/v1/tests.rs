use weighbridge_config::{Datatype, TensorSpec};

use super::*;

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
