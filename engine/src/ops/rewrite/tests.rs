//! Rewritten graphs give the answers of the runtime's own kernels.

use tract_onnx::prelude::*;
use tract_onnx::tract_core::ops::binary::TypedBinOp;
use tract_onnx::tract_core::ops::einsum::EinSum;
use tract_onnx::tract_core::ops::logic::{comp_eq, comp_gt, comp_gte, comp_lt, comp_lte, comp_ne};
use tract_onnx::tract_core::ops::math::{add, div, max, min, mul, sub};
use tract_onnx::tract_core::ops::nn::{Reduce, Reducer};
use tract_onnx::tract_hir::internal::*;

use super::super::kernel::Own;
use super::rewrite;

fn constant(model: &mut TypedModel, name: &str, shape: &[usize]) -> OutletId {
    let count = shape.iter().product::<usize>();
    let values: Vec<f32> = (0..count).map(|k| (k as f32 * 0.7 + 0.3).sin() + 1.5).collect();
    let tensor = Tensor::from_shape(shape, &values).unwrap();
    model.add_const(name, tensor).unwrap()
}

/// Runs `wire` on rows of `width` features, rewritten and not; returns our nodes of the
/// rewritten graph.
fn compare(
    width: usize,
    wire: impl Fn(&mut TypedModel, OutletId) -> TractResult<OutletId>,
) -> Vec<&'static str> {
    let mut model = TypedModel::default();
    let rows = model.symbols.sym("N");
    let fact = f32::fact(&[rows.to_dim(), width.to_dim()]);
    let input = model.add_source("x", fact).unwrap();
    let output = wire(&mut model, input).unwrap();
    model.select_output_outlets(&[output]).unwrap();
    let mut rewritten = model.clone();
    rewrite(&mut rewritten).unwrap();
    let ours = rewritten.eval_order().unwrap();
    let ours = ours.into_iter().filter_map(|id| rewritten.node(id).op_as::<Own>());
    let ours = ours.map(|own| own.kernel.name()).collect();
    let (plain, rewritten) = (
        model.into_runnable().unwrap(),
        rewritten.into_optimized().unwrap().into_runnable().unwrap(),
    );
    for rows in [1usize, 3, 17] {
        let x: Vec<f32> = (0..rows * width).map(|k| (k as f32 * 1.3).cos()).collect();
        let x: TValue = Tensor::from_shape(&[rows, width], &x).unwrap().into();
        let wanted = plain.run(tvec!(x.clone())).unwrap();
        let got = rewritten.run(tvec!(x)).unwrap();
        got[0].close_enough(&wanted[0], Approximation::Approximate).unwrap();
    }
    ours
}

fn product(transposed: bool) -> EinSum {
    let axes = AxesMapping::for_numpy_matmul(2, false, transposed, false).unwrap();
    EinSum::new(axes, f32::datum_type())
}

#[test]
fn layers_become_one_node_whichever_way_the_matrix_lies() {
    for transposed in [false, true] {
        let ours = compare(5, |model, x| {
            let shape = if transposed { [9, 5] } else { [5, 9] };
            let (w, b) = (constant(model, "w", &shape), constant(model, "b", &[1, 9]));
            let zero = constant(model, "zero", &[1, 1]);
            let y = model.wire_node("product", product(transposed), &[x, w])?;
            let y = model.wire_node("bias", add(), &[y[0], b])?;
            Ok(model.wire_node("relu", max(), &[y[0], zero])?[0])
        });
        assert_eq!(ours, ["RowWise"]);
    }
}

#[test]
fn columns_are_combined_with_constants_on_either_side() {
    let ours = compare(4, |model, x| {
        let (row, one) = (constant(model, "row", &[1, 4]), constant(model, "one", &[1, 1]));
        let mut y = model.wire_node("a", sub(), &[x, row])?;
        y = model.wire_node("b", sub(), &[row, y[0]])?;
        y = model.wire_node("c", mul(), &[one, y[0]])?;
        y = model.wire_node("d", div(), &[y[0], row])?;
        Ok(model.wire_node("e", div(), &[row, y[0]])?[0])
    });
    assert_eq!(ours, ["RowWise"]);
}

#[test]
fn a_value_read_twice_ends_a_chain() {
    let ours = compare(4, |model, x| {
        let row = constant(model, "row", &[1, 4]);
        let shared = model.wire_node("shared", mul(), &[x, row])?[0];
        let left = model.wire_node("left", add(), &[shared, row])?[0];
        Ok(model.wire_node("both", mul(), &[left, shared])?[0])
    });
    assert_eq!(ours, ["RowWise", "RowWise", "ShortPairs"]);
}

#[test]
fn a_constant_that_makes_rows_wider_ends_a_chain() {
    let ours = compare(1, |model, x| {
        let row = constant(model, "row", &[1, 4]);
        Ok(model.wire_node("spread", add(), &[x, row])?[0])
    });
    assert_eq!(ours, ["ShortPairs"]);
}

/// Every reducer with a kernel for rows, over the last of two and of three axes.
#[test]
fn rows_are_reduced_as_the_runtime_does() {
    let reducers = [
        Reducer::Sum,
        Reducer::Prod,
        Reducer::Max,
        Reducer::Min,
        Reducer::ArgMax(false),
        Reducer::ArgMax(true),
        Reducer::ArgMin(false),
        Reducer::ArgMin(true),
    ];
    for reducer in reducers {
        for axis in [1, 2] {
            let ours = compare(6, |model, x| {
                let mut y = tvec!(x);
                if axis == 2 {
                    y = model.wire_node("folded", folded(model, x, 6, &[2, 3])?, &y)?;
                }
                Ok(model.wire_node("reduced", Reduce::new(tvec!(axis), reducer), &y)?[0])
            });
            assert_eq!(ours, ["ShortReduction"], "{reducer:?} over axis {axis}");
        }
    }
}

fn folded(model: &TypedModel, x: OutletId, from: i64, to: &[i64]) -> TractResult<AxisOp> {
    ensure!(model.outlet_fact(x)?.rank() == 2, "rows are needed");
    Ok(AxisOp::Reshape(1, tvec!(from.to_dim()), to.iter().map(|d| d.to_dim()).collect()))
}

/// Rows with one number per row, with a row for all, with as many rows, on either side.
#[test]
fn pairs_are_combined_as_the_runtime_does() {
    let operations: [fn() -> TypedBinOp; 12] = [
        || add(),
        || sub(),
        || mul(),
        || div(),
        || min(),
        || max(),
        || TypedBinOp(comp_lt(), None),
        || TypedBinOp(comp_lte(), None),
        || TypedBinOp(comp_gt(), None),
        || TypedBinOp(comp_gte(), None),
        || TypedBinOp(comp_eq(), None),
        || TypedBinOp(comp_ne(), None),
    ];
    for operation in operations {
        let ours = compare(6, |model, x| {
            let highest = Reduce::new(tvec!(1), Reducer::Max);
            let one = model.wire_node("one", highest, &[x])?[0];
            Ok(model.wire_node("left", operation(), &[x, one])?[0])
        });
        assert_eq!(ours, ["ShortReduction", "ShortPairs"], "{:?}", operation());
        compare(6, |model, x| {
            let highest = Reduce::new(tvec!(1), Reducer::Max);
            let one = model.wire_node("one", highest, &[x])?[0];
            Ok(model.wire_node("right", operation(), &[one, x])?[0])
        });
        // [rows, 2, 3] with [1, 2, 1] and with [rows, 2, 1].
        compare(6, |model, x| {
            let y = model.wire_node("folded", folded(model, x, 6, &[2, 3])?, &[x])?[0];
            let column = constant(model, "column", &[1, 2, 1]);
            Ok(model.wire_node("columns", operation(), &[column, y])?[0])
        });
        compare(6, |model, x| {
            let y = model.wire_node("folded", folded(model, x, 6, &[2, 3])?, &[x])?[0];
            let lowest = Reduce::new(tvec!(2), Reducer::Min);
            let each = model.wire_node("each", lowest, &[y])?[0];
            Ok(model.wire_node("rows", operation(), &[y, each])?[0])
        });
    }
}
