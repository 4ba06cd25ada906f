//! Operators on integers with scales, ONNX Runtime's QOperator format, taken apart into
//! dequantising, the operator on floats, and quantising.
//!
//! The steps that follow each other are joined afterwards, so that nothing is left of them but
//! the float graph with its roundings.

use tract_onnx::pb::{AttributeProto, GraphProto, NodeProto};

use super::names::Fresh;
use crate::support::domain;

/// How the float operator stands in the integer one's inputs: for each operand the slots of value,
/// scale and zero point, then those of the result's scale and zero point.
struct Form {
    float: &'static str,
    operands: &'static [[usize; 3]],
    result: [usize; 2],
    /// The slot of a bias in int32 steps of the product of the operands' scales.
    bias: Option<usize>,
    /// The axis of scales of the second operand, when it has several.
    axis: i64,
}

/// The form of `node`, or `None` when it is not one of these operators or has a variant that the
/// float operator lacks.
fn form(node: &NodeProto) -> Option<Form> {
    const UNARY: &[[usize; 3]] = &[[0, 1, 2]];
    const BINARY: &[[usize; 3]] = &[[0, 1, 2], [3, 4, 5]];
    let one = |float| Form { float, operands: UNARY, result: [3, 4], bias: None, axis: 1 };
    let two = |float, axis| Form { float, operands: BINARY, result: [6, 7], bias: None, axis };
    let is_set = |name: &str| integer_of(node, name) != 0;
    Some(match (domain(&node.domain), node.op_type.as_str()) {
        ("", "QLinearConv") => Form { bias: Some(8), ..two("Conv", 0) },
        ("" | "com.microsoft", "QLinearMatMul") => two("MatMul", -1),
        ("com.microsoft", "QLinearAdd") => two("Add", 1),
        ("com.microsoft", "QLinearMul") => two("Mul", 1),
        ("com.microsoft", "QLinearSigmoid") => one("Sigmoid"),
        ("com.microsoft", "QLinearLeakyRelu") => one("LeakyRelu"),
        // Before opset 13 it joined all axes from its own on.
        ("com.microsoft", "QLinearSoftmax") if integer_of(node, "opset") >= 13 => one("Softmax"),
        ("com.microsoft", "QLinearGlobalAveragePool") if !is_set("channels_last") => {
            one("GlobalAveragePool")
        }
        ("com.microsoft", "QLinearAveragePool") if !is_set("channels_last") => one("AveragePool"),
        // Its bias is scaled by alpha too, and beta does not exist.
        ("com.microsoft", "QGemm") if alpha(node) == 1.0 => Form {
            bias: Some(6),
            result: [7, 8],
            ..two("Gemm", if is_set("transB") { 0 } else { 1 })
        },
        _ => return None,
    })
}

fn integer_of(node: &NodeProto, attribute: &str) -> i64 {
    node.attribute.iter().find(|a| a.name == attribute).map_or(0, |a| a.i)
}

fn alpha(node: &NodeProto) -> f32 {
    node.attribute.iter().find(|a| a.name == "alpha").map_or(1.0, |a| a.f)
}

/// Takes the operators in `graph` and in the graphs inside it apart.
pub(super) fn take_apart(graph: &mut GraphProto, fresh: &mut Fresh) {
    let nodes = std::mem::take(&mut graph.node);
    for mut node in nodes {
        for attribute in &mut node.attribute {
            for inner in attribute.g.iter_mut().chain(&mut attribute.graphs) {
                take_apart(inner, fresh);
            }
        }
        match form(&node).and_then(|form| apart(&node, &form, fresh)) {
            Some(nodes) => graph.node.extend(nodes),
            None => graph.node.push(node),
        }
    }
}

/// The nodes that stand for `node`; `None` when an input that it needs is left out.
fn apart(node: &NodeProto, form: &Form, fresh: &mut Fresh) -> Option<Vec<NodeProto>> {
    let prefix = fresh.prefix();
    let given = |slot: usize| node.input.get(slot).filter(|name| !name.is_empty()).cloned();
    let mut nodes = Vec::new();
    let mut inputs = Vec::new();
    for (index, [value, scale, zero]) in form.operands.iter().enumerate() {
        let output = format!("{prefix}.operand{index}");
        let mut names = vec![given(*value)?, given(*scale)?];
        names.extend(given(*zero));
        let axis = if index == 1 { form.axis } else { 1 };
        nodes.push(made("DequantizeLinear", names, &output, vec![integer("axis", axis)]));
        inputs.push(output);
    }
    if let Some(bias) = form.bias.and_then(given) {
        let scale = format!("{prefix}.bias.scale");
        let scales = form.operands.iter().map(|[_, scale, _]| given(*scale));
        nodes.push(made("Mul", scales.collect::<Option<_>>()?, &scale, vec![]));
        let output = format!("{prefix}.bias");
        let attributes = vec![integer("axis", 0)];
        nodes.push(made("DequantizeLinear", vec![bias, scale], &output, attributes));
        inputs.push(output);
    }
    let result = format!("{prefix}.result");
    // Attributes that only the integer operator has.
    let is_own = |a: &&AttributeProto| matches!(&*a.name, "channels_last" | "opset");
    let kept = node.attribute.iter().filter(|a| !is_own(a)).cloned().collect();
    let mut float = made(form.float, inputs, &result, kept);
    float.name.clone_from(&node.name);
    nodes.push(float);
    let names = [Some(result), given(form.result[0])].into_iter().collect::<Option<Vec<_>>>()?;
    let names = names.into_iter().chain(given(form.result[1])).collect();
    nodes.push(made("QuantizeLinear", names, node.output.first()?, vec![]));
    Some(nodes)
}

fn made(op: &str, input: Vec<String>, output: &str, attribute: Vec<AttributeProto>) -> NodeProto {
    let output = vec![output.to_owned()];
    NodeProto { op_type: op.to_owned(), input, output, attribute, ..Default::default() }
}

fn integer(name: &str, i: i64) -> AttributeProto {
    use tract_onnx::pb::attribute_proto::AttributeType;
    let r#type = AttributeType::Int as i32;
    AttributeProto { name: name.to_owned(), r#type, i, ..Default::default() }
}
