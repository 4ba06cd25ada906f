//! LabelEncoder, versions 1, 2 and 4: looks each element up in a table.

use std::collections::HashMap;
use std::hash::Hash;

use rustc_hash::FxBuildHasher;
use tract_onnx::pb::NodeProto;
use tract_onnx::prelude::*;
use tract_onnx::tract_hir::internal::*;

use super::attributes::{self, Numbers};
use super::kernel::{Fact, Kernel, texts, values};

/// From keys to their places. They come with the model, so nobody else can make them collide.
type Places<K> = HashMap<K, usize, FxBuildHasher>;

/// Where each key stands in the list of values.
#[derive(Debug)]
enum Keys {
    Ints(Places<i64>),
    Texts(Places<String>),
    /// By the bits of the f64, with one zero and one NaN.
    Floats {
        places: Places<u64>,
        nan_is_a_key: bool,
    },
}

/// A table and what stands for all other keys, the last of `values`.
#[derive(Debug)]
struct LabelEncoder {
    keys: Keys,
    values: Numbers,
}

/// `version` is that of the domain: from 4 on, NaN is a key that NaN finds.
pub(super) fn read(node: &NodeProto, version: i64) -> TractResult<Box<dyn Kernel>> {
    let classes = attributes::texts(node, "classes_strings")?;
    if !classes.is_empty() {
        return Ok(Box::new(Classes::read(node, classes)?));
    }
    let keys = list(node, "keys")?.context("no keys")?;
    let mut values = list(node, "values")?.context("no values")?;
    let (key_count, count) = (length(&keys), length(&values));
    ensure!(key_count == count, "{key_count} keys and {count} values");
    push_default(node, &mut values)?;
    let floats = |keys: Vec<f64>| Keys::Floats {
        places: places(keys.into_iter().map(bits)),
        nan_is_a_key: version >= 4,
    };
    let keys = match keys {
        Numbers::Ints(keys) => Keys::Ints(places(keys.into_iter())),
        Numbers::Shorts(keys) => Keys::Ints(places(keys.into_iter().map(i64::from))),
        Numbers::Texts(keys) => Keys::Texts(places(keys.into_iter())),
        Numbers::Floats(keys) => floats(keys.into_iter().map(f64::from).collect()),
        Numbers::Doubles(keys) => floats(keys),
    };
    Ok(Box::new(LabelEncoder { keys, values }))
}

/// `keys_strings`, `keys_int64s`, `keys_floats` or `keys_tensor`, and the same for values.
fn list(node: &NodeProto, what: &str) -> TractResult<Option<Numbers>> {
    let texts = attributes::texts(node, &format!("{what}_strings"))?;
    let ints = attributes::ints(node, &format!("{what}_int64s"))?;
    let floats = attributes::floats(node, &format!("{what}_floats"))?;
    Ok(match (texts.is_empty(), ints, floats) {
        (false, ..) => Some(Numbers::Texts(texts)),
        (_, [], []) => attributes::tensor(node, &format!("{what}_tensor"))?,
        (_, [], floats) => Some(Numbers::Floats(floats.to_vec())),
        (_, ints, _) => Some(Numbers::Ints(ints.to_vec())),
    })
}

fn length(numbers: &Numbers) -> usize {
    match numbers {
        Numbers::Ints(v) => v.len(),
        Numbers::Shorts(v) => v.len(),
        Numbers::Floats(v) => v.len(),
        Numbers::Doubles(v) => v.len(),
        Numbers::Texts(v) => v.len(),
    }
}

/// Appends the default of the values' type.
fn push_default(node: &NodeProto, values: &mut Numbers) -> TractResult<()> {
    let tensor = attributes::tensor(node, "default_tensor")?;
    match (values, tensor) {
        (Numbers::Ints(v), Some(Numbers::Ints(d))) => v.extend(d.first()),
        (Numbers::Shorts(v), Some(Numbers::Shorts(d))) => v.extend(d.first()),
        (Numbers::Floats(v), Some(Numbers::Floats(d))) => v.extend(d.first()),
        (Numbers::Doubles(v), Some(Numbers::Doubles(d))) => v.extend(d.first()),
        (Numbers::Texts(v), Some(Numbers::Texts(d))) => v.extend(d.first().cloned()),
        (Numbers::Ints(v), None) => v.push(node.get_attr_opt("default_int64")?.unwrap_or(-1)),
        (Numbers::Shorts(v), None) => v.push(-1),
        (Numbers::Floats(v), None) => v.push(node.get_attr_opt("default_float")?.unwrap_or(-0.0)),
        (Numbers::Doubles(v), None) => v.push(-0.0),
        (Numbers::Texts(v), None) => {
            v.push(attributes::text(node, "default_string", "_Unused")?.to_owned());
        }
        _ => bail!("the default has another type than the values"),
    }
    Ok(())
}

/// The first place of each key counts.
fn places<K: Hash + Eq>(keys: impl Iterator<Item = K>) -> Places<K> {
    let mut places = Places::default();
    for (place, key) in keys.enumerate() {
        places.entry(key).or_insert(place);
    }
    places
}

fn bits(x: f64) -> u64 {
    if x.is_nan() {
        f64::NAN.to_bits()
    } else if x == 0.0 {
        0
    } else {
        x.to_bits()
    }
}

impl Kernel for LabelEncoder {
    fn name(&self) -> &'static str {
        "LabelEncoder"
    }

    fn facts(&self, inputs: &[Fact]) -> TractResult<Vec<Fact>> {
        let (dt, shape) = &inputs[0];
        let fits = match self.keys {
            Keys::Texts(_) => *dt == DatumType::String,
            Keys::Ints(_) => dt.is_signed() || dt.is_unsigned(),
            Keys::Floats { .. } => dt.is_float(),
        };
        ensure!(fits, "an input of {dt:?} for keys of another type");
        let out = match self.values {
            Numbers::Ints(_) => DatumType::I64,
            Numbers::Shorts(_) => DatumType::I16,
            Numbers::Floats(_) => DatumType::F32,
            Numbers::Doubles(_) => DatumType::F64,
            Numbers::Texts(_) => DatumType::String,
        };
        Ok(vec![(out, shape.clone())])
    }

    fn eval(&self, inputs: &[&Tensor]) -> TractResult<Vec<Tensor>> {
        let x = inputs[0];
        let unknown = length(&self.values) - 1;
        let found: Vec<usize> = match &self.keys {
            Keys::Texts(keys) => values::<String>(x)?
                .iter()
                .map(|k| keys.get(k).copied().unwrap_or(unknown))
                .collect(),
            Keys::Ints(keys) => {
                let x = x.cast_to::<i64>()?;
                values::<i64>(&x)?.iter().map(|k| keys.get(k).copied().unwrap_or(unknown)).collect()
            }
            Keys::Floats { places, nan_is_a_key } => {
                let x = x.cast_to::<f64>()?;
                let look = |k: &f64| match places.get(&bits(*k)) {
                    Some(place) if *nan_is_a_key || !k.is_nan() => *place,
                    _ => unknown,
                };
                values::<f64>(&x)?.iter().map(look).collect()
            }
        };
        let shape = x.shape();
        let encoded = match &self.values {
            Numbers::Ints(v) => Tensor::from_shape(shape, &picked(v, &found))?,
            Numbers::Shorts(v) => Tensor::from_shape(shape, &picked(v, &found))?,
            Numbers::Floats(v) => Tensor::from_shape(shape, &picked(v, &found))?,
            Numbers::Doubles(v) => Tensor::from_shape(shape, &picked(v, &found))?,
            Numbers::Texts(v) => texts(shape, picked(v, &found))?,
        };
        Ok(vec![encoded])
    }
}

fn picked<T: Clone>(values: &[T], places: &[usize]) -> Vec<T> {
    places.iter().map(|place| values[*place].clone()).collect()
}

/// Version 1: one list of class names; text becomes its place in it, a place its text.
#[derive(Debug)]
struct Classes {
    names: Vec<String>,
    places: HashMap<String, i64>,
    unknown_place: i64,
    unknown_name: String,
}

impl Classes {
    fn read(node: &NodeProto, names: Vec<String>) -> TractResult<Self> {
        let places = names.iter().cloned().zip(0..).collect();
        let unknown_place = node.get_attr_opt("default_int64")?.unwrap_or(-1);
        let unknown_name = attributes::text(node, "default_string", "_Unused")?.to_owned();
        Ok(Self { names, places, unknown_place, unknown_name })
    }
}

impl Kernel for Classes {
    fn name(&self) -> &'static str {
        "LabelEncoder"
    }

    fn facts(&self, inputs: &[Fact]) -> TractResult<Vec<Fact>> {
        let (dt, shape) = &inputs[0];
        let out = match dt {
            DatumType::String => DatumType::I64,
            DatumType::I64 => DatumType::String,
            other => bail!("an input of {other:?}, text or int64 are needed"),
        };
        Ok(vec![(out, shape.clone())])
    }

    fn eval(&self, inputs: &[&Tensor]) -> TractResult<Vec<Tensor>> {
        let (x, shape) = (inputs[0], inputs[0].shape());
        let encoded = if x.datum_type() == DatumType::String {
            let place =
                |name: &String| self.places.get(name).copied().unwrap_or(self.unknown_place);
            Tensor::from_shape(
                shape,
                &values::<String>(x)?.iter().map(place).collect::<Vec<i64>>(),
            )?
        } else {
            let name = |place: &i64| {
                let known = usize::try_from(*place).ok().and_then(|i| self.names.get(i));
                known.unwrap_or(&self.unknown_name).clone()
            };
            texts(shape, values::<i64>(x)?.iter().map(name).collect())?
        };
        Ok(vec![encoded])
    }
}
