//! Before a graph is built: Tokenizer, Flatten and TfIdfVectorizer become one operator.
//!
//! That is for speed, for rows that do not depend on each other, and because the runtime cannot
//! flatten a tensor of which two sizes are unknown.

use std::collections::{HashMap, HashSet};

use tract_onnx::pb::{GraphProto, ModelProto, NodeProto};

use super::counts;
use crate::support;

/// A copy of `proto` with the operators made one; `None` when there is nothing to do.
pub(in super::super) fn fuse(proto: &ModelProto) -> Option<ModelProto> {
    let fused = fused_nodes(proto.graph.as_ref()?);
    if fused.is_empty() {
        return None;
    }
    let mut proto = proto.clone();
    let graph = proto.graph.as_mut()?;
    for (place, node) in fused {
        graph.node[place] = node;
    }
    // What fed the former TfIdfVectorizer is left without a use, and is not built.
    let needed = needed(graph);
    graph.node =
        graph.node.drain(..).zip(needed).filter(|(_, n)| *n).map(|(node, _)| node).collect();
    Some(proto)
}

/// The nodes to put in place of a TfIdfVectorizer, by its place.
fn fused_nodes(graph: &GraphProto) -> Vec<(usize, NodeProto)> {
    let producers = producers(graph);
    let followed = |name: &str| producers.get(name).map(|place| &graph.node[*place]);
    let fused = |node: &NodeProto| {
        if !is(node, "", "TfIdfVectorizer")
            || !node.attribute.iter().any(|a| a.name == "pool_strings")
        {
            return None;
        }
        let before = followed(node.input.first()?)?;
        let tokenizer = if is(before, "", "Flatten") && axis(before) == 1 {
            followed(before.input.first()?)?
        } else {
            return None;
        };
        let marks = tokenizer.attribute.iter().any(|a| a.name == "mark" && a.i != 0);
        if !is(tokenizer, "com.microsoft", "Tokenizer") || marks {
            return None;
        }
        let mut fused = node.clone();
        fused.op_type = counts::NAME.to_owned();
        fused.domain = super::OWN_DOMAIN.to_owned();
        fused.input.clone_from(&tokenizer.input);
        fused.attribute.extend(tokenizer.attribute.iter().cloned());
        Some(fused)
    };
    let places = graph.node.iter().enumerate();
    places.filter_map(|(place, node)| Some((place, fused(node)?))).collect()
}

fn is(node: &NodeProto, domain: &str, op: &str) -> bool {
    node.op_type == op && support::domain(&node.domain) == domain
}

fn axis(flatten: &NodeProto) -> i64 {
    flatten.attribute.iter().find(|a| a.name == "axis").map_or(1, |a| a.i)
}

fn producers(graph: &GraphProto) -> HashMap<&str, usize> {
    graph
        .node
        .iter()
        .enumerate()
        .flat_map(|(place, node)| node.output.iter().map(move |name| (&**name, place)))
        .collect()
}

/// Which nodes the outputs need. A graph inside a node may use any name, so all of its names
/// count as used by the node.
fn needed(graph: &GraphProto) -> Vec<bool> {
    let producers = producers(graph);
    let mut needed = vec![false; graph.node.len()];
    let mut open: Vec<&str> = graph.output.iter().map(|output| &*output.name).collect();
    while let Some(name) = open.pop() {
        let Some(place) = producers.get(name).copied().filter(|place| !needed[*place]) else {
            continue;
        };
        needed[place] = true;
        let mut used = HashSet::new();
        names_used(&graph.node[place], &mut used);
        open.extend(used);
    }
    needed
}

fn names_used<'a>(node: &'a NodeProto, used: &mut HashSet<&'a str>) {
    used.extend(node.input.iter().map(|name| &**name));
    let inner = node.attribute.iter().flat_map(|a| a.g.iter().chain(&a.graphs));
    for graph in inner {
        used.extend(graph.output.iter().map(|output| &*output.name));
        graph.node.iter().for_each(|node| names_used(node, used));
    }
}
