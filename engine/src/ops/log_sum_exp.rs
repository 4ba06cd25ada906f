//! ReduceLogSumExp without overflow.
//!
//! The runtime sums `e^x` as it stands, which is 0 or infinite for the log-probabilities of a
//! naive Bayes classifier. So before the graph is built, `lse(x)` becomes `lse(x - m) + m`, with
//! `m` the largest element along the axes, or 0 where that is infinite.

use tract_onnx::pb::{AttributeProto, GraphProto, ModelProto, NodeProto, attribute_proto};

use crate::inspect::each_node;
use crate::support;

/// A copy of `proto` in which no sum overflows; `None` when there is nothing to do.
pub(super) fn stabilise(proto: &ModelProto) -> Option<ModelProto> {
    let mut found = false;
    each_node(proto, &mut |node| found |= is_log_sum_exp(node));
    if !found {
        return None;
    }
    let mut proto = proto.clone();
    rewrite(proto.graph.as_mut()?);
    Some(proto)
}

fn is_log_sum_exp(node: &NodeProto) -> bool {
    node.op_type == "ReduceLogSumExp" && support::domain(&node.domain).is_empty()
}

fn rewrite(graph: &mut GraphProto) {
    let nodes = std::mem::take(&mut graph.node);
    for mut node in nodes {
        for attribute in &mut node.attribute {
            attribute.g.iter_mut().chain(&mut attribute.graphs).for_each(rewrite);
        }
        if is_log_sum_exp(&node) {
            graph.node.extend(stable(node));
        } else {
            graph.node.push(node);
        }
    }
}

/// The nodes in place of `sum`. Names hold the name of its output, which no other node has.
fn stable(sum: NodeProto) -> Vec<NodeProto> {
    let Some(of) = sum.output.first().cloned() else { return vec![sum] };
    let Some(x) = sum.input.first().cloned() else { return vec![sum] };
    let name = |what: &str| format!("{of}/weighbridge.{what}");
    let node = |op: &str, inputs: &[&str], output: &str| NodeProto {
        op_type: op.to_owned(),
        name: output.to_owned(),
        input: inputs.iter().map(|i| (*i).to_owned()).collect(),
        output: vec![output.to_owned()],
        ..NodeProto::default()
    };
    let [highest, shift, from, shifted] = ["highest", "shift", "from", "shifted"].map(name);
    let [reduced, sign, zero] = ["reduced", "sign", "zero"].map(name);
    let [gap, finite] = ["gap", "finite"].map(name);
    // The largest per sum, which keeps its axes so that it can be subtracted.
    let mut largest = node("ReduceMax", &[], &highest);
    largest.input.clone_from(&sum.input);
    largest.attribute = sum.attribute.iter().filter(|a| a.name != "keepdims").cloned().collect();
    largest.attribute.push(integer("keepdims", 1));
    // Once more in the shape of the result.
    let mut offset = node("ReduceMax", &[], &from);
    offset.input.clone_from(&sum.input);
    offset.attribute.clone_from(&sum.attribute);
    offset.input[0].clone_from(&shift);
    let mut rest = sum.clone();
    rest.input[0].clone_from(&shifted);
    rest.output[0].clone_from(&reduced);
    vec![
        largest,
        // A zero of the right type, which the file does not tell.
        node("Sign", &[&highest], &sign),
        node("Sub", &[&sign, &sign], &zero),
        // An infinite number less itself is no number, which is not 0 or less. The runtime has
        // IsInf for float32 alone.
        node("Sub", &[&highest, &highest], &gap),
        node("LessOrEqual", &[&gap, &zero], &finite),
        node("Where", &[&finite, &highest, &zero], &shift),
        node("Sub", &[&x, &shift], &shifted),
        rest,
        offset,
        node("Add", &[&reduced, &from], &of),
    ]
}

fn integer(name: &str, value: i64) -> AttributeProto {
    AttributeProto {
        name: name.to_owned(),
        i: value,
        r#type: attribute_proto::AttributeType::Int as i32,
        ..AttributeProto::default()
    }
}
