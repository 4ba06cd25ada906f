//! Functions that a model defines for itself are put in place of their calls.
//!
//! PyTorch and ONNX Script write them. A call is a node of the function's domain and name; the
//! semantics are those of FunctionProto in the ONNX standard.

use std::collections::HashMap;

use prost::Message;
use tract_onnx::pb::{AttributeProto, FunctionProto, GraphProto, ModelProto, NodeProto};

use super::names::Fresh;
use crate::error::{Error, ErrorKind};
use crate::support::domain;

/// What all calls together may add, in nodes and in bytes. Functions that call functions twice
/// grow as a power of their depth.
const MOST_NODES: usize = 1_000_000;
const MOST_BYTES: usize = 512 << 20;

/// The part of a model that the runtime's schema is too old for.
#[derive(Clone, PartialEq, Message)]
struct Newer {
    #[prost(message, repeated, tag = "25")]
    functions: Vec<NewerFunction>,
}

#[derive(Clone, PartialEq, Message)]
struct NewerFunction {
    /// Attributes with defaults.
    #[prost(message, repeated, tag = "11")]
    defaults: Vec<AttributeProto>,
}

/// Domain and name.
type Key = (String, String);

#[derive(Debug)]
struct Function {
    inputs: Vec<String>,
    outputs: Vec<String>,
    defaults: Vec<AttributeProto>,
    /// With all calls inside it inlined.
    body: Vec<NodeProto>,
    bytes: usize,
}

/// Inlines all functions of `proto` that can be. Calls of others stay: of a function that is
/// defined several times, or made for another version of an operator set than the model.
pub(super) fn inline(proto: &mut ModelProto, onnx: &[u8]) -> Result<(), Error> {
    if proto.functions.is_empty() {
        return Ok(());
    }
    let defaults = Newer::decode(onnx).map(|newer| newer.functions).unwrap_or_default();
    let versions: HashMap<&str, i64> =
        proto.opset_import.iter().map(|i| (domain(&i.domain), i.version)).collect();
    let mut sources: HashMap<Key, Option<(&FunctionProto, &[AttributeProto])>> = HashMap::new();
    for (index, function) in proto.functions.iter().enumerate() {
        let defaults = defaults.get(index).map_or(&[][..], |newer| &newer.defaults);
        let fits = function
            .opset_import
            .iter()
            .all(|i| versions.get(domain(&i.domain)).is_none_or(|version| *version == i.version));
        sources
            .entry(key_of(function))
            .and_modify(|twice| *twice = None)
            .or_insert(fits.then_some((function, defaults)));
    }
    let mut inliner = Inliner { sources, ready: HashMap::new(), nodes: 0, bytes: 0 };
    let Some(graph) = &proto.graph else { return Ok(()) };
    // Bodies are renamed as a whole, so only names of the main graph can clash.
    let mut fresh = Fresh::of(graph);
    let mut graph = graph.clone();
    inliner.graph(&mut graph, &mut fresh, &mut Vec::new())?;
    let imports: Vec<_> = proto
        .functions
        .iter()
        .flat_map(|f| &f.opset_import)
        .filter(|i| !versions.contains_key(domain(&i.domain)))
        .cloned()
        .collect();
    let done = |function: &FunctionProto| inliner.sources[&key_of(function)].is_some();
    let left: Vec<FunctionProto> = proto.functions.iter().filter(|f| !done(f)).cloned().collect();
    proto.functions = left;
    for import in imports {
        if !proto.opset_import.iter().any(|i| domain(&i.domain) == domain(&import.domain)) {
            proto.opset_import.push(import);
        }
    }
    proto.graph = Some(graph);
    Ok(())
}

fn key_of(function: &FunctionProto) -> Key {
    let place = domain(function.domain.as_deref().unwrap_or_default()).to_owned();
    (place, function.name.clone().unwrap_or_default())
}

struct Inliner<'a> {
    /// `None` for those that cannot be inlined.
    sources: HashMap<Key, Option<(&'a FunctionProto, &'a [AttributeProto])>>,
    ready: HashMap<Key, Function>,
    nodes: usize,
    bytes: usize,
}

impl Inliner<'_> {
    /// Inlines the calls in `graph` and in the graphs inside it. `open` are the functions whose
    /// bodies are being worked on.
    fn graph(
        &mut self,
        graph: &mut GraphProto,
        fresh: &mut Fresh,
        open: &mut Vec<Key>,
    ) -> Result<(), Error> {
        let nodes = std::mem::take(&mut graph.node);
        graph.node = self.nodes(nodes, fresh, open)?;
        Ok(())
    }

    fn nodes(
        &mut self,
        nodes: Vec<NodeProto>,
        fresh: &mut Fresh,
        open: &mut Vec<Key>,
    ) -> Result<Vec<NodeProto>, Error> {
        let mut inlined = Vec::with_capacity(nodes.len());
        for mut node in nodes {
            for attribute in &mut node.attribute {
                for graph in attribute.g.iter_mut().chain(&mut attribute.graphs) {
                    self.graph(graph, fresh, open)?;
                }
            }
            let key = (domain(&node.domain).to_owned(), node.op_type.clone());
            let Some(Some((source, defaults))) = self.sources.get(&key).copied() else {
                inlined.push(node);
                continue;
            };
            self.prepare(&key, source, defaults, open)?;
            let function = &self.ready[&key];
            self.nodes += function.body.len();
            self.bytes += function.bytes;
            if self.nodes > MOST_NODES || self.bytes > MOST_BYTES {
                let message = format!(
                    "reading the model: with its functions inlined it has more than {MOST_NODES} \
                     nodes or {MOST_BYTES} bytes"
                );
                return Err(Error::new(ErrorKind::TooLarge, message));
            }
            inlined.extend(function.call(&node, &fresh.prefix()));
        }
        Ok(inlined)
    }

    /// Makes the function `key` ready for its calls.
    fn prepare(
        &mut self,
        key: &Key,
        source: &FunctionProto,
        defaults: &[AttributeProto],
        open: &mut Vec<Key>,
    ) -> Result<(), Error> {
        if self.ready.contains_key(key) {
            return Ok(());
        }
        if open.contains(key) {
            let message = format!("reading the model: its function {} calls itself", key.1);
            return Err(Error::new(ErrorKind::Unsupported, message));
        }
        open.push(key.clone());
        let body = GraphProto { node: source.node.clone(), ..Default::default() };
        let mut fresh = Fresh::of(&body);
        let body = self.nodes(body.node, &mut fresh, open)?;
        open.pop();
        let bytes = body.iter().map(Message::encoded_len).sum();
        let function = Function {
            inputs: source.input.clone(),
            outputs: source.output.clone(),
            defaults: defaults.to_vec(),
            body,
            bytes,
        };
        self.ready.insert(key.clone(), function);
        Ok(())
    }
}

impl Function {
    /// The nodes that stand for `call`; all names of their own begin with `prefix`.
    fn call(&self, call: &NodeProto, prefix: &str) -> Vec<NodeProto> {
        let mut names: HashMap<&str, String> = HashMap::new();
        for (index, input) in self.inputs.iter().enumerate() {
            names.insert(input, call.input.get(index).cloned().unwrap_or_default());
        }
        // An output that only passes something on, or stands twice, needs a node of its own.
        let mut passed = Vec::new();
        for (output, wanted) in self.outputs.iter().zip(&call.output) {
            if wanted.is_empty() {
                continue;
            }
            if names.contains_key(output.as_str()) {
                passed.push((output, wanted));
            } else {
                names.insert(output, wanted.clone());
            }
        }
        let scope = Scope { names, prefix, call, defaults: &self.defaults };
        let mut nodes = self.body.clone();
        nodes.iter_mut().for_each(|node| scope.node(node));
        nodes.extend(passed.into_iter().map(|(output, wanted)| NodeProto {
            op_type: "Identity".to_owned(),
            name: format!("{prefix}.{wanted}"),
            input: vec![scope.name(output)],
            output: vec![wanted.clone()],
            ..Default::default()
        }));
        nodes
    }
}

/// What names and attributes inside a body mean at one call.
struct Scope<'a> {
    names: HashMap<&'a str, String>,
    prefix: &'a str,
    call: &'a NodeProto,
    defaults: &'a [AttributeProto],
}

impl Scope<'_> {
    fn name(&self, name: &str) -> String {
        match self.names.get(name) {
            Some(outer) => outer.clone(),
            None if name.is_empty() => String::new(),
            None => format!("{}.{name}", self.prefix),
        }
    }

    fn rename(&self, name: &mut String) {
        *name = self.name(name);
    }

    fn node(&self, node: &mut NodeProto) {
        node.input.iter_mut().chain(&mut node.output).for_each(|name| self.rename(name));
        if !node.name.is_empty() {
            node.name = format!("{}.{}", self.prefix, node.name);
        }
        let attributes = std::mem::take(&mut node.attribute);
        node.attribute = attributes.into_iter().filter_map(|a| self.resolve(a)).collect();
        for attribute in &mut node.attribute {
            for graph in attribute.g.iter_mut().chain(&mut attribute.graphs) {
                self.graph(graph);
            }
        }
    }

    /// A reference becomes the call's attribute, else the default, else it is left out.
    fn resolve(&self, attribute: AttributeProto) -> Option<AttributeProto> {
        if attribute.ref_attr_name.is_empty() {
            return Some(attribute);
        }
        let given = self.call.attribute.iter().chain(self.defaults);
        let found = given.into_iter().find(|a| a.name == attribute.ref_attr_name)?;
        Some(AttributeProto { name: attribute.name, ..found.clone() })
    }

    fn graph(&self, graph: &mut GraphProto) {
        graph.node.iter_mut().for_each(|node| self.node(node));
        graph.initializer.iter_mut().for_each(|tensor| self.rename(&mut tensor.name));
        let infos = graph.input.iter_mut().chain(&mut graph.output).chain(&mut graph.value_info);
        infos.for_each(|info| self.rename(&mut info.name));
    }
}

#[cfg(test)]
mod tests;
