//! StringConcat: joins texts element by element, with the broadcasting of numpy.

use tract_onnx::pb::NodeProto;
use tract_onnx::prelude::*;
use tract_onnx::tract_core::broadcast::multi_broadcast;
use tract_onnx::tract_hir::internal::*;

use super::super::kernel::{self, Fact, Kernel};
use super::expect_texts;

#[derive(Debug)]
struct StringConcat;

pub(in super::super) fn read(_: &NodeProto) -> TractResult<Box<dyn Kernel>> {
    Ok(Box::new(StringConcat))
}

impl Kernel for StringConcat {
    fn name(&self) -> &'static str {
        "StringConcat"
    }

    fn input_count(&self) -> usize {
        2
    }

    fn facts(&self, inputs: &[Fact]) -> TractResult<Vec<Fact>> {
        inputs.iter().try_for_each(expect_texts)?;
        let shape = multi_broadcast(&[&inputs[0].1, &inputs[1].1])?;
        Ok(vec![(String::datum_type(), shape)])
    }

    fn eval(&self, inputs: &[&Tensor]) -> TractResult<Vec<Tensor>> {
        let shape = multi_broadcast(&[inputs[0].shape(), inputs[1].shape()])?;
        let [a, b] = [inputs[0], inputs[1]].map(|t| t.to_plain_array_view::<String>());
        let (a, b) = (a?, b?);
        let fit = || format_err!("texts of the shapes {:?} and {:?}", a.shape(), b.shape());
        let (a, b) =
            (a.broadcast(&*shape).with_context(fit)?, b.broadcast(&*shape).with_context(fit)?);
        let joined = a.iter().zip(&b).map(|(a, b)| [a.as_str(), b.as_str()].concat()).collect();
        Ok(vec![kernel::texts(&shape, joined)?])
    }
}
