//! Models quantised to int8 in the QDQ format run as the float models that they stand for.
//!
//! QuantizeLinear directly followed by DequantizeLinear of the same scale and zero point only
//! rounds a float to a step and keeps it in a range. One operator of ours does that, and what
//! remains is the graph of the float model, which the runtime optimises rightly. Weights behind
//! DequantizeLinear are constants and are folded by the optimiser.

use std::collections::HashMap;

use tract_onnx::pb::{AttributeProto, GraphProto, NodeProto, TensorProto};

use super::DOMAIN;
use crate::support::domain;

/// The operator that stands for the pair: inputs as those of QuantizeLinear.
pub(crate) const JOINED: &str = "FakeQuantize";

/// Joins pairs in `graph` and in the graphs inside it.
pub(super) fn join(graph: &mut GraphProto) {
    for node in &mut graph.node {
        for attribute in &mut node.attribute {
            attribute.g.iter_mut().chain(&mut attribute.graphs).for_each(join);
        }
    }
    let weights: HashMap<&str, &TensorProto> =
        graph.initializer.iter().map(|t| (&*t.name, t)).collect();
    let quantisers: HashMap<&str, usize> = graph
        .node
        .iter()
        .enumerate()
        .filter(|(_, node)| is(node, "QuantizeLinear"))
        .filter_map(|(index, node)| Some((&**node.output.first()?, index)))
        .collect();
    let joined: Vec<(usize, NodeProto)> = graph
        .node
        .iter()
        .enumerate()
        .filter(|(_, node)| is(node, "DequantizeLinear"))
        .filter_map(|(index, node)| {
            let quantiser = &graph.node[*quantisers.get(&**node.input.first()?)?];
            Some((index, pair(quantiser, node, &weights)?))
        })
        .collect();
    for (index, node) in joined {
        graph.node[index] = node;
    }
    drop_unused(graph);
}

fn is(node: &NodeProto, operator: &str) -> bool {
    node.op_type == operator && matches!(domain(&node.domain), "" | "com.microsoft")
}

/// The one node for both, when they use the same steps.
fn pair(
    quantiser: &NodeProto,
    dequantiser: &NodeProto,
    weights: &HashMap<&str, &TensorProto>,
) -> Option<NodeProto> {
    // Without a zero point the type comes from an attribute; blocks are refused elsewhere.
    let plain = |node: &NodeProto| {
        node.input.len() == 3
            && !node.input[2].is_empty()
            && node.attribute.iter().all(|a| a.name == "axis" || a.i == 0)
    };
    let same = |slot: usize| {
        let (a, b) = (&quantiser.input[slot], &dequantiser.input[slot]);
        let equal = |a: &TensorProto, b: &TensorProto| {
            (a.data_type, &a.dims, &a.raw_data, &a.float_data, &a.int32_data, &a.data_location)
                == (
                    b.data_type,
                    &b.dims,
                    &b.raw_data,
                    &b.float_data,
                    &b.int32_data,
                    &b.data_location,
                )
                && a.external_data == b.external_data
        };
        a == b || weights.get(&**a).zip(weights.get(&**b)).is_some_and(|(a, b)| equal(a, b))
    };
    let axis = |node: &NodeProto| -> i64 {
        let axis: Option<&AttributeProto> = node.attribute.iter().find(|a| a.name == "axis");
        axis.map_or(1, |a| a.i)
    };
    let fits = plain(quantiser)
        && plain(dequantiser)
        && same(1)
        && same(2)
        && axis(quantiser) == axis(dequantiser);
    fits.then(|| NodeProto {
        op_type: JOINED.to_owned(),
        domain: DOMAIN.to_owned(),
        name: dequantiser.name.clone(),
        input: quantiser.input.clone(),
        output: dequantiser.output.clone(),
        attribute: quantiser.attribute.iter().filter(|a| a.name == "axis").cloned().collect(),
        ..Default::default()
    })
}

/// Drops quantisers whose output nothing takes any more.
fn drop_unused(graph: &mut GraphProto) {
    let mut used: std::collections::HashSet<String> =
        graph.output.iter().map(|o| o.name.clone()).collect();
    crate::inspect::each_graph(graph, &mut |inner| {
        used.extend(inner.node.iter().flat_map(|n| &n.input).cloned());
        used.extend(inner.output.iter().map(|o| o.name.clone()));
    });
    graph
        .node
        .retain(|node| !is(node, "QuantizeLinear") || node.output.iter().any(|o| used.contains(o)));
}

#[cfg(test)]
mod tests {
    use super::*;
    use tract_onnx::pb::ValueInfoProto;

    fn node(op: &str, inputs: &[&str], output: &str) -> NodeProto {
        NodeProto {
            op_type: op.to_owned(),
            input: inputs.iter().map(|i| (*i).to_owned()).collect(),
            output: vec![output.to_owned()],
            ..Default::default()
        }
    }

    fn weight(name: &str, value: f32) -> TensorProto {
        TensorProto { name: name.to_owned(), float_data: vec![value], ..Default::default() }
    }

    fn operators(nodes: Vec<NodeProto>, output: &str) -> Vec<String> {
        let mut graph = GraphProto {
            node: nodes,
            initializer: vec![weight("s", 0.5), weight("t", 0.5), weight("u", 0.25)],
            output: vec![ValueInfoProto { name: output.to_owned(), ..Default::default() }],
            ..Default::default()
        };
        join(&mut graph);
        graph.node.into_iter().map(|n| n.op_type).collect()
    }

    #[test]
    fn a_pair_of_the_same_steps_becomes_one_node() {
        let quantise = || node("QuantizeLinear", &["x", "s", "z"], "q");
        let back = |scale: &str| node("DequantizeLinear", &["q", scale, "z"], "y");
        assert_eq!(operators(vec![quantise(), back("s")], "y"), [JOINED]);
        assert_eq!(operators(vec![quantise(), back("t")], "y"), [JOINED], "equal values");
        let both = ["QuantizeLinear", "DequantizeLinear"];
        assert_eq!(operators(vec![quantise(), back("u")], "y"), both, "other steps");
        let kept = ["QuantizeLinear", JOINED];
        assert_eq!(operators(vec![quantise(), back("s")], "q"), kept, "the integers are asked for");
        let mut other_axis = back("s");
        other_axis.attribute =
            vec![AttributeProto { name: "axis".into(), i: 0, ..Default::default() }];
        assert_eq!(operators(vec![quantise(), other_axis], "y"), both);
    }
}
