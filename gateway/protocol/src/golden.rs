//! Files of golden cases: tensors as in the Open Inference Protocol, with what a version must
//! answer to them.
//!
//! ```json
//! {"cases": [{"name": "refund", "inputs": [tensor, …], "outputs": [tensor, …],
//!             "absolute": 1e-4, "relative": 1e-3}, …],
//!  "absolute": 1e-4, "relative": 1e-3, "latency_budget": "5ms"}
//! ```
//!
//! `cases`, `inputs` and `outputs` must be there. A tolerance of a case wins over the file's.
//! Unknown members are refused, and every mistake names the case and the field.

use std::collections::HashMap;

use serde::Deserialize;
use serde_json::value::RawValue;
use weighbridge_config::golden::{GoldenCase, GoldenCases, LONGEST_NAME, MOST_CASES};
use weighbridge_config::rollout::Tolerance;
use weighbridge_config::settings::units::parse_duration;
use weighbridge_config::tensor::element_count;
use weighbridge_config::{Datatype, Tensor};

use crate::elements;
use crate::error::{BadRequest, shown};

/// So many mistakes are told; of the rest only the count.
const MOST_TOLD: usize = 10;

/// The file, its values still as text.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FileText<'a> {
    #[serde(borrow)]
    cases: Vec<&'a RawValue>,
    absolute: Option<&'a RawValue>,
    relative: Option<&'a RawValue>,
    latency_budget: Option<&'a RawValue>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct CaseText<'a> {
    #[serde(borrow)]
    name: Option<&'a RawValue>,
    inputs: &'a RawValue,
    outputs: &'a RawValue,
    absolute: Option<&'a RawValue>,
    relative: Option<&'a RawValue>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct TensorText<'a> {
    #[serde(borrow)]
    name: &'a RawValue,
    datatype: &'a RawValue,
    shape: &'a RawValue,
    data: &'a RawValue,
}

/// Reads a file of golden cases.
///
/// # Errors
/// The first mistake of each case, and those of the file's own fields.
pub fn decode(text: &[u8]) -> Result<GoldenCases, BadRequest> {
    let file: &RawValue = serde_json::from_slice(text)
        .map_err(|e| BadRequest::new(format!("golden cases: this is not valid JSON: {e}")))?;
    let file: FileText<'_> = members(file).map_err(|mistake| refusal(&[mistake]))?;
    let mut mistakes = Vec::new();
    let common = tolerance(file.absolute, file.relative, Tolerance::default())
        .unwrap_or_else(|mistake| keep(&mut mistakes, mistake));
    let latency_budget = file.latency_budget.map(budget).transpose();
    let latency_budget = latency_budget.unwrap_or_else(|mistake| keep(&mut mistakes, mistake));
    if !(1..=MOST_CASES).contains(&file.cases.len()) {
        let came = file.cases.len();
        mistakes.push(format!("cases: {came} came, wanted from 1 to {MOST_CASES}"));
        return Err(refusal(&mistakes));
    }
    let mut cases = Vec::with_capacity(file.cases.len());
    for (number, text) in (1..).zip(file.cases) {
        match case(number, text, common) {
            Ok(case) => cases.push(case),
            Err(mistake) => mistakes.push(mistake),
        }
    }
    mistakes.extend(names_used_twice(&cases));
    if mistakes.is_empty() {
        Ok(GoldenCases { cases, latency_budget })
    } else {
        Err(refusal(&mistakes))
    }
}

/// The members of an object: serde would take a list of values too.
fn members<'a, T: Deserialize<'a>>(text: &'a RawValue) -> Result<T, String> {
    if !text.get().starts_with('{') {
        return Err(format!("{} came, wanted an object", beginning(text)));
    }
    serde_json::from_str(text.get()).map_err(|e| BadRequest::text(&e).0)
}

/// Notes a mistake; what stands in its place is never used.
fn keep<T: Default>(mistakes: &mut Vec<String>, mistake: String) -> T {
    mistakes.push(mistake);
    T::default()
}

fn refusal(mistakes: &[String]) -> BadRequest {
    let told = mistakes[..mistakes.len().min(MOST_TOLD)].join("; ");
    let rest = match mistakes.len().saturating_sub(MOST_TOLD) {
        0 => String::new(),
        rest => format!("; and {rest} more"),
    };
    BadRequest(format!("golden cases: {told}{rest}"))
}

fn names_used_twice(cases: &[GoldenCase]) -> Vec<String> {
    let mut first = HashMap::new();
    let mut found = Vec::new();
    for case in cases {
        let Some(name) = &case.name else { continue };
        let holder = *first.entry(name).or_insert(case.number);
        if holder != case.number {
            found.push(format!("{}: name: case {holder} has it already", case.label()));
        }
    }
    found
}

fn case(number: usize, text: &RawValue, common: Tolerance) -> Result<GoldenCase, String> {
    let unnamed = |mistake: String| format!("case {number}: {mistake}");
    let text: CaseText<'_> = members(text).map_err(unnamed)?;
    let name = text.name.map(case_name).transpose().map_err(unnamed)?;
    let mut case = GoldenCase { number, name, inputs: vec![], outputs: vec![], tolerance: common };
    let label = case.label();
    let named = |mistake: String| format!("{label}: {mistake}");
    case.tolerance = tolerance(text.absolute, text.relative, common).map_err(named)?;
    case.inputs = tensors(text.inputs, "input").map_err(named)?;
    case.outputs = tensors(text.outputs, "output").map_err(named)?;
    Ok(case)
}

fn case_name(text: &RawValue) -> Result<String, String> {
    let name: Option<String> = serde_json::from_str(text.get()).ok();
    let fits = |name: &String| (1..=LONGEST_NAME).contains(&name.chars().count());
    name.filter(fits)
        .ok_or_else(|| wanted("name", text, &format!("a string of 1 to {LONGEST_NAME} characters")))
}

fn tolerance(
    absolute: Option<&RawValue>,
    relative: Option<&RawValue>,
    otherwise: Tolerance,
) -> Result<Tolerance, String> {
    let read = |field, text: Option<&RawValue>, otherwise| {
        let Some(text) = text else { return Ok(otherwise) };
        let number: Option<f64> = serde_json::from_str(text.get()).ok();
        number.filter(|n| *n >= 0.0).ok_or_else(|| wanted(field, text, "a number of 0 or more"))
    };
    Ok(Tolerance {
        absolute: read("absolute", absolute, otherwise.absolute)?,
        relative: read("relative", relative, otherwise.relative)?,
    })
}

fn budget(text: &RawValue) -> Result<std::time::Duration, String> {
    let word: Option<String> = serde_json::from_str(text.get()).ok();
    let budget = word.as_deref().and_then(parse_duration).filter(|budget| !budget.is_zero());
    budget.ok_or_else(|| {
        wanted("latency_budget", text, "a duration above 0 with its unit, such as \"5ms\"")
    })
}

/// The tensors of a case under one role, `input` or `output`.
fn tensors(list: &RawValue, role: &str) -> Result<Vec<(String, Tensor)>, String> {
    let field = format!("{role}s");
    let texts: Vec<&RawValue> =
        serde_json::from_str(list.get()).map_err(|_| wanted(&field, list, "a list of tensors"))?;
    if texts.is_empty() {
        return Err(format!("{field}: the list is empty, wanted at least one tensor"));
    }
    let mut read: Vec<(String, Tensor)> = Vec::with_capacity(texts.len());
    for (place, text) in texts.into_iter().enumerate() {
        let (name, tensor) = tensor(text, &format!("{field}[{place}]"), role)?;
        if read.iter().any(|(other, _)| *other == name) {
            return Err(format!("{field}[{place}]: {role} {} came twice", shown(&name)));
        }
        read.push((name, tensor));
    }
    Ok(read)
}

/// A tensor. Errors call it `place` until its name is known.
fn tensor(text: &RawValue, place: &str, role: &str) -> Result<(String, Tensor), String> {
    let text: TensorText<'_> = members(text).map_err(|mistake| format!("{place}: {mistake}"))?;
    let name: String = serde_json::from_str(text.name.get())
        .map_err(|_| format!("{place}: {}", wanted("name", text.name, "a string")))?;
    let label = format!("{role} {}", shown(&name));
    let datatype = serde_json::from_str::<String>(text.datatype.get())
        .map_err(|_| wanted("datatype", text.datatype, "a string such as \"FP32\""))
        .and_then(|word| word.parse::<Datatype>().map_err(|e| e.to_string()))
        .map_err(|mistake| format!("{label}: {mistake}"))?;
    let shape: Vec<usize> = serde_json::from_str(text.shape.get()).map_err(|_| {
        format!("{label}: {}", wanted("shape", text.shape, "a list of lengths of 0 or more"))
    })?;
    let count = element_count(&shape).unwrap_or(0);
    let data = elements::read(text.data.get(), datatype, count, &label).map_err(|e| e.0)?;
    let tensor = Tensor::new(shape, data).map_err(|e| format!("{label}: {e}"))?;
    Ok((name, tensor))
}

fn wanted(field: &str, came: &RawValue, wanted: &str) -> String {
    format!("{field}: {} came, wanted {wanted}", beginning(came))
}

/// A value as it came, short whatever it is.
fn beginning(text: &RawValue) -> String {
    const LONGEST: usize = 60;
    let mut shown: String = text.get().chars().take(LONGEST).collect();
    if shown.len() < text.get().len() {
        shown.push('…');
    }
    shown
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use serde_json::{Value, json};
    use weighbridge_config::TensorData;

    use super::*;

    fn tensor(name: &str, data: Value) -> Value {
        json!({"name": name, "datatype": "FP32", "shape": [1, 2], "data": data})
    }

    fn one_case() -> Value {
        json!({"inputs": [tensor("x", json!([1, 2]))], "outputs": [tensor("y", json!([[3, null]]))]})
    }

    fn read(file: &Value) -> Result<GoldenCases, String> {
        decode(file.to_string().as_bytes()).map_err(|e| e.0)
    }

    #[test]
    fn a_file_is_read_with_its_defaults() {
        let mut named = one_case();
        named["name"] = json!("refund");
        named["relative"] = json!(0);
        let file = json!({"cases": [one_case(), named], "absolute": 0.5, "latency_budget": "5ms"});
        let read = read(&file).unwrap();
        assert_eq!(read.latency_budget, Some(Duration::from_millis(5)));
        let [first, second] = &read.cases[..] else { panic!("{read:?}") };
        assert_eq!((first.label(), second.label()), ("case 1".into(), "case 2 \"refund\"".into()));
        assert_eq!(first.tolerance, Tolerance { absolute: 0.5, relative: 1e-3 });
        assert_eq!(second.tolerance, Tolerance { absolute: 0.5, relative: 0.0 });
        let (name, tensor) = &first.outputs[0];
        assert_eq!((name.as_str(), tensor.shape()), ("y", &[1, 2][..]));
        let TensorData::Fp32(values) = tensor.data() else { panic!("{tensor:?}") };
        assert!(values[0] == 3.0 && values[1].is_nan(), "null is NaN");
        let bare = json!({"cases": [one_case()]});
        let bare = decode(bare.to_string().as_bytes()).unwrap();
        assert_eq!((bare.latency_budget, bare.cases[0].tolerance), (None, Tolerance::default()));
    }

    /// A case with one member changed, or removed with null.
    fn with(member: &str, value: Value) -> Value {
        let mut case = one_case();
        case[member] = value;
        if case[member].is_null() {
            case.as_object_mut().unwrap().remove(member);
        }
        json!({"cases": [one_case(), case]})
    }

    #[test]
    fn each_mistake_names_the_case_and_the_field() {
        let output = |member: &str, value: Value| {
            let mut wrong = tensor("y", json!([1, 2]));
            wrong[member] = value;
            with("outputs", json!([wrong]))
        };
        let file = |member: &str, value: Value| {
            let mut file = json!({"cases": [one_case()]});
            file[member] = value;
            file
        };
        let long = "n".repeat(101);
        let table: Vec<(Value, &str)> = vec![
            (json!([]), "golden cases: [] came, wanted an object"),
            (json!({"cases": [one_case(), [1, [2]]]}), "case 2: [1,[2]] came, wanted an object"),
            (with("inputs", json!([["x"]])), "case 2: inputs[0]: [\"x\"] came, wanted an object"),
            (json!({}), "missing field `cases`"),
            (json!({"cases": []}), "cases: 0 came, wanted from 1 to 10000"),
            (json!({"cases": {}}), "invalid type: map"),
            (file("colour", json!(1)), "unknown field `colour`"),
            (file("absolute", json!(-1)), "absolute: -1 came, wanted a number of 0 or more"),
            (file("relative", json!("1")), "relative: \"1\" came, wanted a number of 0 or more"),
            (file("latency_budget", json!(5)), "latency_budget: 5 came, wanted a duration above 0"),
            (file("latency_budget", json!("5")), "latency_budget: \"5\" came"),
            (file("latency_budget", json!("0ms")), "latency_budget: \"0ms\" came"),
            (with("tolerance", json!(1)), "case 2: unknown field `tolerance`"),
            (with("inputs", json!(null)), "case 2: missing field `inputs`"),
            (with("outputs", json!(null)), "case 2: missing field `outputs`"),
            (with("inputs", json!({})), "case 2: inputs: {} came, wanted a list of tensors"),
            (with("outputs", json!([])), "case 2: outputs: the list is empty"),
            (with("name", json!("")), "case 2: name: \"\" came, wanted a string of 1 to 100"),
            (with("name", json!(long)), "case 2: name: \"nnnn"),
            (with("name", json!(7)), "case 2: name: 7 came"),
            (with("absolute", json!([])), "case 2: absolute: [] came"),
            (
                with("inputs", json!([tensor("x", json!([1, 2])), tensor("x", json!([1, 2]))])),
                "case 2: inputs[1]: input \"x\" came twice",
            ),
            (output("parameters", json!({})), "case 2: outputs[0]: unknown field `parameters`"),
            (output("name", json!(3)), "case 2: outputs[0]: name: 3 came, wanted a string"),
            (output("datatype", json!("FP31")), "case 2: output \"y\": \"FP31\" is not a datatype"),
            (output("datatype", json!(32)), "case 2: output \"y\": datatype: 32 came"),
            (
                output("datatype", json!("FP16")),
                "case 2: output \"y\": FP16 cannot be sent as JSON",
            ),
            (output("shape", json!([-1, 2])), "case 2: output \"y\": shape: [-1,2] came"),
            (output("shape", json!(2)), "case 2: output \"y\": shape: 2 came"),
            (
                output("shape", json!([3])),
                "case 2: output \"y\": shape [3] wants 3 elements, 2 came",
            ),
            (
                output("shape", json!([u64::MAX, u64::MAX])),
                "holds more elements than can be counted",
            ),
            (
                output("data", json!([1, "b"])),
                "case 2: output \"y\": element 1 is \"b\", FP32 wants",
            ),
        ];
        for (file, told) in table {
            let mistake = read(&file).unwrap_err();
            assert!(mistake.contains(told), "{file}: {mistake} should contain {told}");
            assert!(!mistake.contains("at line") || !mistake.contains("case 2"), "{mistake}");
        }
        let cut = decode(b"{\"cases\": [").unwrap_err().0;
        assert!(cut.contains("not valid JSON") && cut.contains("line 1"), "{cut}");
        let twice = br#"{"cases": [], "cases": []}"#;
        assert!(decode(twice).unwrap_err().0.contains("duplicate field `cases`"));
    }

    #[test]
    fn mistakes_of_several_cases_are_told_together_and_counted() {
        let (mut named, bad) = (one_case(), json!({"inputs": 1, "outputs": 2}));
        named["name"] = json!("a");
        let file = json!({"cases": [named, named], "absolute": -1});
        let mistake = read(&file).unwrap_err();
        assert!(mistake.contains("absolute: -1") && mistake.contains("case 2 \"a\": name: case 1"));
        let mistake = read(&json!({"cases": vec![bad.clone(); 25]})).unwrap_err();
        assert!(mistake.contains("case 10: inputs") && mistake.ends_with("; and 15 more"));
        let many = read(&json!({"cases": vec![bad; MOST_CASES + 1]})).unwrap_err();
        assert_eq!(many, "golden cases: cases: 10001 came, wanted from 1 to 10000");
    }

    #[test]
    fn a_shape_that_promises_much_takes_no_room() {
        let mut case = one_case();
        case["inputs"][0]["shape"] = json!([1_u64 << 40]);
        let mistake = read(&json!({"cases": [case]})).unwrap_err();
        assert!(mistake.contains("input \"x\"") && mistake.contains("2 came"), "{mistake}");
    }
}
