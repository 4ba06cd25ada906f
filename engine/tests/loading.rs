//! What loading finds out, and what it refuses.

mod cases;

use cases::{fixture, fixtures, load};
use weighbridge_config::{Datatype, Tensor, TensorData};
use weighbridge_engine::{ErrorKind, LoadOptions, LoadedModel, inspect, probe_inputs};

fn refused(name: &str, kind: ErrorKind, facts: &[&str]) {
    let error = LoadedModel::load(&fixture(name), &LoadOptions::default()).expect_err(name);
    assert_eq!(error.kind(), kind, "{name}: {error}");
    for fact in facts {
        assert!(error.to_string().contains(fact), "{name}: \"{fact}\" is not in: {error}");
    }
}

fn floats(shape: &[usize]) -> Vec<Tensor> {
    let count = shape.iter().product::<usize>();
    let data = TensorData::Fp32((0..count).map(|i| i as f32 / 8.0).collect());
    vec![Tensor::new(shape.to_vec(), data).unwrap()]
}

#[test]
fn all_missing_operators_are_listed_at_once() {
    refused(
        "refused_three_missing",
        ErrorKind::Unsupported,
        &["Bernoulli", "draw", "MaxRoiPool", "pool", "com.acme", "Frobnicate"],
    );
    let inspection = inspect(&fixture("refused_three_missing")).unwrap();
    let names: Vec<&str> = inspection.missing.iter().map(|m| &*m.op).collect();
    assert_eq!(names, ["Bernoulli", "MaxRoiPool", "Frobnicate"]);
    assert!(inspection.missing.iter().all(|m| !m.advice.is_empty()));
}

#[test]
fn other_unservable_models_are_refused_with_what_to_do() {
    refused("refused_loop", ErrorKind::Unsupported, &["Loop"]);
    refused("refused_local_function", ErrorKind::Unsupported, &["Twice", "inline"]);
    refused("refused_external_data", ErrorKind::Unsupported, &["weights.bin", "push", "one file"]);
    refused("refused_cast_map", ErrorKind::Unsupported, &["CastMap", "map", "table"]);
    refused(
        "refused_dict_vectorizer",
        ErrorKind::Unsupported,
        &["DictVectorizer", "OneHotEncoder"],
    );
    refused("refused_no_inputs", ErrorKind::Signature, &["no inputs"]);
    refused("refused_misfit", ErrorKind::Load, &["optimising"]);
    let inspection = inspect(&fixture("refused_external_data")).unwrap();
    assert!(inspection.external_data);
    assert_eq!(inspection.external_files, ["weights.bin"]);
}

#[test]
fn inspection_reports_the_file() {
    let inspection = inspect(&fixture("rf_clf_bin_zipmap")).unwrap();
    assert!(inspection.missing.is_empty(), "{:?}", inspection.missing);
    assert!(inspection.producer.starts_with("skl2onnx"), "{}", inspection.producer);
    assert!(inspection.opset_imports.iter().any(|(domain, _)| domain == "ai.onnx.ml"));
    assert!(inspection.node_count >= 2 && inspection.ir_version > 0);
    assert!(!inspection.external_data);
}

#[test]
fn what_is_not_onnx_is_said_to_be_what_it_is() {
    for (bytes, word) in [
        (&b""[..], "empty"),
        (b"<!DOCTYPE html><html><body>login</body></html>", "HTML"),
        (b"PK\x03\x04\x14\x00\x00\x00", "zip"),
        (b"\x80\x04\x95\x10\x00\x00\x00", "pickle"),
        (b"\x00\x00\x00\x00\x00\x00\x00\x00", "not a whole ONNX file"),
        (b"just some words", "text"),
    ] {
        let error = inspect(bytes).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NotOnnx);
        assert!(error.to_string().contains(word), "{error}");
        assert_eq!(
            LoadedModel::load(bytes, &LoadOptions::default()).unwrap_err().kind(),
            ErrorKind::NotOnnx
        );
    }
}

#[test]
fn every_cut_of_a_model_is_an_error_and_no_panic() {
    for name in ["dense", "gb_reg", "columns_gb_zipmap"] {
        let whole = fixture(name);
        let complete = inspect(&whole).unwrap();
        for length in 0..whole.len() {
            match inspect(&whole[..length]) {
                Err(error) => {
                    assert_eq!(error.kind(), ErrorKind::NotOnnx, "{name} cut at {length}: {error}")
                }
                // The last field names an operator set that no node of gb_reg uses: without it
                // the file is still the whole model.
                Ok(cut) => {
                    assert_eq!(name, "gb_reg", "cut at {length}");
                    assert_eq!(cut.node_count, complete.node_count);
                    assert!(cut.opset_imports.len() < complete.opset_imports.len());
                }
            }
        }
    }
}

#[test]
fn a_model_with_flipped_bytes_loads_or_is_refused_without_a_panic() {
    let whole = fixture("columns_gb_zipmap");
    for at in (0..whole.len()).step_by(37) {
        let mut damaged = whole.clone();
        damaged[at] ^= 0x15;
        // Either is fine; a panic would fail the test.
        if let Ok(model) = LoadedModel::load(
            &damaged,
            &LoadOptions { max_batch_rows: 1, ..LoadOptions::default() },
        ) {
            let _ = model.run(&[&probe_inputs(model.signature(), 2)]);
        }
    }
}

#[test]
fn a_free_first_axis_is_the_batch_and_so_is_a_traced_batch_of_one() {
    for name in ["dense", "dense_batch_one", "weights_as_inputs", "stale_value_info"] {
        let model = load(&fixture(name));
        let signature = model.signature();
        assert!(signature.batchable, "{name}");
        assert_eq!(signature.inputs.len(), 1, "{name}: weights are not inputs");
        assert_eq!(
            (&*signature.inputs[0].name, &signature.inputs[0].shape[..]),
            ("x", &[-1, 4][..])
        );
        assert_eq!(
            (&*signature.outputs[0].name, &signature.outputs[0].shape[..]),
            ("y", &[-1, 3][..])
        );
        let (one, two) = (floats(&[1, 4]), floats(&[2, 4]));
        let answers = model.run(&[&one, &two]).unwrap();
        assert_eq!(answers[0][0].shape(), [1, 3]);
        assert_eq!(answers[1][0].shape(), [2, 3]);
        assert_eq!(answers[0][0], answers[1][0].slice_rows(0, 1));
    }
}

#[test]
fn rows_that_would_mix_keep_a_model_from_batching() {
    for (name, shape, word) in [
        ("reshape_folds_rows", [-1, 4], "\"y\""),
        ("reshape_folds_rows_batch_one", [1, 4], "\"y\""),
        ("softmax_over_rows", [-1, 4], "changes with the other rows"),
        ("dense_batch_five", [5, 4], ""),
    ] {
        let model = load(&fixture(name));
        assert!(!model.signature().batchable, "{name}");
        assert_eq!(model.signature().inputs[0].shape, shape, "{name}");
        assert_eq!(model.cost().best_batch_rows, 1);
        let notes = model.load_report().notes.join("; ");
        assert!(notes.contains(word), "{name}: {notes}");
        let rows = if shape[0] < 0 { 2 } else { shape[0] as usize };
        let part = floats(&[rows, 4]);
        model.run(&[&part]).unwrap();
        assert_eq!(model.run(&[&part, &part]).unwrap_err().kind(), ErrorKind::Run);
    }
}

#[test]
fn unfit_batches_are_refused_and_the_model_goes_on() {
    let model = load(&fixture("two_inputs"));
    let pair = |a: Vec<Tensor>, b: Vec<Tensor>| [a, b].concat();
    let refused = |part: &[Tensor], word: &str| {
        let error = model.run(&[part]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Run);
        assert!(error.to_string().contains(word), "{error}");
    };
    refused(&floats(&[1, 2]), "1 inputs");
    refused(&pair(floats(&[1, 2]), floats(&[2, 2])), "rows");
    refused(&pair(floats(&[1, 2]), floats(&[1, 3])), "\"b\"");
    let ints = Tensor::new(vec![1, 2], TensorData::Int64(vec![1, 2])).unwrap();
    refused(&pair(floats(&[1, 2]), vec![ints]), "INT64");
    let fine = pair(floats(&[1, 2]), floats(&[1, 2]));
    assert_eq!(model.run(&[&fine]).unwrap()[0][0].shape(), [1, 4]);
    assert!(model.run(&[]).unwrap().is_empty());
}

#[test]
fn text_that_is_not_utf8_is_refused_by_the_name_of_its_input() {
    let model = load(&fixture("onehot_text"));
    let spec = &model.signature().inputs[0];
    assert_eq!(spec.datatype, Datatype::Bytes);
    let bad =
        Tensor::new(vec![1, 2], TensorData::Bytes(vec![vec![0xff], b"red".to_vec()])).unwrap();
    let error = model.run(&[&[bad]]).unwrap_err();
    assert!(error.to_string().contains(&spec.name), "{error}");
}

#[test]
fn other_free_axes_stay_free() {
    let model = load(&fixture("tokens"));
    assert!(model.signature().batchable);
    assert_eq!(model.signature().inputs[0].shape, [-1, -1]);
    let ids = |rows: usize, length: usize| {
        vec![Tensor::new(vec![rows, length], TensorData::Int64(vec![1; rows * length])).unwrap()]
    };
    for length in [1, 5, 30] {
        assert_eq!(model.run(&[&ids(2, length)]).unwrap()[0][0].shape(), [2, 3]);
    }
    assert_eq!(model.run(&[&ids(1, 3), &ids(1, 4)]).unwrap_err().kind(), ErrorKind::Run);
}

#[test]
fn class_names_become_the_labels_of_the_probabilities() {
    for (name, labels) in [
        ("rf_clf_text_zipmap", ["setosa", "versicolor", "virginica"]),
        ("rf_clf_text", ["setosa", "versicolor", "virginica"]),
        ("rf_clf_multi_zipmap", ["0", "1", "2"]),
        ("logreg_text", ["setosa", "versicolor", "virginica"]),
    ] {
        let model = load(&fixture(name));
        let outputs = &model.signature().outputs;
        assert!(outputs[0].labels.is_empty(), "{name}: a label output has no labels");
        assert_eq!(outputs[1].labels, labels, "{name}");
        assert_eq!(outputs[1].shape, [-1, 3], "{name}");
    }
}

#[test]
fn the_report_says_what_was_loaded() {
    let model = load(&fixture("standard_scaler"));
    let report = model.load_report();
    assert!(report.load_ms > 0.0 && report.optimise_ms >= 0.0);
    assert_eq!(report.opset, 17);
    assert!(
        report.operators.contains(&("ai.onnx.ml".into(), "Scaler".into(), 1)),
        "{:?}",
        report.operators
    );
    let cost = load(&fixture("rf_clf_bin")).cost();
    assert!(cost.base_us > 0.0 && cost.per_row_us > 0.0 && cost.best_batch_rows >= 8, "{cost:?}");
}

#[test]
fn every_fixture_with_a_refusal_is_refused() {
    let mut count = 0;
    for entry in std::fs::read_dir(fixtures()).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if name.starts_with("refused_") {
            let bytes = std::fs::read(&path).unwrap();
            assert!(LoadedModel::load(&bytes, &LoadOptions::default()).is_err(), "{name}");
            count += 1;
        }
    }
    assert!(count >= 5, "{count}");
}

#[test]
fn workers_share_one_model() {
    let model = load(&fixture("gb_reg"));
    let part = probe_inputs(model.signature(), 3);
    let alone = model.run(&[&part]).unwrap();
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| (0..50).for_each(|_| assert_eq!(model.run(&[&part]).unwrap(), alone)));
        }
    });
}

#[test]
fn shapes_calculated_from_the_rows_are_right_for_any_number_of_rows() {
    for (name, shape, wanted) in [
        ("lstm_batch_first", vec![5, 4], vec![2]),
        ("resize_computed", vec![1, 3, 3], vec![1, 6, 6]),
    ] {
        let model = load(&fixture(name));
        assert!(model.signature().batchable, "{name}: {:?}", model.load_report().notes);
        for rows in [1, 2, 7] {
            let answer = model.run(&[&floats(&[&[rows], &*shape].concat())]).unwrap();
            assert_eq!(answer[0][0].shape(), [&[rows], &*wanted].concat(), "{name}");
        }
    }
}
