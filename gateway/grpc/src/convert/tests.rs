use super::*;

fn input(datatype: &str, shape: &[i64], contents: InferTensorContents) -> InferInputTensor {
    InferInputTensor {
        name: "x".into(),
        datatype: datatype.into(),
        shape: shape.to_vec(),
        parameters: BTreeMap::new(),
        contents: Some(contents),
    }
}

fn request(input: InferInputTensor, raw: &[&'static [u8]]) -> ModelInferRequest {
    ModelInferRequest {
        model_name: "m".into(),
        inputs: vec![input],
        raw_input_contents: raw.iter().map(|bytes| Bytes::from_static(bytes)).collect(),
        ..ModelInferRequest::default()
    }
}

fn none() -> InferTensorContents {
    InferTensorContents::default()
}

fn ints(values: &[i32]) -> InferTensorContents {
    InferTensorContents { int_contents: values.to_vec(), ..none() }
}

fn floats(values: &[f32]) -> InferTensorContents {
    InferTensorContents { fp32_contents: values.to_vec(), ..none() }
}

#[test]
fn typed_and_raw_contents_give_the_same_tensor() {
    let typed = decode(request(input("FP32", &[1, 2], floats(&[1.0, -2.0])), &[])).unwrap();
    let raw = [0, 0, 0x80, 0x3f, 0, 0, 0, 0xc0];
    let raw = decode(request(input("FP32", &[1, 2], none()), &[Box::leak(Box::new(raw))])).unwrap();
    assert_eq!(typed.request, raw.request);
    let TensorData::Fp32(values) = typed.request.inputs[0].tensor.data() else { panic!("floats") };
    assert_eq!(values, &[1.0, -2.0]);
}

#[test]
fn each_datatype_has_its_field() {
    let table = [
        ("BOOL", InferTensorContents { bool_contents: vec![true], ..none() }),
        ("INT8", ints(&[-128])),
        ("INT16", ints(&[-32768])),
        ("INT32", ints(&[i32::MIN])),
        ("INT64", InferTensorContents { int64_contents: vec![i64::MIN], ..none() }),
        ("UINT8", InferTensorContents { uint_contents: vec![255], ..none() }),
        ("UINT16", InferTensorContents { uint_contents: vec![65535], ..none() }),
        ("UINT32", InferTensorContents { uint_contents: vec![u32::MAX], ..none() }),
        ("UINT64", InferTensorContents { uint64_contents: vec![u64::MAX], ..none() }),
        ("FP32", floats(&[0.5])),
        ("FP64", InferTensorContents { fp64_contents: vec![0.5], ..none() }),
        ("BYTES", InferTensorContents { bytes_contents: vec![b"a".to_vec()], ..none() }),
    ];
    for (datatype, contents) in table {
        let decoded = decode(request(input(datatype, &[1], contents), &[])).unwrap();
        assert_eq!(decoded.request.inputs[0].tensor.datatype().name(), datatype);
    }
}

#[test]
fn each_mistake_names_the_input_what_came_and_what_was_wanted() {
    let table: [(ModelInferRequest, &str); 11] = [
        (request(input("FP33", &[1], none()), &[]), "input \"x\": \"FP33\" is not a datatype"),
        (request(input("FP32", &[-1], none()), &[]), "lengths of 0 or more, -1 came"),
        (request(input("FP32", &[1; 17], none()), &[]), "17 axes came"),
        (request(input("FP32", &[2], floats(&[1.0])), &[]), "wants 2 elements, 1 came"),
        (
            request(input("FP32", &[1], ints(&[1])), &[]),
            "int_contents came with 1 elements, FP32 wants fp32_contents",
        ),
        (request(input("INT8", &[1], ints(&[128])), &[]), "element 0 is 128, no value of INT8"),
        (request(input("FP16", &[1], none()), &[]), "send it in raw_input_contents"),
        (request(input("FP32", &[1], none()), &[b"abc"]), "3 bytes came"),
        (
            request(input("FP32", &[1], floats(&[1.0])), &[b"abcd"]),
            "must not be specified when using raw_input_contents",
        ),
        (
            request(input("FP32", &[1], none()), &[b"abcd", b"abcd"]),
            "2 entries and there are 1 inputs",
        ),
        (
            request(input("FP32", &[i64::MAX, i64::MAX], none()), &[b""]),
            "more elements than can be counted",
        ),
    ];
    for (message, text) in table {
        let error = decode(message).unwrap_err().to_string();
        assert!(error.contains(text), "{error} should contain {text}");
    }
}

#[test]
fn parameters_are_taken_with_their_kinds() {
    let mut message = request(input("FP32", &[0], none()), &[]);
    let mut add = |name: &str, choice| {
        let value = InferParameter { parameter_choice: choice };
        message.parameters.insert(name.to_owned(), value);
    };
    add("priority", Some(ParameterChoice::Uint64Param(2)));
    add("unset", None);
    add(ASKS_FOR_FINAL, Some(ParameterChoice::BoolParam(true)));
    let decoded = decode(message.clone()).unwrap();
    assert!(decoded.asks_for_final);
    assert_eq!(decoded.request.parameter("priority").as_deref(), Some("2"));
    assert_eq!(decoded.request.parameter("unset"), None);
    message.parameters.insert(
        "triton_other".into(),
        InferParameter { parameter_choice: Some(ParameterChoice::BoolParam(true)) },
    );
    assert!(decode(message).unwrap_err().to_string().contains("triton_other"));
}

#[test]
fn outputs_may_be_asked_for_as_classes() {
    let asked = |choice| {
        let mut message = request(input("FP32", &[0], none()), &[]);
        let parameters = BTreeMap::from([(
            "classification".to_owned(),
            InferParameter { parameter_choice: Some(choice) },
        )]);
        message.outputs = vec![InferRequestedOutputTensor { name: "y".into(), parameters }];
        decode(message).map(|d| d.request.outputs.unwrap()[0].classification)
    };
    assert_eq!(asked(ParameterChoice::Int64Param(3)), Ok(Some(3)));
    assert_eq!(asked(ParameterChoice::Int64Param(0)), Ok(None));
    assert!(asked(ParameterChoice::Int64Param(-1)).is_err());
    assert!(asked(ParameterChoice::StringParam("3".into())).is_err());
}
