//! CategoryMapper: text to the number beside it, and numbers to texts.

use std::collections::HashMap;

use tract_onnx::pb::NodeProto;
use tract_onnx::prelude::*;
use tract_onnx::tract_hir::internal::*;

use super::attributes;
use super::kernel::{Fact, Kernel, filled, texts, values};

#[derive(Debug)]
struct CategoryMapper {
    numbers: HashMap<String, i64>,
    names: HashMap<i64, String>,
    unknown_name: String,
    unknown_number: i64,
}

pub(super) fn read(node: &NodeProto) -> TractResult<Box<dyn Kernel>> {
    let names = attributes::texts(node, "cats_strings")?;
    let numbers = attributes::ints(node, "cats_int64s")?;
    ensure!(
        names.len() == numbers.len(),
        "{} cats_strings and {} cats_int64s",
        names.len(),
        numbers.len()
    );
    // Of two entries with one key the later one counts.
    let pairs = || names.iter().cloned().zip(numbers.iter().copied());
    Ok(Box::new(CategoryMapper {
        numbers: pairs().collect(),
        names: pairs().map(|(name, number)| (number, name)).collect(),
        unknown_name: attributes::text(node, "default_string", "_Unused")?.to_owned(),
        unknown_number: node.get_attr_opt("default_int64")?.unwrap_or(-1),
    }))
}

impl Kernel for CategoryMapper {
    fn name(&self) -> &'static str {
        "CategoryMapper"
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
        let mapped = if x.datum_type() == DatumType::String {
            filled::<i64>(shape, |out| {
                for (out, name) in out.iter_mut().zip(values::<String>(x)?) {
                    *out = self.numbers.get(name).copied().unwrap_or(self.unknown_number);
                }
                Ok(())
            })?
        } else {
            let name = |n: &i64| self.names.get(n).unwrap_or(&self.unknown_name).clone();
            texts(shape, values::<i64>(x)?.iter().map(name).collect())?
        };
        Ok(vec![mapped])
    }
}
