//! Which operators this engine has, per domain, and which of the runtime's are known wrong.
//!
//! The runtime registers operators by name alone and ignores their domain, and an unknown name
//! fails only late and one at a time. So the model is compared with the register first, node by
//! node, and the whole list is given at once.

mod advice;
mod known_wrong;

use std::collections::{BTreeMap, HashSet};
use std::fmt::Write as _;

use tract_onnx::pb::{ModelProto, NodeProto};

use crate::error::{Error, ErrorKind};
use crate::inspect::each_node;
use crate::ops;
use crate::rewrite;

/// An operator of a model that this engine lacks or would compute wrongly.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MissingOperator {
    /// "" is the default ONNX domain.
    pub domain: String,
    pub op: String,
    /// The nodes that use it, by name; an unnamed node by its first output.
    pub nodes: Vec<String>,
    /// What the owner of the model can do about it.
    pub advice: String,
}

/// Operators of com.microsoft that the runtime implements with their meaning there.
const MICROSOFT: &[&str] = &[
    "BiasGelu",
    "DequantizeLinear",
    "FastGelu",
    "GatherBlockQuantized",
    "Gelu",
    "GroupQueryAttention",
    "MatMulNBits",
    "MultiHeadAttention",
    "QuantizeLinear",
    "QuickGelu",
    "RotaryEmbedding",
    "SimplifiedLayerNormalization",
    "SkipLayerNormalization",
    "SkipSimplifiedLayerNormalization",
];

/// Names that the default domain does not have, though the runtime registers them.
const NOT_STANDARD: &[&str] = &[
    "BiasGelu",
    "FastGelu",
    "GatherBlockQuantized",
    "GroupQueryAttention",
    "MatMulNBits",
    "MultiHeadAttention",
    "QuickGelu",
    "SkipLayerNormalization",
    "SkipSimplifiedLayerNormalization",
];

/// The domain with the default one's two spellings made one: "".
pub(crate) fn domain(domain: &str) -> &str {
    if domain == "ai.onnx" { "" } else { domain }
}

/// How messages call a node: its name, else its first output, else its operator.
pub(crate) fn node_name(node: &NodeProto) -> String {
    [Some(&node.name), node.output.first()]
        .into_iter()
        .flatten()
        .find(|name| !name.is_empty())
        .unwrap_or(&node.op_type)
        .clone()
}

/// The operators of `proto` that are missing here or computed wrongly, sorted by domain and name.
pub(crate) fn missing(proto: &ModelProto) -> Vec<MissingOperator> {
    let register = ops::register();
    let functions: HashSet<(&str, &str)> = proto
        .functions
        .iter()
        .map(|f| {
            (domain(f.domain.as_deref().unwrap_or_default()), f.name.as_deref().unwrap_or_default())
        })
        .collect();
    let mut found: BTreeMap<(String, String, String), Vec<String>> = BTreeMap::new();
    each_node(proto, &mut |node| {
        let place = domain(&node.domain);
        let advice = if functions.contains(&(place, &*node.op_type)) {
            Some(advice::LOCAL_FUNCTION.to_owned())
        } else if !has(place, &node.op_type, &register) {
            Some(advice::for_missing(place, &node.op_type).to_owned())
        } else {
            known_wrong::why(node).map(str::to_owned)
        };
        if let Some(advice) = advice {
            let key = (place.to_owned(), node.op_type.clone(), advice);
            found.entry(key).or_default().push(node_name(node));
        }
    });
    found
        .into_iter()
        .map(|((domain, op, advice), nodes)| MissingOperator { domain, op, nodes, advice })
        .collect()
}

fn has(domain: &str, op: &str, register: &HashSet<String>) -> bool {
    let is_ml = ops::ML_OPERATORS.contains(&op);
    match domain {
        // A name with a dot is of our own making, which no file may use.
        "" if is_ml || op == ops::MICROSOFT_TEXT || op.contains('.') => false,
        "" => register.contains(op) && !NOT_STANDARD.contains(&op),
        "ai.onnx.ml" => is_ml && register.contains(op),
        "com.microsoft" => MICROSOFT.contains(&op) || op == ops::MICROSOFT_TEXT,
        rewrite::DOMAIN => op == rewrite::JOINED,
        _ => false,
    }
}

/// One error that lists every operator of `missing`, or `Ok` when there is none.
pub(crate) fn refuse(missing: &[MissingOperator]) -> Result<(), Error> {
    const NODES_SHOWN: usize = 5;
    if missing.is_empty() {
        return Ok(());
    }
    let plural = if missing.len() == 1 { "an operator" } else { "operators" };
    let mut message = format!("loading the model: it uses {plural} that cannot be served here");
    for m in missing {
        let domain = if m.domain.is_empty() { "ai.onnx" } else { &m.domain };
        let nodes = m.nodes.iter().take(NODES_SHOWN).map(String::as_str).collect::<Vec<_>>();
        let more = match m.nodes.len().saturating_sub(NODES_SHOWN) {
            0 => String::new(),
            n => format!(" and {n} more"),
        };
        // Writing to a String cannot fail.
        let _ =
            write!(message, "; {domain} {} (node {}{more}): {}", m.op, nodes.join(", "), m.advice);
    }
    Err(Error::new(ErrorKind::Unsupported, message))
}

/// How often each operator occurs, sorted: (domain, operator, nodes).
pub(crate) fn census(proto: &ModelProto) -> Vec<(String, String, usize)> {
    let mut counts: BTreeMap<(String, String), usize> = BTreeMap::new();
    each_node(proto, &mut |node| {
        *counts.entry((domain(&node.domain).to_owned(), node.op_type.clone())).or_default() += 1;
    });
    counts.into_iter().map(|((domain, op), n)| (domain, op, n)).collect()
}
