use weighbridge_config::TensorData;

use super::*;

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
    assert_eq!(Ok(&usual), turned.as_ref());
    assert_eq!(usual.id.as_deref(), Some("7"));
    assert_eq!(usual.outputs, Some(vec!["y".to_owned()]));
    assert_eq!(usual.inputs[0].tensor.shape(), [1, 2]);
    assert_eq!(usual.inputs[0].tensor.data(), &TensorData::Fp32(vec![1.0, 2.0]));
}

#[test]
fn parameters_are_read_as_text_when_somebody_asks() {
    let parameters = r#"{"user":"zoë","n":7,"b":true,"none":null,"list":[1]}"#;
    let body = format!(r#"{{"parameters":{parameters},"inputs":[{X}]}}"#);
    let request = decode(body.as_bytes()).unwrap();
    let got = ["user", "n", "b", "none", "list", "absent"].map(|name| request.parameter(name));
    let text = |text: &str| Some(text.to_owned());
    assert_eq!(got, [text("zoë"), text("7"), text("true"), None, None, None]);
    let none = format!(r#"{{"parameters":null,"inputs":[{X}]}}"#);
    assert_eq!(decode(none.as_bytes()).unwrap().parameter("user"), None);
    for odd in ["[1]", "7", "\"user\""] {
        let body = format!(r#"{{"parameters":{odd},"inputs":[{X}]}}"#);
        assert!(error(&body).contains("\"parameters\": wanted an object"), "{odd}");
    }
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
            "17 axes",
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
            "binary_data_size",
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
    let json: serde_json::Value = serde_json::from_slice(&encoded).unwrap();
    let wanted = serde_json::json!({
        "model_name": "m", "model_version": "3", "id": "q\n",
        "outputs": [
            {"name": "p", "datatype": "FP32", "shape": [1, 3], "data": [0.1, null, 1e-7]},
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
    let json: serde_json::Value = serde_json::from_slice(&encoded).unwrap();
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
