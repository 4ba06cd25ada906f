//! What needs the library and is not seen from outside.

use std::path::PathBuf;

use ort::session::builder::PrepackedWeights;
use tract_onnx::pb::GraphProto;

use super::*;
use crate::inspect;

#[allow(clippy::disallowed_methods, reason = "a test, told by who runs the tests")]
fn library() -> PathBuf {
    let path = std::env::var_os("ONNXRUNTIME_LIBRARY_FOR_TESTS");
    path.expect("ONNXRUNTIME_LIBRARY_FOR_TESTS names the library: tests/run sets it").into()
}

fn fixture(name: &str) -> Vec<u8> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures");
    std::fs::read(folder.join(name).with_extension("onnx")).unwrap()
}

fn sessions(onnx: &[u8], graph: &GraphProto, most: usize) -> Sessions {
    let environment = library::open(&library()).unwrap();
    let shared = weights::shared(graph);
    let recipe =
        Recipe { environment, onnx: Arc::from(onnx), shared, packed: PrepackedWeights::new() };
    Sessions::new(recipe, most).unwrap()
}

#[test]
#[ignore = "needs ONNX Runtime, which tests/run installs"]
fn sessions_are_made_when_all_are_running_and_never_too_many() {
    let onnx = fixture("second_engine/shared_weight");
    let (proto, _) = inspect::read(&onnx).unwrap();
    let sessions = sessions(&onnx, proto.graph.as_ref().unwrap(), 2);
    assert_eq!(sessions.made(), 1);
    drop(sessions.lease().unwrap());
    drop(sessions.lease().unwrap());
    assert_eq!(sessions.made(), 1, "one after the other needs one");
    let (first, second) = (sessions.lease().unwrap(), sessions.lease().unwrap());
    assert_eq!(sessions.made(), 2);
    std::thread::scope(|scope| {
        let third = scope.spawn(|| drop(sessions.lease().unwrap()));
        std::thread::sleep(std::time::Duration::from_millis(50));
        assert!(!third.is_finished(), "there are two, and both are taken");
        drop(first);
        third.join().unwrap();
    });
    drop(second);
    assert_eq!(sessions.made(), 2);
}

#[test]
#[ignore = "needs ONNX Runtime, which tests/run installs"]
fn a_session_that_saw_a_panic_is_replaced() {
    let onnx = fixture("dense");
    let (proto, _) = inspect::read(&onnx).unwrap();
    let sessions = sessions(&onnx, proto.graph.as_ref().unwrap(), 1);
    let panicked = guarded::<()>("a test", || {
        let _lease = sessions.lease()?;
        panic!("in the middle of a run");
    });
    assert_eq!(panicked.unwrap_err().kind(), ErrorKind::Panicked);
    assert_eq!(sessions.made(), 0);
    drop(sessions.lease().unwrap());
    assert_eq!(sessions.made(), 1);
}

#[test]
#[ignore = "needs ONNX Runtime, which tests/run installs"]
fn large_weights_are_shared_and_small_ones_are_not() {
    library::open(&library()).unwrap();
    let names = |name: &str| -> Vec<String> {
        let (proto, _) = inspect::read(&fixture(name)).unwrap();
        let shared = weights::shared(proto.graph.as_ref().unwrap());
        shared.into_iter().map(|(name, _)| name).collect()
    };
    assert_eq!(names("second_engine/shared_weight"), ["w"]);
    assert!(names("dense").is_empty());
}

#[test]
fn a_model_without_zip_map_is_left_as_it_is() {
    let onnx = fixture("dense");
    let (proto, _) = inspect::read(&onnx).unwrap();
    let rewrite = Rewrite::of(proto.graph.as_ref().unwrap(), false);
    assert_eq!(rewrite.apply(&onnx).unwrap(), None);
}

#[test]
fn zip_map_becomes_identity_and_its_output_a_tensor() {
    let onnx = fixture("rf_clf_text_zipmap");
    let (proto, _) = inspect::read(&onnx).unwrap();
    let rewrite = Rewrite::of(proto.graph.as_ref().unwrap(), false);
    let changed = rewrite.apply(&onnx).unwrap().unwrap();
    let (after, _) = inspect::read(&changed).unwrap();
    let (before, after) = (proto.graph.unwrap(), after.graph.unwrap());
    assert_eq!(before.node.len(), after.node.len());
    for (before, after) in before.node.iter().zip(&after.node) {
        if rewrite::is_zip_map(before) {
            assert_eq!((&*after.op_type, &*after.domain), ("Identity", ""));
            assert_eq!((&before.input, &before.output), (&after.input, &after.output));
            assert!(after.attribute.is_empty());
        } else {
            assert_eq!(before, after);
        }
    }
    let types = after.output.iter().map(|o| o.r#type.as_ref().unwrap().value.is_some());
    assert_eq!(types.collect::<Vec<_>>(), [true, true], "both are tensors now");
    for length in 0..onnx.len() {
        // A cut file is refused or gives another; it never panics.
        let _ = rewrite.apply(&onnx[..length]);
    }
}

#[test]
fn a_traced_row_is_freed_in_inputs_and_forgotten_in_outputs() {
    let onnx = fixture("dense_batch_one");
    let (proto, _) = inspect::read(&onnx).unwrap();
    let rewrite = Rewrite::of(proto.graph.as_ref().unwrap(), true);
    let changed = rewrite.apply(&onnx).unwrap().unwrap();
    let (after, _) = inspect::read(&changed).unwrap();
    let graph = after.graph.unwrap();
    let inputs = declared::inputs(&graph).unwrap();
    let rows = declared::Axis::Named("weighbridge.rows".to_owned());
    assert_eq!(inputs[0].axes, [rows, declared::Axis::Fixed(4)]);
    assert_eq!(graph.node, proto.graph.unwrap().node);
}
