//! Names that a graph does not use yet.

use tract_onnx::pb::GraphProto;

use crate::inspect::each_graph;

/// A source of names that no value and no node of a graph has.
#[derive(Debug)]
pub(super) struct Fresh {
    prefix: String,
    count: usize,
}

impl Fresh {
    /// A source for `graph` and the graphs inside it.
    pub(super) fn of(graph: &GraphProto) -> Self {
        let mut prefix = "weighbridge".to_owned();
        while is_taken(graph, &prefix) {
            prefix.push('_');
        }
        Self { prefix, count: 0 }
    }

    /// A prefix for names, other than all before it.
    pub(super) fn prefix(&mut self) -> String {
        self.count += 1;
        format!("{}.{}", self.prefix, self.count)
    }
}

/// True when a name in `graph` begins like those that would be made of `prefix`.
fn is_taken(graph: &GraphProto, prefix: &str) -> bool {
    let start = format!("{prefix}.");
    let mut taken = false;
    each_graph(graph, &mut |graph| {
        let nodes = graph.node.iter();
        let values = nodes.flat_map(|n| n.input.iter().chain(&n.output).chain([&n.name]));
        let infos = graph.input.iter().chain(&graph.output).map(|i| &i.name);
        let weights = graph.initializer.iter().map(|t| &t.name);
        taken |= values.chain(infos).chain(weights).any(|name| name.starts_with(&start));
    });
    taken
}
