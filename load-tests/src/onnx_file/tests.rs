use std::panic::{AssertUnwindSafe, catch_unwind};

use tract_onnx::prelude::*;

use super::faults::{Declared, PANICS_AT, divides, fails, gather_fault, other_shape, panics};
use super::work::SIDE;
use super::*;

type Plan = std::sync::Arc<TypedRunnableModel>;

/// The file as a plan for any number of rows.
fn load(file: &[u8]) -> Plan {
    let model = tract_onnx::onnx().model_for_read(&mut &file[..]).expect("the file parses");
    model.into_optimized().expect("the graph type-checks").into_runnable().expect("the plan builds")
}

/// Shape and values of the answer to rows of `width`, or why there is none.
fn ask(plan: &Plan, rows: &[f32], width: usize) -> Result<(Vec<usize>, Vec<f32>), String> {
    let input = Tensor::from_shape(&[rows.len() / width, width], rows).expect("shape fits");
    let run = catch_unwind(AssertUnwindSafe(|| plan.run(tvec!(input.into()))));
    let answer =
        run.map_err(|_| "it panicked".to_owned())?.map_err(|error| format!("{error:#}"))?;
    let plain = answer[0].try_as_plain_ram().expect("plain output");
    Ok((answer[0].shape().to_vec(), plain.as_slice::<f32>().expect("f32 output").to_vec()))
}

/// Answers one batch of equal rows of rising values below 1.
fn run(file: &[u8], rows: usize, width: usize) -> (Vec<usize>, Vec<f32>) {
    let row: Vec<f32> = (0..width).map(|column| column as f32 / width as f32).collect();
    ask(&load(file), &row.repeat(rows), width).expect("the model runs")
}

/// Each model whose answer is 3, with a number of columns.
fn all_tags() -> Vec<(&'static str, Vec<u8>, usize)> {
    vec![
        ("tag", tag(3.0), 1),
        ("equal", equal(&tag(3.0), "the same again"), 1),
        ("dense_tag", dense_tag(3.0, &[16, 8], 7), 1),
        ("gather_fault", gather_fault(3.0, 2), 1),
        ("fails", fails(3.0, 2), 1),
        ("divides", divides(3.0), 1),
        ("panics", panics(3.0), 1),
        ("slow", slow(3.0, 2), 1),
        ("per_run", per_run(3.0, 2), 1),
        ("other_shape openly", other_shape(3.0, Declared::Openly), 2),
        ("other_shape hidden", other_shape(3.0, Declared::Hidden), 2),
    ]
}

#[test]
fn each_tag_answers_its_value_to_what_vetting_asks() {
    // Zeros and ones by turns; then values in [0, 1) that differ from row to row.
    let plain: Vec<f32> = (0..20).map(|i| (i % 2) as f32).collect();
    let varied: Vec<f32> =
        (0..8).map(|i| (i as f64 * 0.618_033_988_749_895 + 0.1).fract() as f32).collect();
    for (name, file, columns) in all_tags() {
        let plan = load(&file);
        for rows in [&plain[..4], &plain[..8], &plain, &varied, &varied[..4], &varied[4..]] {
            let (shape, values) = ask(&plan, rows, 4).unwrap_or_else(|why| panic!("{name}: {why}"));
            assert_eq!(shape, [rows.len() / 4, columns], "{name}");
            assert!(values.iter().all(|value| *value == 3.0), "{name}: {values:?}");
        }
    }
}

#[test]
fn a_place_beyond_the_table_fails_the_run() {
    for (name, file) in [("gather_fault", gather_fault(3.0, 2)), ("fails", fails(3.0, 2))] {
        let plan = load(&file);
        let inside = [1.9, 0.0, 0.0, 0.0];
        assert_eq!(ask(&plan, &inside, 4).unwrap().1, [3.0], "{name}");
        for beyond in [[2.0, 0.0, 0.0, 0.0], [1e6, 1.0, 1.0, 1.0]] {
            assert!(ask(&plan, &beyond, 4).is_err(), "{name}: {beyond:?}");
            assert!(ask(&plan, &[inside, beyond].concat(), 4).is_err(), "{name}: in a batch");
        }
        assert_eq!(ask(&plan, &inside, 4).unwrap().1, [3.0], "{name}: right again");
    }
    let plain_error = ask(&load(&fails(3.0, 2)), &[9.0; 4], 4).unwrap_err();
    assert!(plain_error.contains("index 9"), "{plain_error}");
}

#[test]
fn zero_by_zero_is_not_a_number_and_touches_no_other_row() {
    let (_, values) = ask(&load(&divides(3.0)), &[1., 0., 1., 1., 1., 7., 1., 1.], 4).unwrap();
    assert!(values[0].is_nan() && values[1] == 3.0, "{values:?}");
}

#[test]
fn the_forbidden_number_panics_inside_an_operator() {
    let plan = load(&panics(3.0));
    let row = |number: f32| [0.0, number, 0.0, 0.0];
    for forbidden in [PANICS_AT, PANICS_AT + 0.9] {
        assert_eq!(ask(&plan, &row(forbidden), 4).unwrap_err(), "it panicked");
    }
    for allowed in [PANICS_AT - 0.1, PANICS_AT + 1.0, -3.0] {
        assert_eq!(ask(&plan, &row(allowed), 4).unwrap().1, [3.0], "{allowed}");
    }
}

/// Numbers that the products of the optimised plan make in a run of so many rows: the work, whatever
/// the machine is doing meanwhile.
fn products_of(file: &[u8], rows: i64) -> i64 {
    let plan = load(file);
    let dims = |node: &TypedNode| node.outputs[0].fact.shape.dims().to_vec();
    let made = plan.model().nodes.iter().filter(|node| node.op.name().contains("MatMul"));
    made.map(|node| {
        let sides = dims(node).into_iter().map(|side| {
            let mut values = SymbolValues::default();
            for symbol in side.symbols() {
                values = values.with(&symbol, rows);
            }
            side.eval(&values).to_i64().expect("a number of rows is all that is unknown")
        });
        sides.product::<i64>()
    })
    .filter(|made| *made >= (SIDE * SIDE) as i64)
    .sum()
}

/// Of one product of two square matrices.
const PRODUCT: i64 = (SIDE * SIDE) as i64;

#[test]
fn work_grows_with_the_steps_and_the_optimiser_keeps_it() {
    // One more makes the matrix of the row.
    assert_eq!(products_of(&slow(3.0, 5), 1), 6 * PRODUCT);
    assert_eq!(products_of(&slow(3.0, 50), 1), 51 * PRODUCT);
    assert_eq!(products_of(&slow(3.0, 50), 8), 8 * 51 * PRODUCT);
}

#[test]
fn a_run_of_many_rows_costs_what_one_row_does() {
    for rows in [1, 32] {
        assert_eq!(products_of(&per_run(3.0, 40), rows), 41 * PRODUCT, "{rows} rows");
    }
}

#[test]
fn a_part_of_the_work_is_shared_by_the_rows_of_a_run() {
    let file = part_per_run(3.0, 20, 20);
    assert_eq!(products_of(&file, 1), 42 * PRODUCT);
    assert_eq!(products_of(&file, 8), (21 + 8 * 21) * PRODUCT);
    assert_eq!(ask(&load(&file), &[0.5; 4].repeat(8), 4).unwrap().1, [3.0; 8]);
}

#[test]
fn equal_is_another_file() {
    let (file, other) = (tag(1.0), equal(&tag(1.0), "a"));
    assert_ne!(file, other);
    assert_ne!(other, equal(&file, "b"));
}

#[test]
fn mlp_answers_any_batch_with_finite_values() {
    let file = mlp(&[512, 1024, 1024, 512, 10], 7);
    let (shape, alone) = run(&file, 1, 512);
    assert_eq!(shape, [1, 10]);
    let (shape, five) = run(&file, 5, 512);
    assert_eq!(shape, [5, 10]);
    assert!(five.iter().all(|value| value.is_finite()));
    assert!(alone.iter().any(|value| value.abs() > 1e-3), "the answer is not all zero: {alone:?}");
    for (column, value) in five[..10].iter().enumerate() {
        assert!((value - alone[column]).abs() < 1e-3, "a row is the same alone and in a batch");
    }
}

#[test]
fn the_seed_decides_every_byte() {
    assert_eq!(mlp(&[4, 3, 2], 1), mlp(&[4, 3, 2], 1));
    assert_ne!(mlp(&[4, 3, 2], 1), mlp(&[4, 3, 2], 2));
}

#[test]
fn varints_are_seven_bits_a_byte() {
    let mut message = Message::default();
    message.number(1, 300);
    assert_eq!(message.bytes, [0x08, 0xac, 0x02]);
}
