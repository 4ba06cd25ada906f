//! The two outcomes of one request, side by side. Pure.
//!
//! The shadow fails where it gives no answer, where finite inputs lead to NaN or infinity, and
//! where its answer has another shape than the live one though it declares the same: that is
//! what its clients would trip over. An output that it declares otherwise, or not at all, is a
//! difference. All others are compared element by element. The live version fails by the same
//! rules, as far as it can be seen.

use std::borrow::Cow;
use std::sync::Arc;

use weighbridge_config::rollout::Tolerance;
use weighbridge_config::tensor::compare::{Difference, compare, has_non_finite};
use weighbridge_config::{Signature, Tensor, TensorSpec};

use crate::serving::loaded::LoadedVersion;
use crate::shadow::target::Rules;

/// A request that the live version has answered, or failed.
#[derive(Debug)]
pub struct LiveRequest {
    /// Whose outcome it is.
    pub version: Arc<LoadedVersion>,
    /// Of the version that was asked first: it names the inputs.
    pub signature: Arc<Signature>,
    /// In the order of that signature.
    pub inputs: Vec<Tensor>,
    pub rows: usize,
    /// In the order of the version's own signature; or why the model failed.
    pub outputs: Result<Vec<Tensor>, String>,
    pub request_id: String,
    /// When the answer was there, in Unix milliseconds.
    pub at: u64,
}

/// What a pair shows.
#[derive(Debug, Clone, PartialEq)]
pub struct Finding {
    pub live_error: Option<String>,
    pub shadow_error: Option<String>,
    /// By output of the live version; empty unless both answered.
    pub outputs: Vec<OutputFinding>,
}

/// What one output shows.
#[derive(Debug, Clone, PartialEq)]
pub struct OutputFinding {
    pub output: String,
    pub tolerance: Tolerance,
    /// Or why its elements cannot be compared, which is a difference too.
    pub difference: Result<Difference, String>,
}

/// In how many words a pair is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    Agree,
    Differ,
    ShadowError,
    LiveError,
    BothError,
}

impl Outcome {
    /// All outcomes, in the order of [`Outcome::index`].
    pub const ALL: [Self; 5] =
        [Self::Agree, Self::Differ, Self::ShadowError, Self::LiveError, Self::BothError];

    /// The label of metrics.
    pub fn name(self) -> &'static str {
        match self {
            Self::Agree => "agree",
            Self::Differ => "differ",
            Self::ShadowError => "shadow-error",
            Self::LiveError => "live-error",
            Self::BothError => "both-error",
        }
    }

    /// The position in [`Outcome::ALL`].
    pub fn index(self) -> usize {
        self as usize
    }
}

impl Finding {
    /// A pair of which at least one side failed.
    pub fn failed(live_error: Option<String>, shadow_error: Option<String>) -> Self {
        Self { live_error, shadow_error, outputs: Vec::new() }
    }

    /// What the pair counts as.
    pub fn outcome(&self) -> Outcome {
        match (&self.live_error, &self.shadow_error) {
            (Some(_), Some(_)) => Outcome::BothError,
            (Some(_), None) => Outcome::LiveError,
            (None, Some(_)) => Outcome::ShadowError,
            (None, None) if self.outputs.iter().any(OutputFinding::differs) => Outcome::Differ,
            (None, None) => Outcome::Agree,
        }
    }

    /// How bad the worst element is, in units of its tolerance; infinite where it has no size.
    pub fn severity(&self) -> f64 {
        self.outputs.iter().map(OutputFinding::severity).fold(0.0, f64::max)
    }
}

impl OutputFinding {
    /// True when the two answers are not the same within the tolerance.
    pub fn differs(&self) -> bool {
        self.difference.as_ref().map_or(true, |difference| !difference.is_within())
    }

    fn severity(&self) -> f64 {
        let Ok(difference) = &self.difference else { return f64::INFINITY };
        let Some(worst) = &difference.worst else { return 0.0 };
        let (Ok(expected), Ok(came)) = (worst.expected.parse::<f64>(), worst.came.parse::<f64>())
        else {
            return f64::INFINITY;
        };
        let allowed = self.tolerance.absolute + self.tolerance.relative * expected.abs();
        let units = (came - expected).abs() / allowed;
        if units.is_nan() { f64::INFINITY } else { units }
    }
}

/// Why the live outcome counts as a failure of the live version.
pub fn live_error(request: &LiveRequest, rules: &Rules) -> Option<String> {
    let outputs = match &request.outputs {
        Ok(outputs) => outputs,
        Err(error) => return Some(error.clone()),
    };
    let specs = &request.version.signature.outputs;
    specs.iter().zip(outputs).find_map(|(spec, tensor)| not_finite(request, spec, tensor, rules))
}

/// The inputs of a request in the order that a version wants them.
///
/// # Errors
/// When it wants an input that the request does not have.
pub fn inputs_for<'a>(
    request: &'a LiveRequest,
    wanted: &Signature,
) -> Result<Cow<'a, [Tensor]>, String> {
    let came = &request.signature;
    let same = came.inputs.len() == wanted.inputs.len()
        && came.inputs.iter().zip(&wanted.inputs).all(|(a, b)| a.name == b.name);
    if same {
        return Ok(Cow::Borrowed(&request.inputs));
    }
    let input = |spec: &TensorSpec| {
        let place = came.input_index(&spec.name);
        place.and_then(|place| request.inputs.get(place)).cloned().ok_or_else(|| {
            format!("the request has no input \"{}\", which the version wants", spec.name)
        })
    };
    wanted.inputs.iter().map(input).collect::<Result<Vec<_>, _>>().map(Cow::Owned)
}

/// Compares what both gave.
pub fn find(
    request: &LiveRequest,
    live_error: Option<String>,
    shadow: &Signature,
    ran: Result<&[Tensor], &str>,
    rules: &Rules,
) -> Finding {
    let outputs = match ran {
        Ok(outputs) => outputs,
        Err(error) => return Finding::failed(live_error, Some(error.to_owned())),
    };
    let live = &request.version.signature.outputs;
    // What the shadow gave for each output of the live version, with what it says of it.
    let given = |spec: &TensorSpec| {
        let place = shadow.output_index(&spec.name)?;
        Some((&shadow.outputs[place], outputs.get(place)?))
    };
    let not_finite = |spec: &TensorSpec| not_finite(request, spec, given(spec)?.1, rules);
    if let Some(error) = live.iter().find_map(not_finite) {
        return Finding::failed(live_error, Some(error));
    }
    let (Ok(live_outputs), None) = (&request.outputs, &live_error) else {
        return Finding::failed(live_error, None);
    };
    let mut found = Vec::new();
    for (spec, expected) in live.iter().zip(live_outputs) {
        let Some((own, came)) = given(spec) else {
            found.push(unlike(spec, rules, format!("it has no output \"{}\"", spec.name)));
            continue;
        };
        if let Some(error) = misfit(spec, expected, came).filter(|_| !declares_otherwise(spec, own))
        {
            return Finding::failed(None, Some(error));
        }
        let tolerance = rules.tolerance.of(&spec.name);
        let difference = compare(expected, came, tolerance.absolute, tolerance.relative);
        found.push(match difference {
            Ok(found) => {
                OutputFinding { output: spec.name.clone(), tolerance, difference: Ok(found) }
            }
            Err(error) => unlike(spec, rules, error.to_string()),
        });
    }
    Finding { live_error: None, shadow_error: None, outputs: found }
}

fn unlike(spec: &TensorSpec, rules: &Rules, why: String) -> OutputFinding {
    let tolerance = rules.tolerance.of(&spec.name);
    OutputFinding { output: spec.name.clone(), tolerance, difference: Err(why) }
}

/// True when the shadow says itself that this output is another one.
fn declares_otherwise(live: &TensorSpec, own: &TensorSpec) -> bool {
    let differs = |(l, o): (&i64, &i64)| *l >= 0 && *o >= 0 && l != o;
    live.datatype != own.datatype
        || live.shape.len() != own.shape.len()
        || live.shape.iter().zip(&own.shape).any(differs)
}

/// Why `came` is not what clients of the live version can read. Axes that may have any length
/// may differ, but for the rows.
fn misfit(spec: &TensorSpec, live: &Tensor, came: &Tensor) -> Option<String> {
    let is_free = |axis: usize| {
        axis > 0
            && spec.shape.len() == live.shape().len()
            && spec.shape.get(axis).is_some_and(|length| *length < 0)
    };
    let lengths = live.shape().iter().zip(came.shape());
    let fits = live.datatype() == came.datatype()
        && live.shape().len() == came.shape().len()
        && lengths.enumerate().all(|(axis, (l, c))| l == c || is_free(axis));
    (!fits).then(|| {
        format!(
            "output \"{}\" is {} {:?}, the live version's is {} {:?}",
            spec.name,
            came.datatype(),
            came.shape(),
            live.datatype(),
            live.shape()
        )
    })
}

fn not_finite(
    request: &LiveRequest,
    spec: &TensorSpec,
    output: &Tensor,
    rules: &Rules,
) -> Option<String> {
    let is_invalid = !rules.allow_nan
        && has_non_finite(output.data())
        && !request.inputs.iter().any(|input| has_non_finite(input.data()));
    is_invalid.then(|| format!("output \"{}\" holds NaN or infinity for finite inputs", spec.name))
}

#[cfg(test)]
mod tests;
