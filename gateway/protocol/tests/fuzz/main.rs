//! Every decoder under altered bodies: none may panic, none may take memory beyond a small
//! multiple of the body, and what is decoded must survive being encoded and decoded again.
//!
//! Each target is a function of bytes. It runs on its committed corpus and on bodies made from
//! that by a seeded chance, so that a failure comes again: its body is printed.
//! `WEIGHBRIDGE_FUZZ_ROUNDS` makes the run longer.

mod harness;
mod targets;

use harness::{fuzz, run};

#[test]
fn v2_json() {
    fuzz("v2_json", targets::v2_json);
}

#[test]
fn v2_binary() {
    fuzz("v2_binary", targets::v2_binary);
}

#[test]
fn v2_raw() {
    fuzz("v2_raw", targets::v2_raw);
}

#[test]
fn v1_predict() {
    fuzz("v1_predict", targets::v1_predict);
}

#[test]
fn v1_examples() {
    fuzz("v1_examples", targets::v1_examples);
}

#[test]
fn raw_tensor() {
    fuzz("raw_tensor", targets::raw_tensor);
}

#[test]
fn golden() {
    fuzz("golden", targets::golden);
}

/// Bodies that only grow: the worst that is known for each decoder.
#[test]
fn long_bodies_take_memory_in_proportion() {
    let list = |element: &str, count: usize| vec![element; count].join(",");
    // Just after a list of 131,072 elements had to move.
    let many = 132_000;
    let shape = format!("[{many}]");
    let v2 = |datatype: &str, shape: &str, data: String| {
        format!(
            r#"{{"inputs":[{{"name":"x","datatype":"{datatype}","shape":{shape},"data":[{data}]}}]}}"#
        )
    };
    let late = format!(
        r#"{{"inputs":[{{"name":"x","data":[{}],"shape":[{many}],"datatype":"FP64"}}]}}"#,
        list("0", many)
    );
    let parameters: Vec<String> = (0..many).map(|i| format!("\"{i}\":{i}")).collect();
    let cases: Vec<(&str, harness::Target, String)> = vec![
        ("FP64", targets::v2_json, v2("FP64", &shape, list("0", many))),
        ("late FP64", targets::v2_json, late),
        ("words", targets::v2_json, v2("FP64", &shape, list("NaN", many))),
        ("texts", targets::v2_json, v2("BYTES", &shape, list("\"\"", many))),
        ("huge shape", targets::v2_json, v2("FP64", "[4611686018427387904]", list("0", many))),
        ("lists", targets::v2_json, v2("FP64", "[132000,0]", list("[]", many))),
        ("axes", targets::v2_json, v2("FP64", &format!("[{}]", list("0", many)), "0".into())),
        ("inputs", targets::v2_json, format!("{{\"inputs\":[{}]}}", list("{}", many))),
        (
            "outputs",
            targets::v2_json,
            format!(r#"{{"inputs":[],"outputs":[{}]}}"#, list(r#"{"name":""}"#, many)),
        ),
        (
            "parameters",
            targets::v2_json,
            format!(r#"{{"inputs":[],"parameters":{{{}}}}}"#, parameters.join(",")),
        ),
        ("nesting", targets::v2_json, "[".repeat(many)),
        ("instances", targets::v1_predict, format!("{{\"instances\":[{}]}}", list("0", many))),
        ("texts", targets::v1_predict, format!("{{\"inputs\":[{}]}}", list("\"\"", many))),
        ("words", targets::v1_predict, format!("{{\"inputs\":[{}]}}", list("NaN", many))),
        (
            "base64",
            targets::v1_predict,
            format!("{{\"inputs\":[{}]}}", list(r#"{"b64":""}"#, many)),
        ),
        (
            "context",
            targets::v1_examples,
            format!(
                r#"{{"context":{{"x":[{}]}},"examples":[{}]}}"#,
                list("0", 1000),
                list("{}", 1000)
            ),
        ),
        (
            "texts of a context",
            targets::v1_examples,
            format!(
                r#"{{"context":{{"x":[{}]}},"examples":[{}]}}"#,
                list("\"\"", 1000),
                list("{}", 1000)
            ),
        ),
        ("cases", targets::golden, format!("{{\"cases\":[{}]}}", list("0", many))),
    ];
    for (name, target, body) in cases {
        if let Err(mistake) = run(target, body.as_bytes()) {
            panic!("{name}: {mistake}");
        }
    }
    let mut texts = vec![12, 1, 0xfe];
    texts.extend(vec![0; 4 * many]);
    assert_eq!(run(targets::raw_tensor, &texts), Ok(true));
}
