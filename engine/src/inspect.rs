//! Is this file a whole ONNX model, and could this engine run it? Cheap enough for an upload.
//!
//! A protobuf message cut at a field boundary is still a valid message, so decoding alone
//! proves little: the parts that every model must have are asked for one by one.

mod sniff;

use std::collections::HashSet;

use prost::Message as _;
use tract_onnx::pb::{GraphProto, ModelProto, NodeProto};
use tract_onnx::prelude::Framework;

use crate::error::{Error, ErrorKind};
use crate::external::{self, ExternalFiles};
use crate::guard::guarded;
use crate::rewrite;
use crate::support::{self, MissingOperator};

/// Protobuf cannot hold more, and neither can any exporter write it.
const MAX_BYTES: usize = i32::MAX as usize;

/// What a look at the file shows, before anything is built.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Inspection {
    pub ir_version: i64,
    /// Domain ("" is the default one) and version, in the file's order.
    pub opset_imports: Vec<(String, i64)>,
    /// Name and version of the exporter, "" when the file does not say.
    pub producer: String,
    /// Nodes of the main graph and of all graphs inside it.
    pub node_count: usize,
    /// Operators that this engine lacks or computes wrongly; empty when it has all.
    pub missing: Vec<MissingOperator>,
    /// True when weights lie in files of their own beside the model.
    pub external_data: bool,
    /// Those files, as paths relative to the model: each once, sorted. A name that leads
    /// elsewhere is the empty string; such a model is refused when it is loaded.
    pub external_files: Vec<String>,
}

/// Looks at `onnx` without building the model.
///
/// # Errors
/// [`ErrorKind::NotOnnx`] for anything that is not a whole model, with what it looks like;
/// [`ErrorKind::TooLarge`] above 2 GiB. Missing operators are not an error here.
pub fn inspect(onnx: &[u8]) -> Result<Inspection, Error> {
    Ok(read(onnx)?.1)
}

/// Decodes and checks the file; the decoded model is what [`crate::LoadedModel`] builds from.
pub(crate) fn read(onnx: &[u8]) -> Result<(ModelProto, Inspection), Error> {
    if onnx.len() > MAX_BYTES {
        let message = format!(
            "reading the model: {} bytes are more than the 2 GiB an ONNX file can hold",
            onnx.len()
        );
        return Err(Error::new(ErrorKind::TooLarge, message));
    }
    guarded("reading the model", || {
        let mut proto = decode(onnx)?;
        check_structure(&proto)?;
        rewrite::rewrite(&mut proto, onnx)?;
        let inspection = describe(&proto);
        Ok((proto, inspection))
    })
}

/// The model as one file, with the weights of `files` inside and otherwise as it was written.
pub(crate) fn with_weights(onnx: &[u8], files: &ExternalFiles<'_>) -> Result<Vec<u8>, Error> {
    let mut proto = decode(onnx)?;
    external::resolve(&mut proto, files)?;
    Ok(proto.encode_to_vec())
}

fn decode(onnx: &[u8]) -> Result<ModelProto, Error> {
    let mut bytes = onnx;
    let proto = tract_onnx::Onnx::default()
        .proto_model_for_read(&mut bytes)
        .map_err(|cause| not_onnx(onnx, &format!("it does not decode ({cause})")))?;
    if proto.graph.is_none() {
        return Err(not_onnx(onnx, "it holds no graph"));
    }
    Ok(proto)
}

fn not_onnx(onnx: &[u8], found: &str) -> Error {
    let message = match sniff::looks_like(onnx) {
        Some(what) => format!("reading the model: this is not an ONNX file but {what}"),
        None => format!("reading the model: this is not a whole ONNX file: {found}"),
    };
    Error::new(ErrorKind::NotOnnx, message)
}

fn check_structure(proto: &ModelProto) -> Result<(), Error> {
    let lacks = |what: &str| {
        let message = format!("reading the model: the file is incomplete or damaged: {what}");
        Err(Error::new(ErrorKind::NotOnnx, message))
    };
    let Some(graph) = &proto.graph else { return lacks("it holds no graph") };
    if graph.node.is_empty() {
        return lacks("its graph has no nodes");
    }
    if graph.output.is_empty() {
        return lacks("its graph has no outputs");
    }
    if proto.opset_import.is_empty() {
        return lacks("it does not say which operator set it uses");
    }
    if let Some(output) = unproduced_output(graph) {
        return lacks(&format!("nothing produces its output \"{output}\""));
    }
    let imported: HashSet<&str> =
        proto.opset_import.iter().map(|i| support::domain(&i.domain)).collect();
    let stray = graph.node.iter().find(|n| !imported.contains(support::domain(&n.domain)));
    match stray {
        Some(node) => lacks(&format!(
            "node {} uses the domain \"{}\", which it does not import",
            support::node_name(node),
            node.domain
        )),
        None => Ok(()),
    }
}

fn unproduced_output(graph: &GraphProto) -> Option<&str> {
    let mut known: HashSet<&str> =
        graph.node.iter().flat_map(|n| &n.output).map(|o| &**o).collect();
    known.extend(graph.input.iter().map(|i| &*i.name));
    known.extend(graph.initializer.iter().map(|i| &*i.name));
    graph.output.iter().map(|o| &*o.name).find(|name| !known.contains(name))
}

fn describe(proto: &ModelProto) -> Inspection {
    let mut node_count = 0;
    if let Some(graph) = &proto.graph {
        each_graph(graph, &mut |graph| {
            node_count += graph.node.len();
        });
    }
    let external_files = external::locations(proto);
    Inspection {
        ir_version: proto.ir_version,
        opset_imports: proto.opset_import.iter().map(|i| (i.domain.clone(), i.version)).collect(),
        producer: format!("{} {}", proto.producer_name, proto.producer_version).trim().to_owned(),
        node_count,
        missing: support::missing(proto),
        external_data: !external_files.is_empty(),
        external_files,
    }
}

/// Visits `graph` and the graphs inside its nodes (branches of If, bodies of Scan and Loop).
pub(crate) fn each_graph<'a>(graph: &'a GraphProto, visit: &mut dyn FnMut(&'a GraphProto)) {
    visit(graph);
    for attribute in graph.node.iter().flat_map(|n| &n.attribute) {
        if let Some(inner) = &attribute.g {
            each_graph(inner, visit);
        }
        for inner in &attribute.graphs {
            each_graph(inner, visit);
        }
    }
}

/// Visits every node, those of inner graphs too.
pub(crate) fn each_node<'a>(proto: &'a ModelProto, visit: &mut dyn FnMut(&'a NodeProto)) {
    if let Some(graph) = &proto.graph {
        each_graph(graph, &mut |graph| graph.node.iter().for_each(&mut *visit));
    }
}
