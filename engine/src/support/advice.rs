//! What the owner of a model can do when an operator is missing.

pub(super) const LOCAL_FUNCTION: &str = "it is a function defined inside the model that cannot \
    be put in place of its calls: it is defined several times, or for another version of an \
    operator set than the model; inline it with onnx.inliner.inline_local_functions before pushing";

pub(super) fn for_missing(domain: &str, op: &str) -> &'static str {
    match (domain, op) {
        ("", "Loop") => "export without a loop of data-dependent length, or unroll it",
        ("", _) if op.contains("Sequence") || op.contains("Optional") => {
            "sequences and optionals are not supported: export with plain tensors \
             (for classifiers of scikit-learn the option zipmap is fine)"
        }
        ("ai.onnx.ml", "CastMap" | "DictVectorizer") => {
            "its input is a map, which requests cannot carry: let the model take a table, with \
             one column per key (OneHotEncoder or OrdinalEncoder in place of DictVectorizer)"
        }
        ("ai.onnx.ml", _) => {
            "leave this step out of the exported pipeline and do it before the model"
        }
        ("com.microsoft", _) if op.starts_with('Q') => {
            "quantise in the QDQ format (QuantFormat.QDQ) instead of QOperator"
        }
        ("com.microsoft", _) => {
            "push the model as exported, before ONNX Runtime's optimiser rewrote it"
        }
        ("", _) => "export with another opset, or without this operator",
        _ => "this domain's operators are not known here: replace them by standard ones",
    }
}
