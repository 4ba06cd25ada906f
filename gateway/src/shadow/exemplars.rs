//! The worst disagreements of a shadow, with the request and both answers: what somebody needs
//! who wants to know why.
//!
//! They hold data of users. They live in memory only, and `shadow.exemplars = 0` keeps none.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use weighbridge_config::tensor::compare::Difference;
use weighbridge_config::{Datatype, Signature, Tensor, TensorData, Version, with_elements};

use crate::shadow::pair::{Finding, LiveRequest, OutputFinding};
use crate::shadow::report::sized;

/// The most bytes of JSON text of the elements of one side: inputs, live answer, shadow's answer.
const MOST_BYTES: usize = 16 << 10;
/// About what a number and its comma take.
const ELEMENT_BYTES: usize = 12;
/// The most characters of one string element.
const MOST_TEXT: usize = 200;

/// A disagreement.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Exemplar {
    pub request_id: String,
    /// When the live answer was there, in Unix milliseconds.
    pub at: u64,
    /// The version that answered.
    pub live_version: Version,
    pub kind: Kind,
    /// The worst element in units of its tolerance; `null` where that has no size.
    pub severity: Option<f64>,
    /// How the shadow failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shadow_error: Option<String>,
    pub inputs: Vec<Shown>,
    pub live_outputs: Vec<Shown>,
    /// Empty when it failed.
    pub shadow_outputs: Vec<Shown>,
    pub differences: Vec<OutputDifference>,
}

/// What kind of disagreement it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[derive(utoipa::ToSchema)]
#[schema(as = ExemplarKind)]
pub enum Kind {
    /// Both answered, and not the same.
    Differs,
    /// Only the live version answered.
    ShadowError,
}

/// A tensor as a request in the Open Inference Protocol has it, with its first elements. NaN is
/// `null`; infinities, which JSON does not have, are text.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
#[schema(as = ShownTensor)]
pub struct Shown {
    pub name: String,
    pub datatype: Datatype,
    pub shape: Vec<usize>,
    pub data: Vec<Value>,
    /// What is left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
}

/// How far one output lies apart.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct OutputDifference {
    pub output: String,
    /// `null` where it has no size.
    pub max_absolute: Option<f64>,
    pub max_relative: Option<f64>,
    pub elements: u64,
    /// Elements beyond the tolerance.
    pub beyond: u64,
    /// The worst element: its place (row-major) and both values.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub worst: Option<Element>,
    /// Why the elements could not be compared.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unlike: Option<String>,
}

/// One element of both answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[schema(as = DifferingElement)]
pub struct Element {
    pub index: u64,
    pub live: String,
    pub shadow: String,
}

impl OutputDifference {
    fn of(finding: &OutputFinding) -> Self {
        let (difference, unlike) = match &finding.difference {
            Ok(difference) => (difference.clone(), None),
            Err(unlike) => (nothing_compared(), Some(unlike.clone())),
        };
        let element = |worst: weighbridge_config::tensor::compare::Worst| Element {
            index: worst.index,
            live: worst.expected,
            shadow: worst.came,
        };
        Self {
            output: finding.output.clone(),
            max_absolute: sized(difference.max_absolute),
            max_relative: sized(difference.max_relative),
            elements: difference.elements,
            beyond: difference.beyond,
            worst: difference.worst.map(element),
            unlike,
        }
    }
}

fn nothing_compared() -> Difference {
    let none = f64::INFINITY;
    Difference {
        max_absolute: none,
        max_relative: none,
        elements: 0,
        beyond: 0,
        worst: None,
        top1: None,
    }
}

impl Exemplar {
    /// The disagreement that `finding` is.
    fn of(kind: Kind, request: &LiveRequest, finding: &Finding, shadow: Option<Side<'_>>) -> Self {
        let (asked, live) = (&request.signature, &request.version.signature);
        let live_outputs = request.outputs.as_deref().unwrap_or_default();
        Self {
            request_id: request.request_id.clone(),
            at: request.at,
            live_version: request.version.version,
            kind,
            severity: sized(severity(kind, finding)),
            shadow_error: finding.shadow_error.clone(),
            inputs: shown(asked.inputs.iter().map(|s| s.name.as_str()), &request.inputs),
            live_outputs: shown(live.outputs.iter().map(|s| s.name.as_str()), live_outputs),
            shadow_outputs: shadow.map_or_else(Vec::new, |(signature, outputs)| {
                shown(signature.outputs.iter().map(|s| s.name.as_str()), outputs)
            }),
            differences: finding.outputs.iter().map(OutputDifference::of).collect(),
        }
    }

    /// Larger is worse. What has no size is the worst.
    fn rank(&self) -> f64 {
        self.severity.unwrap_or(f64::INFINITY)
    }
}

fn severity(kind: Kind, finding: &Finding) -> f64 {
    match kind {
        Kind::Differs => finding.severity(),
        Kind::ShadowError => f64::INFINITY,
    }
}

/// What the shadow gave, with the names of it.
pub type Side<'a> = (&'a Signature, &'a [Tensor]);

/// The worst disagreements so far. While both kinds come, each has half of the places, so that
/// a shadow that often fails does not hide where it differs.
#[derive(Debug, Default)]
pub struct Exemplars(Vec<Exemplar>);

impl Exemplars {
    /// Keeps a disagreement if it is among the worst `most`, and not one that is there already.
    pub fn offer(
        &mut self,
        most: usize,
        kind: Kind,
        request: &LiveRequest,
        finding: &Finding,
        shadow: Option<Side<'_>>,
    ) {
        let Some(place) = self.place(most, kind, severity(kind, finding)) else { return };
        let exemplar = Exemplar::of(kind, request, finding, shadow);
        let is_same = |e: &Exemplar| e.kind == kind && e.inputs == exemplar.inputs;
        if self.0.iter().any(is_same) {
            return;
        }
        match self.0.get_mut(place) {
            Some(place) => *place = exemplar,
            None => self.0.push(exemplar),
        }
    }

    /// Where a disagreement goes: to the end, or in place of one that is less bad.
    fn place(&self, most: usize, kind: Kind, severity: f64) -> Option<usize> {
        if self.0.len() < most {
            return Some(self.0.len());
        }
        let of_kind = self.0.iter().filter(|e| e.kind == kind).count();
        let goes = if of_kind < most / 2 { other(kind) } else { kind };
        let candidates = self.0.iter().enumerate().filter(|(_, e)| e.kind == goes);
        let (place, least) = candidates.min_by(|(_, a), (_, b)| a.rank().total_cmp(&b.rank()))?;
        (goes != kind || severity > least.rank()).then_some(place)
    }

    /// The worst first.
    pub fn sorted(&self) -> Vec<Exemplar> {
        let mut sorted = self.0.clone();
        sorted.sort_by(|a, b| b.rank().total_cmp(&a.rank()).then(a.at.cmp(&b.at)));
        sorted
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// True when there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

fn other(kind: Kind) -> Kind {
    match kind {
        Kind::Differs => Kind::ShadowError,
        Kind::ShadowError => Kind::Differs,
    }
}

/// Tensors with as many of their elements as fit.
fn shown<'a>(names: impl Iterator<Item = &'a str>, tensors: &[Tensor]) -> Vec<Shown> {
    let mut room = MOST_BYTES;
    let show = |(name, tensor): (&str, &Tensor)| {
        let data = elements(tensor.data(), &mut room);
        let (few, all) = (data.len(), tensor.data().len());
        let note = (few < all).then(|| format!("the first {few} of {all} elements"));
        let shape = tensor.shape().to_vec();
        Shown { name: name.to_owned(), datatype: tensor.datatype(), shape, data, note }
    };
    names.zip(tensors).map(show).collect()
}

fn elements(data: &TensorData, room: &mut usize) -> Vec<Value> {
    match data {
        TensorData::Bytes(v) => first(v.iter().map(|x| text(x)), room),
        TensorData::Fp16(v) => {
            first(v.iter().map(|x| float(half::f16::from_bits(*x).to_f64(), |n| json!(n))), room)
        }
        TensorData::Bf16(v) => {
            first(v.iter().map(|x| float(half::bf16::from_bits(*x).to_f64(), |n| json!(n))), room)
        }
        // As FP64 a number such as 0.1 would get digits that nobody sent.
        TensorData::Fp32(v) => {
            let shortest = |x: f32| json!(x.to_string().parse::<f64>().unwrap_or(f64::from(x)));
            first(v.iter().map(|x| float(f64::from(*x), |_| shortest(*x))), room)
        }
        TensorData::Fp64(v) => first(v.iter().map(|x| float(*x, |n| json!(n))), room),
        whole => with_elements!(whole, v => first(v.iter().map(|x| json!(x)), room)),
    }
}

/// The first values, within `room` bytes of text.
fn first(values: impl Iterator<Item = Value>, room: &mut usize) -> Vec<Value> {
    let fits = |value: &Value| {
        let bytes = value.as_str().map_or(ELEMENT_BYTES, |text| text.len() + 3);
        let left = room.checked_sub(bytes);
        *room = left.unwrap_or(0);
        left.is_some()
    };
    values.take_while(fits).collect()
}

fn float(number: f64, finite: impl Fn(f64) -> Value) -> Value {
    match number {
        n if n.is_nan() => Value::Null,
        n if n.is_infinite() => Value::String(n.to_string()),
        n => finite(n),
    }
}

fn text(bytes: &[u8]) -> Value {
    let text = String::from_utf8_lossy(bytes);
    let mut short: String = text.chars().take(MOST_TEXT).collect();
    if short.len() < text.len() {
        short.push('…');
    }
    Value::String(short)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shadow::pair::{find, live_error};
    use crate::shadow::target::Rules;
    use crate::shadow::testing::{floats, live, times, version};

    /// A pair whose input is `id`: the shadow is off by `error`, or fails.
    fn offer(exemplars: &mut Exemplars, most: usize, id: f32, error: Option<f32>) {
        let live_version = version(1, times(1.0));
        let signature = &*live_version.signature;
        let given = Ok(vec![floats(&[1, 2], &[1.0, 2.0])]);
        let request = live(&live_version, floats(&[1, 2], &[id, 0.0]), given);
        let ran = error.map(|error| [floats(&[1, 2], &[1.0 + error, 2.0])]).ok_or("failed");
        let came = ran.as_ref().map(|outputs| outputs.as_slice()).map_err(|e| *e);
        let rules = Rules::default();
        let finding = find(&request, live_error(&request, &rules), signature, came, &rules);
        let kind = if error.is_some() { Kind::Differs } else { Kind::ShadowError };
        exemplars.offer(most, kind, &request, &finding, came.ok().map(|o| (signature, o)));
    }

    fn kept(exemplars: &Exemplars) -> Vec<(Kind, f64)> {
        let id = |e: &Exemplar| (e.kind, e.inputs[0].data[0].as_f64().unwrap_or_default());
        exemplars.sorted().iter().map(id).collect()
    }

    #[test]
    fn failures_do_not_hide_differences_nor_the_other_way_round() {
        let mut exemplars = Exemplars::default();
        (0..10u8).for_each(|id| offer(&mut exemplars, 4, f32::from(id), None));
        assert_eq!(exemplars.len(), 4);
        (10..20u8).for_each(|id| offer(&mut exemplars, 4, f32::from(id), Some(f32::from(id))));
        let found = kept(&exemplars);
        assert_eq!(&found[2..], [(Kind::Differs, 19.0), (Kind::Differs, 18.0)]);
        assert!(found[..2].iter().all(|(kind, _)| *kind == Kind::ShadowError), "{found:?}");
    }

    #[test]
    fn the_same_request_is_kept_once_and_none_where_none_are_wanted() {
        let mut exemplars = Exemplars::default();
        (0..5).for_each(|_| offer(&mut exemplars, 4, 1.0, Some(1.0)));
        assert_eq!(exemplars.len(), 1);
        let mut none = Exemplars::default();
        offer(&mut none, 0, 1.0, Some(1.0));
        offer(&mut none, 0, 1.0, None);
        assert!(none.is_empty());
    }

    #[test]
    fn an_exemplar_is_shown_as_a_request_and_its_answers_are() {
        let mut exemplars = Exemplars::default();
        offer(&mut exemplars, 1, 0.1, Some(1.0));
        let shown = serde_json::to_value(&exemplars.sorted()[0]).unwrap();
        let input = json!({"name": "x", "datatype": "FP32", "shape": [1, 2], "data": [0.1, 0.0]});
        assert_eq!(shown["inputs"], json!([input]));
        assert_eq!(shown["live_outputs"][0]["data"], json!([1.0, 2.0]));
        assert_eq!(shown["shadow_outputs"][0]["data"], json!([2.0, 2.0]));
        let difference = &shown["differences"][0];
        assert_eq!((&difference["beyond"], &difference["max_absolute"]), (&json!(1), &json!(1.0)));
        assert_eq!(difference["worst"], json!({"index": 0, "live": "1", "shadow": "2"}));
        let read: Exemplar = serde_json::from_value(shown).unwrap();
        assert_eq!(read, exemplars.sorted()[0]);
    }

    #[test]
    fn every_datatype_is_shown_within_its_bytes() {
        let many = 100_000;
        let cases = [
            TensorData::Bool(vec![true; many]),
            TensorData::Int64(vec![-1; many]),
            TensorData::Fp16(vec![0x3c00; many]),
            TensorData::Fp32(vec![0.1; many]),
            TensorData::Fp64(vec![0.1; many]),
            TensorData::Bytes(vec![vec![b'x'; 1000]; many]),
        ];
        for data in cases {
            let datatype = data.datatype();
            let tensor = Tensor::new(vec![many], data).unwrap();
            let shown = shown(["a", "b"].into_iter(), &[tensor.clone(), tensor]);
            let text = serde_json::to_string(&shown).unwrap();
            assert!(text.len() < MOST_BYTES + 1000, "{datatype}: {}", text.len());
            let few = shown[0].data.len();
            assert!(few > 50, "{datatype}: {few}");
            assert_eq!(shown[0].note, Some(format!("the first {few} of {many} elements")));
            assert_eq!(shown[1].note, Some(format!("the first 0 of {many} elements")));
        }
    }

    #[test]
    fn what_json_does_not_have_is_shown_too() {
        let tensor = floats(&[3], &[f32::NAN, f32::NEG_INFINITY, 0.1]);
        let data = shown(["x"].into_iter(), &[tensor])[0].data.clone();
        assert_eq!(data, [json!(null), json!("-inf"), json!(0.1)]);
        let halves = Tensor::new(vec![2], TensorData::Fp16(vec![0x3c00, 0x7e00])).unwrap();
        let data = shown(["x"].into_iter(), &[halves])[0].data.clone();
        assert_eq!(data, [json!(1.0), json!(null)]);
        let long = TensorData::Bytes(vec!["é".repeat(300).into_bytes(), vec![0xff]]);
        let data = shown(["x"].into_iter(), &[Tensor::new(vec![2], long).unwrap()])[0].data.clone();
        assert_eq!(data[0].as_str().map(|s| s.chars().count()), Some(MOST_TEXT + 1));
        assert_eq!(data[1], json!("\u{fffd}"));
    }
}
