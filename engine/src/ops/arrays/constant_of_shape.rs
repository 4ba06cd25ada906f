//! ConstantOfShape with a shape that the run calculates.

use tract_onnx::model::ParsingContext;
use tract_onnx::pb::attribute_proto::AttributeType;
use tract_onnx::pb::tensor_proto::DataType;
use tract_onnx::pb::{AttributeProto, NodeProto, TensorProto};
use tract_onnx::prelude::*;
use tract_onnx::tract_hir::internal::*;

use crate::ops::fallback::unless_constant;
use crate::ops::kernel::{self, Fact, Kernel, Lengths, values};

#[derive(Debug)]
struct ConstantOfShape {
    /// One element.
    value: Tensor,
    axes: Lengths,
}

pub(in crate::ops) fn build(
    context: &ParsingContext,
    node: &NodeProto,
) -> TractResult<(Box<dyn InferenceOp>, Vec<String>)> {
    let mut node = node.clone();
    if !node.attribute.iter().any(|a| a.name == "value") {
        // The standard's default; the runtime's is a double.
        node.attribute.push(float_zero());
    }
    let node = &node;
    let value = context.load_tensor(node.get_attr("value")?)?;
    ensure!(value.len() == 1, "ConstantOfShape with a value of {} elements", value.len());
    let kernel = ConstantOfShape { value, axes: Lengths::of(context) };
    let ours = kernel::operator("", node, Box::new(kernel))?;
    unless_constant(context, node, &[0], ours)
}

fn float_zero() -> AttributeProto {
    let zero = TensorProto {
        dims: vec![1],
        data_type: DataType::Float as i32,
        float_data: vec![0.0],
        ..TensorProto::default()
    };
    AttributeProto {
        name: "value".to_owned(),
        r#type: AttributeType::Tensor as i32,
        t: Some(zero),
        ..AttributeProto::default()
    }
}

impl Kernel for ConstantOfShape {
    fn name(&self) -> &'static str {
        "ConstantOfShape"
    }

    fn lengths(&self) -> Option<&Lengths> {
        Some(&self.axes)
    }

    fn facts(&self, inputs: &[Fact]) -> TractResult<Vec<Fact>> {
        let [(dt, shape)] = inputs else { bail!("one input is needed") };
        ensure!(*dt == i64::datum_type(), "a shape of {dt:?}, int64 is needed");
        let [rank] = &**shape else { bail!("a shape of {} axes, a list is needed", shape.len()) };
        let rank = rank.to_usize().context("the number of axes must be known at load")?;
        Ok(vec![(self.value.datum_type(), (0..rank).map(|axis| self.axes.get(axis)).collect())])
    }

    fn eval(&self, inputs: &[&Tensor]) -> TractResult<Vec<Tensor>> {
        let sizes = values::<i64>(inputs[0])?.iter();
        let shape = sizes
            .map(|size| usize::try_from(*size).with_context(|| format!("a size of {size}")))
            .collect::<TractResult<Vec<_>>>()?;
        Ok(vec![dispatch_datum!(filled_with(self.value.datum_type())(&self.value, &shape))?])
    }
}

fn filled_with<T: Datum>(value: &Tensor, shape: &[usize]) -> TractResult<Tensor> {
    let value = values::<T>(value)?[0].clone();
    let count = shape.iter().try_fold(1usize, |n, size| n.checked_mul(*size));
    let count = count.with_context(|| format!("a shape of {shape:?} is too large"))?;
    let mut elements = Vec::new();
    // A size from the run may be anything: refuse it instead of ending the process.
    elements.try_reserve_exact(count).with_context(|| format!("{shape:?} is too large"))?;
    elements.resize(count, value);
    Ok(tract_ndarray::ArrayD::from_shape_vec(shape, elements)?.into_tensor())
}
