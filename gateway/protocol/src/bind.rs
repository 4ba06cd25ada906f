//! Tensors that came, held against the model's signature.

use weighbridge_config::{Signature, Tensor, TensorSpec};

use crate::error::{BadRequest, shown};

/// Rows of no elements take no bytes of a body, so that nothing else would bound their number.
const MOST_EMPTY_ROWS: usize = 65_536;

/// A tensor as a request names it.
#[derive(Debug, Clone, PartialEq)]
pub struct NamedTensor {
    pub name: String,
    pub tensor: Tensor,
}

/// Inputs in the order of the signature, all with the same number of rows.
#[derive(Debug, Clone, PartialEq)]
pub struct Bound {
    pub inputs: Vec<Tensor>,
    /// Axis 0 of the inputs; 1 for a model that has no batch axis.
    pub rows: usize,
}

/// Puts `came` in the signature's order and checks name, datatype, shape and rows.
pub fn bind(came: Vec<NamedTensor>, signature: &Signature) -> Result<Bound, BadRequest> {
    let mut places: Vec<Option<Tensor>> = signature.inputs.iter().map(|_| None).collect();
    for NamedTensor { name, tensor } in came {
        let Some(place) = signature.input_index(&name) else {
            return Err(unknown_input(&name, signature));
        };
        if places[place].is_some() {
            return Err(BadRequest(format!("input {} came twice", shown(&name))));
        }
        check_spec(&tensor, &signature.inputs[place])?;
        places[place] = Some(tensor);
    }
    let mut inputs = Vec::with_capacity(places.len());
    for (place, tensor) in places.into_iter().enumerate() {
        inputs.push(tensor.ok_or_else(|| missing_input(&signature.inputs[place]))?);
    }
    let rows = if signature.batchable { common_rows(&inputs, signature)? } else { 1 };
    Ok(Bound { inputs, rows })
}

fn common_rows(inputs: &[Tensor], signature: &Signature) -> Result<usize, BadRequest> {
    let rows = inputs.first().map_or(1, Tensor::rows);
    for (tensor, spec) in inputs.iter().zip(&signature.inputs) {
        let (name, came) = (&spec.name, tensor.rows());
        if came != rows {
            let first = &signature.inputs[0].name;
            return Err(BadRequest(format!(
                "input \"{name}\" has {came} rows and input \"{first}\" has {rows}: axis 0 is the batch and must agree"
            )));
        }
        if came == 0 {
            return Err(BadRequest(format!("input \"{name}\" has no rows: wanted at least one")));
        }
        if came > MOST_EMPTY_ROWS && tensor.data().is_empty() {
            return Err(BadRequest(format!(
                "input \"{name}\" has {came} rows of no elements: wanted at most {MOST_EMPTY_ROWS}"
            )));
        }
    }
    Ok(rows)
}

fn check_spec(tensor: &Tensor, spec: &TensorSpec) -> Result<(), BadRequest> {
    let name = &spec.name;
    if tensor.datatype() != spec.datatype {
        let (came, wanted) = (tensor.datatype(), spec.datatype);
        return Err(BadRequest(format!(
            "input \"{name}\" came as {came}, the model wants {wanted}"
        )));
    }
    let (came, wanted) = (tensor.shape(), &spec.shape);
    if came.len() != wanted.len() {
        let hint = batch_hint(came, wanted);
        return Err(BadRequest(format!(
            "input \"{name}\" came with shape {came:?}, the model wants {wanted:?} ({} axes, not {}{hint})",
            wanted.len(),
            came.len(),
        )));
    }
    let differs = |(_, (c, w)): &(usize, (&usize, &i64))| **w >= 0 && **c as i64 != **w;
    if let Some((axis, (c, w))) = came.iter().zip(wanted).enumerate().find(differs) {
        return Err(BadRequest(format!(
            "input \"{name}\" came with shape {came:?}, the model wants {wanted:?} (axis {axis} is {c}, not {w})"
        )));
    }
    Ok(())
}

/// The commonest mistake has its own sentence: one row without the batch axis.
fn batch_hint(came: &[usize], wanted: &[i64]) -> String {
    let fits = |(c, w): (&usize, &i64)| *w < 0 || *c as i64 == *w;
    let one_row =
        wanted.len() == came.len() + 1 && wanted[0] < 0 && came.iter().zip(&wanted[1..]).all(fits);
    if !one_row {
        return String::new();
    }
    let mut shape = vec![1];
    shape.extend(came);
    format!("; axis 0 is the batch, send one row as {shape:?}")
}

fn unknown_input(name: &str, signature: &Signature) -> BadRequest {
    BadRequest(format!(
        "unknown input {}: the model takes {}",
        shown(name),
        listed(&signature.inputs)
    ))
}

fn missing_input(spec: &TensorSpec) -> BadRequest {
    BadRequest(format!("input {} is missing", described(spec)))
}

fn listed(specs: &[TensorSpec]) -> String {
    specs.iter().map(described).collect::<Vec<_>>().join(", ")
}

fn described(spec: &TensorSpec) -> String {
    format!("\"{}\" ({} {:?})", spec.name, spec.datatype, spec.shape)
}

/// The positions of the requested outputs in the signature, or of all when none is asked for.
pub fn requested_outputs<N: AsRef<str>>(
    asked: Option<&[N]>,
    signature: &Signature,
) -> Result<Vec<usize>, BadRequest> {
    let Some(asked) = asked else {
        return Ok((0..signature.outputs.len()).collect());
    };
    let mut places = Vec::with_capacity(asked.len());
    for name in asked.iter().map(AsRef::as_ref) {
        let Some(place) = signature.output_index(name) else {
            let known = listed(&signature.outputs);
            let name = shown(name);
            return Err(BadRequest(format!("unknown output {name}: the model gives {known}")));
        };
        if places.contains(&place) {
            return Err(BadRequest(format!("output {} is asked for twice", shown(name))));
        }
        places.push(place);
    }
    Ok(places)
}

#[cfg(test)]
mod tests {
    use weighbridge_config::{Datatype, TensorData};

    use super::*;

    fn spec(name: &str, datatype: Datatype, shape: &[i64]) -> TensorSpec {
        TensorSpec { name: name.into(), datatype, shape: shape.to_vec(), labels: vec![] }
    }

    fn signature() -> Signature {
        Signature {
            inputs: vec![
                spec("age", Datatype::Fp32, &[-1, 2]),
                spec("city", Datatype::Bytes, &[-1, 1]),
            ],
            outputs: vec![spec("p", Datatype::Fp32, &[-1, 2]), spec("c", Datatype::Int64, &[-1])],
            batchable: true,
        }
    }

    fn floats(name: &str, shape: &[usize]) -> NamedTensor {
        let data = TensorData::Fp32(vec![0.0; shape.iter().product()]);
        NamedTensor { name: name.into(), tensor: Tensor::new(shape.to_vec(), data).unwrap() }
    }

    fn texts(name: &str, shape: &[usize]) -> NamedTensor {
        let data = TensorData::Bytes(vec![b"x".to_vec(); shape.iter().product()]);
        NamedTensor { name: name.into(), tensor: Tensor::new(shape.to_vec(), data).unwrap() }
    }

    #[test]
    fn inputs_are_put_in_the_order_of_the_signature() {
        let bound =
            bind(vec![texts("city", &[3, 1]), floats("age", &[3, 2])], &signature()).unwrap();
        assert_eq!(bound.rows, 3);
        assert_eq!(bound.inputs[0].datatype(), Datatype::Fp32);
    }

    #[test]
    fn each_mistake_names_the_input_what_came_and_what_was_wanted() {
        let age = || floats("age", &[1, 2]);
        let city = || texts("city", &[1, 1]);
        let table: Vec<(Vec<NamedTensor>, &str)> = vec![
            (vec![age()], "input \"city\" (BYTES [-1, 1]) is missing"),
            (
                vec![age(), city(), floats("pay", &[1])],
                "unknown input \"pay\": the model takes \"age\"",
            ),
            (vec![age(), city(), age()], "input \"age\" came twice"),
            (
                vec![texts("age", &[1, 2]), city()],
                "input \"age\" came as BYTES, the model wants FP32",
            ),
            (vec![floats("age", &[1, 3]), city()], "axis 1 is 3, not 2"),
            (vec![floats("age", &[2]), city()], "send one row as [1, 2]"),
            (
                vec![floats("age", &[2, 2]), city()],
                "input \"city\" has 1 rows and input \"age\" has 2",
            ),
            (vec![floats("age", &[0, 2]), texts("city", &[0, 1])], "input \"age\" has no rows"),
        ];
        for (came, text) in table {
            let error = bind(came, &signature()).unwrap_err().to_string();
            assert!(error.contains(text), "{error} should contain {text}");
        }
    }

    #[test]
    fn rows_of_no_elements_are_bounded() {
        let signature = Signature {
            inputs: vec![spec("x", Datatype::Fp32, &[-1, -1])],
            outputs: vec![],
            batchable: true,
        };
        assert_eq!(bind(vec![floats("x", &[65_536, 0])], &signature).unwrap().rows, 65_536);
        let error = bind(vec![floats("x", &[1 << 60, 0])], &signature).unwrap_err().0;
        assert!(error.contains("1152921504606846976 rows of no elements"), "{error}");
    }

    #[test]
    fn outputs_come_as_asked_for() {
        let names = |list: &[&str]| list.iter().map(|s| (*s).to_owned()).collect::<Vec<_>>();
        assert_eq!(requested_outputs(None::<&[String]>, &signature()), Ok(vec![0, 1]));
        assert_eq!(requested_outputs(Some(&names(&["c"])), &signature()), Ok(vec![1]));
        assert!(requested_outputs(Some(&names(&["c", "c"])), &signature()).is_err());
        assert!(requested_outputs(Some(&names(&["z"])), &signature()).is_err());
    }
}
