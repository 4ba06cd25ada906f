//! Answers to classify and regress: numbers of an output of floats, by what they mean.

use weighbridge_config::{Datatype, V1Dialect};

use super::answer::style;
use crate::error::BadRequest;
use crate::output::Output;
use crate::write;

/// Writes the answer of `:classify` to `rows` examples, `{"results": [[["label", score], …], …]}`,
/// from the first output of floats with two or more classes per row: `[rows, classes]`, or
/// `[classes]` of a model that takes one row. Classes without a name go by their number.
///
/// # Errors
/// No output of that kind.
pub fn encode_classes(
    dialect: V1Dialect,
    rows: usize,
    outputs: &[Output<'_>],
) -> Result<Vec<u8>, BadRequest> {
    let classes = |output: &Output<'_>| match output.tensor.shape() {
        [came, classes] if *came == rows && *classes > 1 => Some(*classes),
        [classes] if rows == 1 && *classes > 1 => Some(*classes),
        _ => None,
    };
    let mut scores = outputs.iter().filter(|output| has_floats(output));
    let found = scores.find_map(|output| Some((output, classes(output)?)));
    let (output, classes) = found.ok_or_else(|| {
        BadRequest::new(
            "the model has no output of floats with two or more classes per row, which :classify wants: ask with :predict",
        )
    })?;
    let style = style(output, dialect);
    let mut out = Vec::with_capacity(64 + rows * classes * 24);
    out.extend_from_slice(b"{\"results\":[");
    for row in 0..rows {
        out.extend_from_slice(if row > 0 { b",[" } else { b"[" });
        for class in 0..classes {
            out.extend_from_slice(if class > 0 { b",[" } else { b"[" });
            match output.label(class) {
                Some(label) => write::string(&mut out, label),
                None => write::string(&mut out, &class.to_string()),
            }
            out.push(b',');
            write::nested(&mut out, &[], output.tensor.data(), row * classes + class, style);
            out.push(b']');
        }
        out.push(b']');
    }
    out.extend_from_slice(b"]}");
    Ok(out)
}

/// Writes the answer of `:regress` to `rows` examples, `{"results": [number, …]}`, from the first
/// output of floats with one element per row.
///
/// # Errors
/// No output of that kind.
pub fn encode_regression(
    dialect: V1Dialect,
    rows: usize,
    outputs: &[Output<'_>],
) -> Result<Vec<u8>, BadRequest> {
    let has_one_each = |output: &&Output<'_>| {
        let shape = output.tensor.shape();
        let is_batch = shape.first() == Some(&rows) || (rows == 1 && shape.is_empty());
        has_floats(output) && is_batch && output.tensor.data().len() == rows
    };
    let output = outputs.iter().find(has_one_each).ok_or_else(|| {
        BadRequest::new(
            "the model has no output of floats with one element per row, which :regress wants: ask with :predict",
        )
    })?;
    let mut out = Vec::with_capacity(64 + rows * 12);
    out.extend_from_slice(b"{\"results\":");
    write::nested(&mut out, &[rows], output.tensor.data(), 0, style(output, dialect));
    out.push(b'}');
    Ok(out)
}

fn has_floats(output: &Output<'_>) -> bool {
    let datatype = output.tensor.datatype();
    matches!(datatype, Datatype::Fp16 | Datatype::Bf16 | Datatype::Fp32 | Datatype::Fp64)
}
