//! Whether the callers of one version can be answered by another.

use super::{Signature, TensorSpec};

impl Signature {
    /// What callers of `stable` would trip over if this signature took its place; empty when
    /// nothing. Each sentence names the tensor, what came and what stable has.
    ///
    /// Requests must name every input and none besides, so both a missing and an extra input
    /// break them, and an input that takes any length on an axis takes the fixed one too. Of
    /// the answers callers read what they know: an extra output is not noticed, and an output
    /// that declares the length of an axis which stable leaves open says no more than the
    /// answers did. Axes that go from fixed to any length are taken for a better export.
    pub fn incompatibilities(&self, stable: &Signature) -> Vec<String> {
        let mut found = Vec::new();
        for old in &stable.inputs {
            match named(&self.inputs, &old.name) {
                Some(new) => {
                    found.extend(changes("input", new, old, |new, old| old < 0 && new >= 0))
                }
                None => found.push(missing("input", old)),
            }
        }
        for new in self.inputs.iter().filter(|new| named(&stable.inputs, &new.name).is_none()) {
            found.push(format!(
                "input {}: came as {}, which every request would have to bring; stable has no \
                 such input",
                shown(&new.name),
                kind(new)
            ));
        }
        for old in &stable.outputs {
            match named(&self.outputs, &old.name) {
                Some(new) => found.extend(changes("output", new, old, |_, _| false)),
                None => found.push(missing("output", old)),
            }
        }
        found
    }
}

fn named<'a>(specs: &'a [TensorSpec], name: &str) -> Option<&'a TensorSpec> {
    specs.iter().find(|spec| spec.name == name)
}

fn missing(role: &str, old: &TensorSpec) -> String {
    format!("{role} {}: did not come, stable has it as {}", shown(&old.name), kind(old))
}

/// The changes of datatype and shape. `narrows` says whether an axis breaks callers although
/// one of its two lengths is open.
fn changes(
    role: &str,
    new: &TensorSpec,
    old: &TensorSpec,
    narrows: impl Fn(i64, i64) -> bool,
) -> Vec<String> {
    let name = shown(&old.name);
    let mut found = Vec::new();
    if new.datatype != old.datatype {
        found.push(format!("{role} {name}: {} came, stable has {}", new.datatype, old.datatype));
    }
    let (came, has) = (&new.shape, &old.shape);
    let told = format!("{role} {name}: shape {came:?} came, stable has {has:?}");
    if came.len() != has.len() {
        found.push(format!("{told} ({} axes, not {})", came.len(), has.len()));
        return found;
    }
    let breaks = |new: i64, old: i64| (new >= 0 && old >= 0 && new != old) || narrows(new, old);
    let axes = came.iter().zip(has).enumerate();
    let broken: Vec<String> = axes
        .filter(|(_, (new, old))| breaks(**new, **old))
        .map(|(axis, (new, old))| format!("axis {axis} is {}, not {}", length(*new), length(*old)))
        .collect();
    if !broken.is_empty() {
        found.push(format!("{told} ({})", broken.join(", ")));
    }
    found
}

fn kind(spec: &TensorSpec) -> String {
    format!("{} {:?}", spec.datatype, spec.shape)
}

fn length(of_axis: i64) -> String {
    if of_axis < 0 { "of any length".to_owned() } else { of_axis.to_string() }
}

/// Names come from files: short, whatever stands there.
fn shown(name: &str) -> String {
    const LONGEST: usize = 60;
    if name.chars().count() <= LONGEST {
        return format!("\"{name}\"");
    }
    let head: String = name.chars().take(LONGEST).collect();
    format!("\"{head}…\"")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tensor::Datatype::{self, Bytes, Fp32, Fp64, Int64};

    type Spec<'a> = (&'a str, Datatype, &'a [i64]);

    fn signature(inputs: &[Spec<'_>], outputs: &[Spec<'_>]) -> Signature {
        let specs = |of: &[Spec<'_>]| {
            let spec = |(name, datatype, shape): &Spec<'_>| TensorSpec {
                name: (*name).to_owned(),
                datatype: *datatype,
                shape: shape.to_vec(),
                labels: vec![],
            };
            of.iter().map(spec).collect()
        };
        Signature { inputs: specs(inputs), outputs: specs(outputs), batchable: true }
    }

    const AGE: Spec<'_> = ("age", Fp32, &[-1, 2]);
    const CITY: Spec<'_> = ("city", Bytes, &[-1, 1]);
    const LABEL: Spec<'_> = ("label", Int64, &[-1]);
    const P: Spec<'_> = ("p", Fp32, &[-1, 2]);

    fn stable() -> Signature {
        signature(&[AGE, CITY], &[LABEL, P])
    }

    #[test]
    fn what_no_caller_notices_is_compatible() {
        let table: [(&str, &[Spec<'_>], &[Spec<'_>]); 6] = [
            ("the same", &[AGE, CITY], &[LABEL, P]),
            ("another order", &[CITY, AGE], &[P, LABEL]),
            ("an extra output", &[AGE, CITY], &[LABEL, P, ("score", Fp32, &[-1])]),
            ("an input that takes more", &[("age", Fp32, &[-1, -1]), CITY], &[LABEL, P]),
            ("an output of any length", &[AGE, CITY], &[LABEL, ("p", Fp32, &[-1, -1])]),
            ("an output that says its length", &[AGE, CITY], &[("label", Int64, &[1]), P]),
        ];
        for (about, inputs, outputs) in table {
            let found = signature(inputs, outputs).incompatibilities(&stable());
            assert_eq!(found, Vec::<String>::new(), "{about}");
        }
    }

    #[test]
    fn what_callers_trip_over_names_the_tensor_what_came_and_what_stable_has() {
        let table: [(&[Spec<'_>], &[Spec<'_>], &[&str]); 10] = [
            (
                &[AGE],
                &[LABEL, P],
                &["input \"city\": did not come, stable has it as BYTES [-1, 1]"],
            ),
            (
                &[AGE, CITY, ("pay", Fp64, &[-1, 3])],
                &[LABEL, P],
                &["input \"pay\": came as FP64 [-1, 3], which every request would have to bring; \
                   stable has no such input"],
            ),
            (
                &[("age", Fp64, &[-1, 2]), CITY],
                &[LABEL, P],
                &["input \"age\": FP64 came, stable has FP32"],
            ),
            (
                &[("age", Fp32, &[-1, 2, 1]), CITY],
                &[LABEL, P],
                &["input \"age\": shape [-1, 2, 1] came, stable has [-1, 2] (3 axes, not 2)"],
            ),
            (
                &[("age", Fp32, &[-1, 3]), CITY],
                &[LABEL, P],
                &["input \"age\": shape [-1, 3] came, stable has [-1, 2] (axis 1 is 3, not 2)"],
            ),
            (
                // Callers send batches: a version for one row breaks them.
                &[("age", Fp32, &[1, 2]), CITY],
                &[LABEL, P],
                &["input \"age\": shape [1, 2] came, stable has [-1, 2] (axis 0 is 1, not of any \
                   length)"],
            ),
            (&[AGE, CITY], &[P], &["output \"label\": did not come, stable has it as INT64 [-1]"]),
            (
                &[AGE, CITY],
                &[("label", Bytes, &[-1]), P],
                &["output \"label\": BYTES came, stable has INT64"],
            ),
            (
                &[AGE, CITY],
                &[("label", Int64, &[-1, 1]), ("p", Fp32, &[-1, 3])],
                &[
                    "output \"label\": shape [-1, 1] came, stable has [-1] (2 axes, not 1)",
                    "output \"p\": shape [-1, 3] came, stable has [-1, 2] (axis 1 is 3, not 2)",
                ],
            ),
            (
                &[("age", Int64, &[-1, 4]), ("town", Bytes, &[-1, 1])],
                &[LABEL, P],
                &[
                    "input \"age\": INT64 came, stable has FP32",
                    "input \"age\": shape [-1, 4] came, stable has [-1, 2] (axis 1 is 4, not 2)",
                    "input \"city\": did not come, stable has it as BYTES [-1, 1]",
                    "input \"town\": came as BYTES [-1, 1], which every request would have to \
                     bring; stable has no such input",
                ],
            ),
        ];
        for (inputs, outputs, wanted) in table {
            assert_eq!(signature(inputs, outputs).incompatibilities(&stable()), wanted);
        }
    }

    #[test]
    fn a_name_that_never_ends_is_cut() {
        let long = "n".repeat(5000);
        let found = signature(&[(&long, Fp32, &[])], &[]).incompatibilities(&stable());
        assert!(found.iter().all(|sentence| sentence.len() < 250), "{found:?}");
    }
}
