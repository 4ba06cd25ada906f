use super::*;
use tract_onnx::pb::{OperatorSetIdProto, ValueInfoProto};

fn node(op: &str, place: &str, inputs: &[&str], outputs: &[&str]) -> NodeProto {
    let owned = |names: &[&str]| names.iter().map(|n| (*n).to_owned()).collect();
    NodeProto {
        op_type: op.to_owned(),
        domain: place.to_owned(),
        input: owned(inputs),
        output: owned(outputs),
        ..Default::default()
    }
}

fn function(name: &str, inputs: &[&str], outputs: &[&str], body: Vec<NodeProto>) -> FunctionProto {
    let call = node(name, "local", inputs, outputs);
    FunctionProto {
        name: Some(call.op_type),
        domain: Some(call.domain),
        input: call.input,
        output: call.output,
        node: body,
        opset_import: vec![import("", 17)],
        ..Default::default()
    }
}

fn import(domain: &str, version: i64) -> OperatorSetIdProto {
    OperatorSetIdProto { domain: domain.to_owned(), version }
}

fn model(nodes: Vec<NodeProto>, functions: Vec<FunctionProto>) -> ModelProto {
    let input = ValueInfoProto { name: "x".into(), ..Default::default() };
    let graph = GraphProto { node: nodes, input: vec![input], ..Default::default() };
    ModelProto {
        graph: Some(graph),
        functions,
        opset_import: vec![import("", 17), import("local", 1)],
        ..Default::default()
    }
}

fn inlined(mut proto: ModelProto) -> Result<ModelProto, Error> {
    let bytes = proto.encode_to_vec();
    inline(&mut proto, &bytes)?;
    Ok(proto)
}

fn operators(proto: &ModelProto) -> Vec<&str> {
    proto.graph.as_ref().unwrap().node.iter().map(|n| &*n.op_type).collect()
}

#[test]
fn calls_of_calls_become_plain_nodes_with_names_of_their_own() {
    let twice = function("Twice", &["a"], &["b"], vec![node("Add", "", &["a", "a"], &["b"])]);
    let body = vec![node("Twice", "local", &["a"], &["t"]), node("Twice", "local", &["t"], &["b"])];
    let four = function("Four", &["a"], &["b"], body);
    let calls = vec![node("Four", "local", &["x"], &["t"]), node("Four", "local", &["t"], &["y"])];
    let proto = inlined(model(calls, vec![four, twice])).unwrap();
    assert_eq!(operators(&proto), ["Add"; 4]);
    assert!(proto.functions.is_empty());
    let nodes = &proto.graph.as_ref().unwrap().node;
    // A chain from x to y: each node takes what the one before it made, and no name stands twice.
    assert_eq!((&*nodes[0].input[0], &*nodes[3].output[0]), ("x", "y"));
    assert!(nodes.windows(2).all(|pair| pair[1].input[0] == pair[0].output[0]));
    let mut names: Vec<&str> = nodes.iter().map(|n| &*n.output[0]).collect();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), 4);
}

#[test]
fn attributes_come_from_the_call_or_the_default() {
    let reference = |name: &str| AttributeProto {
        name: name.to_owned(),
        ref_attr_name: format!("of_{name}"),
        ..Default::default()
    };
    let value =
        |name: &str, i: i64| AttributeProto { name: name.to_owned(), i, ..Default::default() };
    let mut body = node("Op", "", &["a"], &["b"]);
    body.attribute = ["given", "default", "absent"].map(reference).to_vec();
    let mut call = node("F", "local", &["x"], &["y"]);
    call.attribute = vec![value("of_given", 3)];
    let mut proto = model(vec![call], vec![function("F", &["a"], &["b"], vec![body])]);
    // The defaults are in a field that the runtime's schema has not: they are put behind the
    // message, where a decoder joins them to it.
    let newer = NewerFunction { defaults: vec![value("of_default", 5), value("of_given", 9)] };
    let mut function = proto.functions[0].encode_to_vec();
    function.extend(newer.encode_to_vec());
    let mut bytes = vec![];
    prost::encoding::bytes::encode(25, &function, &mut bytes);
    inline(&mut proto, &bytes).unwrap();
    let attributes = &proto.graph.as_ref().unwrap().node[0].attribute;
    let found: Vec<_> = attributes.iter().map(|a| (&*a.name, a.i, &*a.ref_attr_name)).collect();
    assert_eq!(found, [("given", 3, ""), ("default", 5, "")]);
}

#[test]
fn an_output_that_is_an_input_is_passed_on() {
    let same = function("Same", &["a", "gone"], &["a", "a"], vec![]);
    let call = node("Same", "local", &["x"], &["y", "z"]);
    let proto = inlined(model(vec![call], vec![same])).unwrap();
    let nodes = &proto.graph.as_ref().unwrap().node;
    assert_eq!(operators(&proto), ["Identity"; 2]);
    assert_eq!((&nodes[0].input[0], &nodes[0].output[0]), (&"x".to_owned(), &"y".to_owned()));
    assert_eq!(nodes[1].output[0], "z");
}

#[test]
fn graphs_inside_a_body_are_renamed_with_it() {
    let mut branch = node("If", "", &["a"], &["b"]);
    let inner = GraphProto {
        node: vec![node("Add", "", &["a", "own"], &["sum"])],
        output: vec![ValueInfoProto { name: "sum".into(), ..Default::default() }],
        ..Default::default()
    };
    branch.attribute =
        vec![AttributeProto { name: "then_branch".into(), g: Some(inner), ..Default::default() }];
    let call = node("F", "local", &["x"], &["y"]);
    let proto =
        inlined(model(vec![call], vec![function("F", &["a"], &["b"], vec![branch])])).unwrap();
    let inner = proto.graph.as_ref().unwrap().node[0].attribute[0].g.as_ref().unwrap();
    assert_eq!(inner.node[0].input[0], "x");
    assert_eq!(inner.node[0].output[0], inner.output[0].name);
    assert_ne!(inner.output[0].name, "sum");
}

#[test]
fn circles_and_growth_are_refused() {
    let round = function("F", &["a"], &["b"], vec![node("F", "local", &["a"], &["b"])]);
    let call = || vec![node("F", "local", &["x"], &["y"])];
    let error = inlined(model(call(), vec![round])).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported);
    // Each function calls the next one eight times: 8^9 nodes.
    let mut functions = vec![];
    for level in 0..9 {
        let (name, next) = (format!("F{level}"), format!("F{}", level + 1));
        let mut body: Vec<_> =
            (0..8).map(|i| node(&next, "local", &["a"], &[&format!("t{i}")])).collect();
        body.push(node("Identity", "", &["t0"], &["b"]));
        functions.push(function(&name, &["a"], &["b"], body));
    }
    functions.push(function("F9", &["a"], &["b"], vec![node("Neg", "", &["a"], &["b"])]));
    let call = vec![node("F0", "local", &["x"], &["y"])];
    let error = inlined(model(call, functions)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::TooLarge);
}

#[test]
fn what_cannot_be_inlined_is_left_for_the_list_of_missing_operators() {
    let body = || vec![node("Neg", "", &["a"], &["b"])];
    let call = || vec![node("F", "local", &["x"], &["y"])];
    let twice = vec![function("F", &["a"], &["b"], body()), function("F", &["a"], &["b"], body())];
    let proto = inlined(model(call(), twice)).unwrap();
    assert_eq!((operators(&proto), proto.functions.len()), (vec!["F"], 2));
    let mut other = function("F", &["a"], &["b"], body());
    other.opset_import = vec![import("", 12)];
    let proto = inlined(model(call(), vec![other])).unwrap();
    assert_eq!((operators(&proto), proto.functions.len()), (vec!["F"], 1));
}
