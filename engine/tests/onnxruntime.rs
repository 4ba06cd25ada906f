//! The second engine beside the first: the same answers, the same rules for rows, and an end to
//! nothing but the call when something is wrong.
#![cfg(feature = "onnxruntime")]

mod cases;

use std::path::{Path, PathBuf};

use cases::{Case, compare, fixture, run_in_parts, slice};
use weighbridge_config::{EngineChoice, EngineName, Tensor, TensorData};
use weighbridge_engine::{ErrorKind, LoadOptions, LoadedModel, probe_inputs};

/// Where the tests find the library; `tests/run` installs it.
#[allow(clippy::disallowed_methods, reason = "a test, told by who runs the tests")]
fn library() -> PathBuf {
    let path = std::env::var_os("ONNXRUNTIME_LIBRARY_FOR_TESTS");
    path.expect("ONNXRUNTIME_LIBRARY_FOR_TESTS names the library: tests/run sets it").into()
}

fn options(engine: EngineChoice) -> LoadOptions {
    let onnxruntime = Some(library());
    LoadOptions { max_batch_rows: 8, engine, onnxruntime, workers: 2, ..LoadOptions::default() }
}

fn load(onnx: &[u8], engine: EngineChoice) -> LoadedModel {
    LoadedModel::load(onnx, &options(engine)).unwrap_or_else(|e| panic!("{e}"))
}

/// Models that the first engine has no operators for.
fn second_only() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/second_engine")
}

/// One row at a time, all at once, and rows of several requests in one batch.
fn check(case: &Case, engine: EngineChoice) -> Result<(), String> {
    let model = case.load(&options(engine))?;
    let signature = model.signature();
    let names: Vec<&str> = signature.inputs.iter().map(|i| &*i.name).collect();
    if names != case.input_names {
        return Err(format!("inputs {names:?}, {:?} wanted", case.input_names));
    }
    for (spec, expected) in signature.outputs.iter().zip(&case.expected) {
        if spec.name != expected.name || spec.datatype != expected.tensor.datatype() {
            return Err(format!("output {spec:?}, {} wanted", expected.name));
        }
        if !expected.labels.is_empty() && spec.labels != expected.labels {
            return Err(format!("labels {:?}, {:?} wanted", spec.labels, expected.labels));
        }
        let axes = spec.shape.iter().zip(expected.tensor.shape());
        if spec.shape.len() != expected.tensor.shape().len()
            || axes.clone().any(|(dim, length)| *dim >= 0 && *dim != *length as i64)
        {
            return Err(format!("shape {:?}, {:?} came", spec.shape, expected.tensor.shape()));
        }
    }
    // The answers are those of the same library; the order of summing differs with the batch.
    let tolerance = if case.name.contains("proba") { 1e-4 } else { 1e-5 };
    let tolerance = if case.name == "half" { 2e-3 } else { tolerance };
    let wanted: Vec<Tensor> = case.expected.iter().map(|e| e.tensor.clone()).collect();
    let rows = case.inputs[0].rows();
    // As it came: not every input of a model that runs alone has as many rows.
    let answers = model.run(&[&case.inputs]).map_err(|e| e.to_string())?;
    compare(&answers[0], &wanted, tolerance).map_err(|e| format!("all rows: {e}"))?;
    if !signature.batchable {
        return Ok(());
    }
    for row in 0..rows {
        let got = run_in_parts(&model, &slice(&case.inputs, row, row + 1), &[1])?;
        compare(&got, &slice(&wanted, row, row + 1), tolerance)
            .map_err(|e| format!("row {row}: {e}"))?;
    }
    let parts = [1.min(rows), rows.saturating_sub(1), 0];
    let parts = if rows > 6 { vec![1, 3, rows - 6, 0, 2] } else { parts.to_vec() };
    let got = run_in_parts(&model, &case.inputs, &parts)?;
    compare(&got, &wanted, tolerance).map_err(|e| format!("in parts {parts:?}: {e}"))
}

/// Fixtures that ONNX Runtime refuses or answers otherwise, by the begin of their names.
const NOT_THERE: &[&str] = &[
    // It wants to know, before any run, that they get one row; or has a locale installed.
    "text_normalizer_stop",
    "text_normalizer_lower_en_us",
    // It has no such kernel: half floats, batch first, columns first.
    "celu_half",
    "gru_layout1",
    "lstm_layout1",
    "rnn_layout1",
    "space_to_depth_crd",
    // It takes SOFTMAX of the newer tree operator for LOGISTIC, and the other way round.
    "ml_trees5_17_float",
    "ml_trees5_18_double",
    "ml_trees5_20_float",
    "ml_trees5_25_float",
];

fn is_refused_there(name: &str) -> bool {
    let half_trees = name.starts_with("ml_trees5_") && name.ends_with("_half");
    half_trees || NOT_THERE.iter().any(|begin| name.starts_with(begin))
}

fn check_all(folder: &Path, engine: EngineChoice, least: usize) {
    let mut cases = cases::all(folder);
    cases.retain(|c| !is_refused_there(&c.name));
    assert!(cases.len() >= least, "only {} in {}", cases.len(), folder.display());
    let failed: Vec<String> = cases
        .iter()
        .filter_map(|c| check(c, engine).err().map(|e| format!("{}: {e}", c.name)))
        .collect();
    assert!(failed.is_empty(), "{} of {}:\n{}", failed.len(), cases.len(), failed.join("\n"));
}

#[test]
#[ignore = "needs ONNX Runtime, which tests/run installs"]
fn every_fixture_gives_its_answers_through_the_second_engine() {
    check_all(&cases::fixtures(), EngineChoice::OnnxRuntime, 100);
}

#[test]
#[ignore = "needs ONNX Runtime, which tests/run installs"]
fn what_the_first_engine_lacks_is_served_through_the_second() {
    check_all(&second_only(), EngineChoice::Auto, 5);
    for case in cases::all(&second_only()) {
        let report = load(&case.onnx, EngineChoice::Auto).load_report().clone();
        if ["function", "determinant"].contains(&&*case.name) {
            // The first engine has learned these since.
            continue;
        }
        assert_eq!(report.decision.engine, EngineName::OnnxRuntime, "{}", case.name);
        let reason = report.decision.reason;
        assert!(reason.starts_with("tract does not load it: "), "{}: {reason}", case.name);
    }
}

/// Families on which the engines must agree on batches too, or one of them mixes rows.
#[test]
#[ignore = "needs ONNX Runtime, which tests/run installs"]
fn both_engines_find_the_same_signature() {
    let mut differ = Vec::new();
    let cases = cases::all(&cases::fixtures());
    for case in cases.into_iter().filter(|c| !is_refused_there(&c.name)) {
        let [a, b] = [EngineChoice::Tract, EngineChoice::OnnxRuntime]
            .map(|engine| case.load(&options(engine)).unwrap().signature().clone());
        let broken = b.incompatibilities(&a);
        if a.batchable != b.batchable || !broken.is_empty() {
            differ.push(format!("{}: {} {} {broken:?}", case.name, a.batchable, b.batchable));
        }
    }
    // tract cannot resize to computed sizes with a free batch; ONNX Runtime can.
    differ.retain(|line| !line.starts_with("resize_computed: false true"));
    assert!(differ.is_empty(), "{}", differ.join("\n"));
}

#[test]
#[ignore = "needs ONNX Runtime, which tests/run installs"]
fn auto_serves_the_fixtures_rightly_and_says_by_what() {
    let mut by_tract = 0;
    let cases = cases::all(&cases::fixtures());
    for case in cases.into_iter().filter(|c| !is_refused_there(&c.name)) {
        let model = case.load(&options(EngineChoice::Auto)).unwrap();
        let decision = &model.load_report().decision;
        assert!(!decision.reason.is_empty(), "{}", case.name);
        let is_tract = decision.engine == EngineName::Tract;
        by_tract += usize::from(is_tract);
        for timing in &decision.timings {
            assert!(timing.tract_us > 0.0 && timing.onnxruntime_us > 0.0, "{}", case.name);
            assert!(!is_tract || timing.tract_us <= 1.5 * timing.onnxruntime_us, "{}", case.name);
        }
    }
    assert!(by_tract >= 60, "tract serves {by_tract} only");
}

#[test]
#[ignore = "needs ONNX Runtime, which tests/run installs"]
fn rows_that_mix_are_not_batched_by_the_second_engine_either() {
    for name in ["softmax_over_rows", "reshape_folds_rows", "shape_as_output"] {
        let model = load(&fixture(name), EngineChoice::OnnxRuntime);
        assert!(!model.signature().batchable, "{name}");
        let notes = model.load_report().notes.join("; ");
        assert!(notes.contains("not batched together"), "{name}: {notes}");
    }
}

#[test]
#[ignore = "needs ONNX Runtime, which tests/run installs"]
fn a_traced_batch_of_one_is_freed_where_the_model_carries_more() {
    let dense = load(&fixture("dense_batch_one"), EngineChoice::OnnxRuntime);
    let signature = dense.signature();
    assert!(signature.batchable, "{:?}", dense.load_report().notes);
    assert_eq!(
        (&*signature.inputs[0].shape, &*signature.outputs[0].shape),
        (&[-1, 4][..], &[-1, 3][..])
    );
    let rows = |n: usize| probe_inputs(signature, n);
    assert_eq!(dense.run(&[&rows(3)]).unwrap()[0][0].shape(), [3, 3]);
    let folded = load(&fixture("reshape_folds_rows_batch_one"), EngineChoice::OnnxRuntime);
    assert!(!folded.signature().batchable);
    assert_eq!(folded.signature().inputs[0].shape[0], 1, "served as it was traced");
}

#[test]
#[ignore = "needs ONNX Runtime, which tests/run installs"]
fn a_sequence_as_an_output_is_refused_by_name() {
    let onnx = std::fs::read(second_only().join("refused_sequence_output.onnx")).unwrap();
    let error = LoadedModel::load(&onnx, &options(EngineChoice::OnnxRuntime)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Signature);
    let told = error.to_string();
    assert!(told.contains("\"y\"") && told.contains("sequence"), "{told}");
}

#[test]
#[ignore = "needs ONNX Runtime, which tests/run installs"]
fn threads_share_the_sessions_of_a_model() {
    for name in ["gb_reg", "dense", "mlp_clf_zipmap", "texts"] {
        let model = load(&fixture(name), EngineChoice::OnnxRuntime);
        let part = probe_inputs(model.signature(), 3);
        let alone = model.run(&[&part]).unwrap();
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    (0..50).for_each(|_| assert_eq!(model.run(&[&part]).unwrap(), alone, "{name}"));
                });
            }
        });
    }
}

#[test]
#[ignore = "needs ONNX Runtime, which tests/run installs"]
fn every_cut_and_every_flip_of_a_model_is_an_error_or_a_model() {
    let whole = fixture("columns_gb_zipmap");
    for length in (0..whole.len()).step_by(61) {
        let loaded = LoadedModel::load(&whole[..length], &options(EngineChoice::OnnxRuntime));
        assert!(loaded.is_err(), "cut at {length}");
    }
    for at in (0..whole.len()).step_by(37) {
        let mut damaged = whole.clone();
        damaged[at] ^= 0x15;
        // Either is fine; a panic or the end of the process would fail the test.
        if let Ok(model) = LoadedModel::load(&damaged, &options(EngineChoice::OnnxRuntime)) {
            let _ = model.run(&[&probe_inputs(model.signature(), 2)]);
        }
    }
    for garbage in [&b"garbage"[..], &[0xff; 4096], &[8, 8, 58, 0]] {
        assert!(LoadedModel::load(garbage, &options(EngineChoice::OnnxRuntime)).is_err());
    }
}

#[test]
#[ignore = "needs ONNX Runtime, which tests/run installs"]
fn a_run_that_fails_is_an_error_and_the_next_one_works() {
    let model = load(&fixture("tokens"), EngineChoice::OnnxRuntime);
    let ids =
        |value: i64| vec![Tensor::new(vec![1, 4], TensorData::Int64(vec![value; 4])).unwrap()];
    let error = model.run(&[&ids(1_000_000)]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Run);
    assert!(error.to_string().contains("ONNX Runtime"), "{error}");
    assert!(model.run(&[&ids(1)]).is_ok());
    let texts = load(&fixture("onehot_text"), EngineChoice::OnnxRuntime);
    let cell = |bytes: &[u8]| {
        let cells = vec![bytes.to_vec(), b"red".to_vec()];
        vec![Tensor::new(vec![1, 2], TensorData::Bytes(cells)).unwrap()]
    };
    for bad in [&b"\xff"[..], b"a\0b"] {
        let error = texts.run(&[&cell(bad)]).unwrap_err();
        assert!(error.to_string().contains(&texts.signature().inputs[0].name), "{error}");
    }
    assert!(texts.run(&[&cell(b"red")]).is_ok());
}

#[test]
#[ignore = "needs ONNX Runtime, which tests/run installs"]
fn a_second_library_is_refused_and_the_first_one_goes_on() {
    load(&fixture("dense"), EngineChoice::OnnxRuntime);
    let other = Path::new("/nonexistent/libonnxruntime.so");
    let options =
        LoadOptions { onnxruntime: Some(other.into()), ..options(EngineChoice::OnnxRuntime) };
    let error = LoadedModel::load(&fixture("dense"), &options).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Engine);
    assert!(error.to_string().contains("/nonexistent"), "{error}");
    load(&fixture("dense"), EngineChoice::OnnxRuntime);
}

#[test]
fn without_a_library_auto_is_tract_and_says_so() {
    let model = LoadedModel::load(&fixture("dense"), &LoadOptions::default()).unwrap();
    let decision = &model.load_report().decision;
    assert_eq!(decision.engine, EngineName::Tract);
    assert_eq!(decision.reason, "ONNX Runtime is not configured");
    let asked = LoadOptions { engine: EngineChoice::OnnxRuntime, ..LoadOptions::default() };
    let error = LoadedModel::load(&fixture("dense"), &asked).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Engine);
    assert!(error.to_string().contains("engine.onnxruntime_library"), "{error}");
}

#[test]
fn a_library_that_cannot_be_opened_leaves_auto_with_tract() {
    let text = std::env::temp_dir().join(format!("weighbridge-no-library-{}", std::process::id()));
    std::fs::write(&text, "not a library").unwrap();
    let auto = LoadOptions { onnxruntime: Some(text.clone()), ..LoadOptions::default() };
    let model = LoadedModel::load(&fixture("dense"), &auto).unwrap();
    let decision = model.load_report().decision.clone();
    let asked = LoadOptions { engine: EngineChoice::OnnxRuntime, ..auto };
    let error = LoadedModel::load(&fixture("dense"), &asked).unwrap_err();
    std::fs::remove_file(&text).unwrap();
    assert_eq!(decision.engine, EngineName::Tract);
    for told in [decision.reason, error.to_string()] {
        assert!(told.contains(&*text.to_string_lossy()), "{told}");
        assert!(told.contains("engine.onnxruntime_library"), "{told}");
    }
}
