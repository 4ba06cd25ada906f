//! Answers to predict, in the form of the question.

use weighbridge_config::{TensorData, V1Dialect};

use super::Form;
use crate::error::BadRequest;
use crate::output::Output;
use crate::write::{self, Style};

/// Writes the answer: `outputs` stand in signature order; the rows of labelled ones are objects.
///
/// # Errors
/// In row form, outputs that do not have one element per row.
pub fn encode(
    form: Form,
    dialect: V1Dialect,
    outputs: &[Output<'_>],
) -> Result<Vec<u8>, BadRequest> {
    let mut out = Vec::with_capacity(256);
    let (rows, whole) = (
        |out: &mut Vec<u8>, output: &Output<'_>, row| one_row(out, output, row, dialect),
        |out: &mut Vec<u8>, output: &Output<'_>| whole(out, output, dialect),
    );
    match form {
        Form::Row => {
            out.extend_from_slice(b"{\"predictions\":");
            predictions(&mut out, outputs, rows)?;
        }
        Form::Column => {
            let key = match dialect {
                V1Dialect::Tfs => "{\"outputs\":",
                V1Dialect::Kserve => "{\"predictions\":",
            };
            out.extend_from_slice(key.as_bytes());
            match outputs {
                [only] => whole(&mut out, only),
                several => object(&mut out, several, whole),
            }
        }
    }
    out.push(b'}');
    Ok(out)
}

/// How the values of an output are written in a dialect.
pub(super) fn style(output: &Output<'_>, dialect: V1Dialect) -> Style {
    let is_bytes = matches!(output.tensor.data(), TensorData::Bytes(_));
    Style { bare: dialect == V1Dialect::Tfs, base64: is_bytes && output.name.ends_with("_bytes") }
}

fn predictions(
    out: &mut Vec<u8>,
    outputs: &[Output<'_>],
    one_row: impl Fn(&mut Vec<u8>, &Output<'_>, usize),
) -> Result<(), BadRequest> {
    let count = outputs.first().map_or(0, |o| o.tensor.rows());
    if outputs.iter().any(|o| o.tensor.shape().first() != Some(&count)) {
        return Err(BadRequest::new(
            "the model's outputs do not have one element per instance: ask with \"inputs\" instead of \"instances\"",
        ));
    }
    out.push(b'[');
    for row in 0..count {
        if row > 0 {
            out.push(b',');
        }
        match outputs {
            [only] => one_row(out, only, row),
            several => object(out, several, |out, output| one_row(out, output, row)),
        }
    }
    out.push(b']');
    Ok(())
}

fn whole(out: &mut Vec<u8>, output: &Output<'_>, dialect: V1Dialect) {
    let style = style(output, dialect);
    if output.is_labelled() {
        output.write_by_label(out, style);
    } else {
        write::nested(out, output.tensor.shape(), output.tensor.data(), 0, style);
    }
}

fn one_row(out: &mut Vec<u8>, output: &Output<'_>, row: usize, dialect: V1Dialect) {
    let style = style(output, dialect);
    if output.is_labelled() {
        output.write_row_by_label(out, row, style);
    } else {
        write::nested_row(out, output.tensor, row, style);
    }
}

fn object(out: &mut Vec<u8>, outputs: &[Output<'_>], value: impl Fn(&mut Vec<u8>, &Output<'_>)) {
    out.push(b'{');
    for (place, output) in outputs.iter().enumerate() {
        if place > 0 {
            out.push(b',');
        }
        write::string(out, output.name);
        out.push(b':');
        value(out, output);
    }
    out.push(b'}');
}
