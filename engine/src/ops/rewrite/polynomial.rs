//! A Concat of products of picked columns of one input.

use tract_onnx::prelude::*;
use tract_onnx::tract_core::ops::array::TypedConcat;
use tract_onnx::tract_core::ops::nn::{Reduce, Reducer};

use super::super::kernel::{Own, values};
use super::super::products::{Product, Products};
use super::{columns_of, shunt};

/// Fewer columns are not worth a node of our own.
const FEWEST_PRODUCTS: usize = 2;

pub(super) fn rewrite(model: &mut TypedModel) -> TractResult<()> {
    for id in model.eval_order()? {
        if let Some((input, kernel)) = products(model, model.node(id))? {
            shunt(model, input, id.into(), kernel)?;
        }
    }
    Ok(())
}

/// The input and the columns of a Concat that consists of products only.
fn products(model: &TypedModel, node: &TypedNode) -> TractResult<Option<(OutletId, Products)>> {
    if node.op_as::<TypedConcat>().is_none_or(|concat| concat.axis != 1) {
        return Ok(None);
    }
    let mut input = None;
    let mut products = Vec::with_capacity(node.inputs.len());
    let mut multiplied = 0;
    for outlet in &node.inputs {
        if let Some(constant) = constant_column(model.outlet_fact(*outlet)?)? {
            products.push(Product { constant, columns: vec![] });
            continue;
        }
        let Some((from, columns)) = picked(model, *outlet)? else { return Ok(None) };
        if *input.get_or_insert(from) != from {
            return Ok(None);
        }
        multiplied += 1;
        products.push(Product { constant: 1.0, columns });
    }
    let Some(input) = input.filter(|_| multiplied >= FEWEST_PRODUCTS) else { return Ok(None) };
    let Some(width) = columns_of(model.outlet_fact(input)?) else { return Ok(None) };
    let is_sound = |product: &Product| product.columns.iter().all(|column| *column < width);
    let whole = products.iter().all(is_sound);
    Ok(whole.then_some((input, Products { products, width })))
}

/// The value of a column that is the same number in every row.
fn constant_column(fact: &TypedFact) -> TractResult<Option<f32>> {
    let Some(uniform) = &fact.uniform else { return Ok(None) };
    let is_column = fact.rank() == 2 && fact.shape[1].is_one();
    if !is_column || fact.datum_type != f32::datum_type() {
        return Ok(None);
    }
    Ok(values::<f32>(uniform)?.first().copied())
}

/// What the product of some picked columns is made from: the input and the columns.
fn picked(model: &TypedModel, outlet: OutletId) -> TractResult<Option<(OutletId, Vec<usize>)>> {
    let mut node = model.node(outlet.node);
    let is_one_column = columns_of(model.outlet_fact(outlet)?) == Some(1);
    if let Some(reduce) = node.op_as::<Reduce>() {
        if reduce.reducer != Reducer::Prod || *reduce.axes != [1] {
            return Ok(None);
        }
        node = model.node(node.inputs[0].node);
    }
    let Some(own) = node.op_as::<Own>() else { return Ok(None) };
    if !is_one_column || own.kernel.name() != "ArrayFeatureExtractor" {
        return Ok(None);
    }
    let Some(indices) = &model.outlet_fact(node.inputs[1])?.konst else { return Ok(None) };
    let indices = indices.cast_to::<i64>()?;
    let columns = values::<i64>(&indices)?.iter().map(|i| usize::try_from(*i).ok());
    Ok(columns.collect::<Option<Vec<usize>>>().map(|columns| (node.inputs[0], columns)))
}
