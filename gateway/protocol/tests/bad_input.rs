//! What every decoder must refuse, with an error that says where. Mistakes that only one of them
//! can meet stand in its own tests.

use weighbridge_config::{Datatype, Signature, TensorSpec};
use weighbridge_protocol::{BadRequest, bind, bind::requested_outputs, golden, v1, v2};

fn signature(datatype: Datatype) -> Signature {
    let spec = |name: &str| TensorSpec {
        name: name.to_owned(),
        datatype,
        shape: vec![-1, 2],
        labels: vec![],
    };
    Signature { inputs: vec![spec("x")], outputs: vec![spec("y")], batchable: true }
}

/// One tensor `x` of two elements in the words of each decoder, and what became of it.
fn each(datatype: Datatype, data: &[u8]) -> Vec<(&'static str, BadRequest)> {
    let signature = signature(datatype);
    let around = |before: &str, after: &str| [before.as_bytes(), data, after.as_bytes()].concat();
    let tensor =
        |name: &str| format!(r#"{{"name":"{name}","datatype":"{datatype}","shape":[1,2],"data":"#);
    let usual = around(&format!("{{\"inputs\":[{}", tensor("x")), "}]}");
    let late = around(
        r#"{"inputs":[{"name":"x","data":"#,
        &format!(r#","datatype":"{datatype}","shape":[1,2]}}]}}"#),
    );
    let rows = around("{\"instances\":[", "]}");
    let named = around("{\"instances\":[{\"x\":", "}]}");
    let columns = around("{\"inputs\":[", "]}");
    let examples = around("{\"examples\":[{\"x\":", "}]}");
    let context = around("{\"context\":{\"x\":", "},\"examples\":[{}]}");
    let output = format!(r#"}}],"outputs":[{}[1,2]}}]}}]}}"#, tensor("y"));
    let case = around(&format!("{{\"cases\":[{{\"inputs\":[{}", tensor("x")), &output);
    let v2_error = |body: &[u8]| v2::decode(body).unwrap_err();
    let v2_binary = |body: &[u8]| v2::decode_binary(body, body.len()).unwrap_err();
    let v1_error = |body: &[u8]| v1::decode(body, &signature).unwrap_err();
    let of_examples = |body: &[u8]| v1::decode_examples(body, &signature).unwrap_err();
    vec![
        ("v2", v2_error(&usual)),
        ("v2 with data before datatype", v2_error(&late)),
        ("v2 with a binary part", v2_binary(&usual)),
        ("v1 rows", v1_error(&rows)),
        ("v1 named rows", v1_error(&named)),
        ("v1 columns", v1_error(&columns)),
        ("v1 examples", of_examples(&examples)),
        ("v1 context", of_examples(&context)),
        ("golden", golden::decode(&case).unwrap_err()),
    ]
}

#[test]
fn elements_that_do_not_fit_are_refused_everywhere() {
    let table: [(Datatype, &str, &str); 16] = [
        (Datatype::Uint8, "[1,256]", "input \"x\": element 1 is 256, UINT8 wants"),
        (Datatype::Int8, "[1,-129]", "input \"x\": element 1 is -129, INT8 wants"),
        (Datatype::Int32, "[1,2147483648]", "input \"x\": element 1 is 2147483648, INT32 wants"),
        (Datatype::Int64, "[1,9223372036854775808]", "input \"x\": element 1 is"),
        (Datatype::Uint64, "[1,-1]", "input \"x\": element 1 is -1, UINT64 wants"),
        (Datatype::Uint64, "[1,18446744073709551616]", "input \"x\": element 1 is"),
        (Datatype::Int64, "[1,1.5]", "input \"x\": element 1 is 1.5, INT64 wants"),
        (Datatype::Int64, "[1,null]", "input \"x\": element 1 is null, INT64 wants"),
        (Datatype::Fp32, "[1,1e39]", "input \"x\": element 1 is 1"),
        (Datatype::Fp32, "[1,\"2\"]", "input \"x\": element 1 is \"2\", FP32 wants"),
        (Datatype::Fp32, "[1,true]", "input \"x\": element 1 is true, FP32 wants"),
        (Datatype::Fp64, "[1,[{}]]", "input \"x\": element 1 is an object, FP64 wants"),
        (Datatype::Bool, "[true,2]", "input \"x\": element 1 is 2, BOOL wants"),
        (Datatype::Bytes, "[\"a\",1]", "input \"x\": element 1 is 1, BYTES wants"),
        (Datatype::Fp16, "[1,2]", "input \"x\": FP16 cannot be sent as JSON"),
        (Datatype::Bf16, "[1,2]", "input \"x\": BF16 cannot be sent as JSON"),
    ];
    for (datatype, data, told) in table {
        for (decoder, error) in each(datatype, data.as_bytes()) {
            assert!(error.0.contains(told), "{decoder}: {datatype} {data}: {error}");
        }
    }
}

#[test]
fn deep_nesting_ends_early_everywhere() {
    let deep = |depth: usize| ["[".repeat(depth), "]".repeat(depth)].concat();
    for (decoder, error) in each(Datatype::Fp32, deep(20).as_bytes()) {
        assert!(error.0.contains("input \"x\": arrays nest deeper than 16"), "{decoder}: {error}");
    }
    for (decoder, error) in each(Datatype::Fp32, deep(100_000).as_bytes()) {
        let told = ["deeper than 16", "recursion limit exceeded"];
        assert!(told.iter().any(|told| error.0.contains(told)), "{decoder}: {error}");
    }
    // What is ignored is skipped without recursion.
    let ignored = format!(r#"{{"k":{},"inputs":[]}}"#, deep(100_000));
    assert!(v2::decode(ignored.as_bytes()).is_ok());
}

#[test]
fn what_is_no_json_is_refused_with_its_place_everywhere() {
    let table: [(&[u8], &str); 6] = [
        (b"[1,1e999]", "a number is too large for BYTES"),
        (b"[1,\"\xff\"]", "unicode"),
        (b"[1,\"\\ud800\"]", "lone"),
        (b"[1,01]", "not valid JSON"),
        (b"[1,]", "not valid JSON"),
        (b"[1,nan]", "not valid JSON"),
    ];
    for (data, told) in table {
        for (decoder, error) in each(Datatype::Bytes, data) {
            // Which of the mistakes comes first differs: the type of an element may.
            let is_told = error.0.contains(told) || error.0.contains("element 0 is 1, BYTES wants");
            let has_place = error.0.contains("line 1") || error.0.contains("input \"x\"");
            assert!(is_told && has_place, "{decoder}: {}: {error}", data.escape_ascii());
        }
        for (decoder, error) in each(Datatype::Fp32, data) {
            let has_place = error.0.contains("line 1") || error.0.contains("input \"x\"");
            assert!(has_place, "{decoder}: {}: {error}", data.escape_ascii());
        }
    }
    let body = br#"{"inputs":[{"name":"x","datatype":"FP64","shape":[1],"data":[1e999]}]}"#;
    let error = v2::decode(body).unwrap_err().0;
    assert_eq!(error, "input \"x\": number out of range at line 1 column 68");
}

#[test]
fn tensors_that_do_not_fit_the_model_are_refused_by_name() {
    let tensor = |name: &str, shape: &str, data: &str| {
        format!(r#"{{"name":"{name}","datatype":"FP32","shape":{shape},"data":{data}}}"#)
    };
    let x = tensor("x", "[1,2]", "[1,2]");
    let table = [
        (format!("{x},{x}"), "input \"x\" came twice"),
        (tensor("z", "[1,2]", "[1,2]"), "unknown input \"z\""),
        (tensor("x", "[0,2]", "[]"), "input \"x\" has no rows"),
        (tensor("x", "[2]", "[1,2]"), "send one row as [1, 2]"),
        (tensor("x", "[1,3]", "[1,2,3]"), "axis 1 is 3, not 2"),
        (String::new(), "input \"x\" (FP32 [-1, 2]) is missing"),
    ];
    for (inputs, told) in table {
        let request = v2::decode(format!("{{\"inputs\":[{inputs}]}}").as_bytes()).unwrap();
        let error = bind(request.inputs, &signature(Datatype::Fp32)).unwrap_err().0;
        assert!(error.contains(told), "{inputs}: {error}");
    }
    for (outputs, told) in [
        (r#"{"name":"y"},{"name":"y"}"#, "output \"y\" is asked for twice"),
        (r#"{"name":"z"}"#, "unknown output \"z\""),
    ] {
        let body = format!("{{\"inputs\":[{x}],\"outputs\":[{outputs}]}}");
        let asked = v2::decode(body.as_bytes()).unwrap().outputs;
        let error = requested_outputs(asked.as_deref(), &signature(Datatype::Fp32)).unwrap_err();
        assert!(error.0.contains(told), "{outputs}: {error}");
    }
}
