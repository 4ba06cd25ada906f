use tract_onnx::prelude::*;

use super::*;

/// Loads the file as a symbolic-batch plan and answers one batch of equal rows.
fn run(file: &[u8], rows: usize, width: usize) -> (Vec<usize>, Vec<f32>) {
    let model = tract_onnx::onnx().model_for_read(&mut &file[..]).expect("the file parses");
    let plan = model
        .into_optimized()
        .expect("the graph type-checks")
        .into_runnable()
        .expect("the plan builds");
    let row: Vec<f32> = (0..width).map(|column| column as f32 / width as f32).collect();
    let input = Tensor::from_shape(&[rows, width], &row.repeat(rows)).expect("shape fits");
    let answer = plan.run(tvec!(input.into())).expect("the model runs");
    let plain = answer[0].try_as_plain_ram().expect("plain output");
    (answer[0].shape().to_vec(), plain.as_slice::<f32>().expect("f32 output").to_vec())
}

#[test]
fn tag_answers_its_value_for_each_row() {
    let (shape, values) = run(&tag(3.0), 2, 4);
    assert_eq!(shape, [2, 1]);
    assert_eq!(values, [3.0, 3.0]);
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
