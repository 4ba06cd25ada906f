//! gRPC beside REST: the same predictions, and the same refusals with their statuses.

use std::time::Duration;

use serde_json::json;
use tonic::codec::CompressionEncoding;
use tonic::{Code, Status};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;
use tonic_prost::ProstCodec;
use weighbridge_grpc::inference::infer_parameter::ParameterChoice;
use weighbridge_grpc::inference::model_infer_request::InferRequestedOutputTensor;
use weighbridge_grpc::inference::{
    InferParameter, ModelConfigRequest, ModelInferRequest, ModelInferResponse,
    ModelMetadataRequest, ModelReadyRequest, ModelStatisticsRequest, RepositoryIndexRequest,
    RepositoryModelLoadRequest, RepositoryModelUnloadRequest, ServerReadyRequest,
    StatisticDuration,
};
use weighbridge_tests::grpc::{Grpc, any_row, floats, fp32};
use weighbridge_tests::onnx::{doubling, lookup, slow_doubling, sum_and_difference, tag};
use weighbridge_tests::{Gateway, Listener, wait};

async fn gateway() -> Gateway {
    let start = Gateway::start().model("double", &doubling()).model("pair", &sum_and_difference());
    start.model("lookup", &lookup()).ready().await
}

/// Refused with this status, in words that name `facts`.
fn refused<T: std::fmt::Debug>(outcome: Result<T, Status>, code: Code, facts: &[&str]) -> Status {
    let status = outcome.expect_err("a refusal");
    assert_eq!(status.code(), code, "{status:?}");
    for fact in facts {
        assert!(status.message().contains(fact), "{status:?} should name {fact}");
    }
    status
}

async fn key(gateway: &Gateway, body: serde_json::Value) -> Listener {
    let created = gateway.admin.post("/admin/v1/keys", &body).await.expect(200).json();
    gateway.data.with_key(created["secret"].as_str())
}

#[tokio::test]
async fn predictions_are_those_of_rest() {
    let gateway = gateway().await;
    let calls = Grpc::to(&gateway.data);
    let rows = [[1.0, 2.0, 3.0, 4.0], [5.0, 6.0, 7.0, f32::NAN]];
    let mut message = fp32("double", "x", &rows);
    message.id = "7".to_owned();
    let answer =
        calls.with("x-request-id", "seven").infer(message.clone()).await.expect("an answer");
    let metadata = answer.metadata();
    assert_eq!(metadata.get("weighbridge-served-version").unwrap(), "1");
    assert_eq!(metadata.get("weighbridge-variant").unwrap(), "stable");
    assert_eq!(metadata.get("x-request-id").unwrap(), "seven");
    let answer = answer.into_inner();
    assert_eq!((answer.model_name.as_str(), answer.model_version.as_str()), ("double", "1"));
    assert_eq!(answer.id, "7");
    assert_eq!(answer.outputs[0].shape, [2, 4]);
    let values = floats(&answer, 0);
    assert_eq!(values[..7], [2.0, 4.0, 6.0, 8.0, 10.0, 12.0, 14.0]);
    assert!(values[7].is_nan());

    // The same as bytes.
    let contents = message.inputs[0].contents.take().expect("values");
    let raw: Vec<u8> = contents.fp32_contents.iter().flat_map(|v| v.to_le_bytes()).collect();
    message.raw_input_contents = vec![raw.into()];
    let same = calls.infer(message).await.expect("an answer").into_inner();
    assert_eq!(same.raw_output_contents, answer.raw_output_contents);

    // Outputs in the order asked for; one as classes.
    let mut pair = fp32("pair", "a", &[[1.0, 5.0]]);
    pair.inputs.push(fp32("pair", "b", &[[2.0, 1.0]]).inputs.remove(0));
    let asked = |name: &str, classes: Option<i64>| InferRequestedOutputTensor {
        name: name.to_owned(),
        parameters: classes
            .map(|n| InferParameter { parameter_choice: Some(ParameterChoice::Int64Param(n)) })
            .map(|n| ("classification".to_owned(), n))
            .into_iter()
            .collect(),
    };
    pair.outputs = vec![asked("z", None), asked("y", Some(1))];
    let answer = calls.infer(pair).await.expect("an answer").into_inner();
    assert_eq!(floats(&answer, 0), [-1.0, 4.0]);
    assert_eq!(
        (answer.outputs[1].datatype.as_str(), &answer.outputs[1].shape[..]),
        ("BYTES", &[1, 1][..])
    );
    assert_eq!(&answer.raw_output_contents[1][..], b"\x0a\0\0\x006.000000:1");
}

#[tokio::test]
async fn each_refusal_has_its_status() {
    let mut gateway = gateway().await;
    gateway.models_may_panic();
    gateway.push_ready("pushed", &tag(1.0)).await;
    let calls = Grpc::to(&gateway.data);
    let with = |change: fn(&mut ModelInferRequest)| {
        let mut message = fp32("double", "x", &[[1.0; 4]]);
        change(&mut message);
        message
    };
    let lookup = |number: i64| {
        let mut message = fp32("lookup", "x", &[[0.0]]);
        message.inputs[0].datatype = "INT64".to_owned();
        message.inputs[0].contents = Some(weighbridge_grpc::inference::InferTensorContents {
            int64_contents: vec![number],
            ..Default::default()
        });
        message
    };
    let table: Vec<(ModelInferRequest, Code, &[&str])> = vec![
        (
            with(|m| m.model_name = "nobody".into()),
            Code::NotFound,
            &["Request for unknown model: 'nobody' is not found"],
        ),
        (with(|m| m.model_name.clear()), Code::NotFound, &["unknown model"]),
        (with(|m| m.model_name = "pushed".into()), Code::Unavailable, &["promote pushed 1"]),
        (with(|m| m.model_version = "9".into()), Code::NotFound, &["double", "9"]),
        (with(|m| m.model_version = "x".into()), Code::NotFound, &["x"]),
        (with(|m| m.inputs.clear()), Code::InvalidArgument, &["\"x\"", "missing"]),
        (with(|m| m.inputs[0].name = "z".into()), Code::InvalidArgument, &["\"z\"", "\"x\""]),
        (with(|m| m.inputs[0].shape = vec![2, 4]), Code::InvalidArgument, &["\"x\"", "8"]),
        (with(|m| m.inputs[0].shape = vec![-1, 4]), Code::InvalidArgument, &["\"x\"", "-1"]),
        (with(|m| m.inputs[0].shape = vec![4]), Code::InvalidArgument, &["\"x\"", "[1, 4]"]),
        (
            with(|m| m.inputs[0].datatype = "FP64".into()),
            Code::InvalidArgument,
            &["\"x\"", "fp64_contents"],
        ),
        (with(|m| m.inputs.push(m.inputs[0].clone())), Code::InvalidArgument, &["\"x\"", "twice"]),
        (
            with(|m| m.raw_input_contents = vec![b"abc".as_slice().into()]),
            Code::InvalidArgument,
            &["raw_input_contents"],
        ),
        (
            with(|m| {
                m.outputs =
                    vec![InferRequestedOutputTensor { name: "q".into(), ..Default::default() }]
            }),
            Code::InvalidArgument,
            &["\"q\"", "\"y\""],
        ),
        (lookup(7), Code::Internal, &["version 1 of lookup failed"]),
    ];
    for (message, code, facts) in table {
        refused(calls.infer(message).await, code, facts);
    }
    assert_eq!(floats(&calls.infer(lookup(2)).await.expect("an answer").into_inner(), 0), [30.0]);

    // A message that is none, and a method that is none.
    let mut odd = tonic::client::Grpc::new(calls.channel.clone());
    let path = |text| http::uri::PathAndQuery::from_static(text);
    let call = |codec| (codec, calls.request(StatisticDuration { count: 1, ns: 1 }));
    let (codec, request) = call(ProstCodec::<StatisticDuration, ModelInferResponse>::default());
    odd.ready().await.expect("a connection");
    let infer = path("/inference.GRPCInferenceService/ModelInfer");
    refused(odd.unary(request, infer, codec).await, Code::InvalidArgument, &[]);
    let (codec, request) = call(ProstCodec::<StatisticDuration, ModelInferResponse>::default());
    odd.ready().await.expect("a connection");
    let unknown = path("/inference.GRPCInferenceService/ModelExplain");
    refused(odd.unary(request, unknown, codec).await, Code::Unimplemented, &["ModelExplain"]);
    // Nobody can answer, and nothing is lost: the next call on the connection is.
    calls.infer(fp32("double", "x", &[[1.0; 4]])).await.expect("an answer");
}

#[tokio::test]
async fn messages_have_limits() {
    let start = Gateway::start().model("double", &doubling()).setting("limits.body", "4MiB");
    let gateway = start.ready().await;
    let calls = Grpc::to(&gateway.data);
    let big = |rows: usize| fp32("double", "x", &vec![[0.0; 4]; rows]);
    calls.infer(big(10_000)).await.expect("an answer");
    refused(calls.infer(big(300_000)).await, Code::ResourceExhausted, &["limit"]);
    // A few bytes that unpack to far more.
    let mut packing = calls.client().send_compressed(CompressionEncoding::Gzip);
    packing.model_infer(calls.request(big(10_000))).await.expect("an answer");
    let bomb = packing.model_infer(calls.request(big(200_000))).await;
    refused(bomb, Code::ResourceExhausted, &["limits.decompression_ratio"]);
    let stream = calls.request(tokio_stream::iter([big(10_000), big(200_000)]));
    let mut answers = packing.model_stream_infer(stream).await.expect("a stream").into_inner();
    assert!(answers.message().await.expect("the first is answered").is_some());
    refused(answers.message().await, Code::ResourceExhausted, &["limits.decompression_ratio"]);
}

#[tokio::test]
async fn a_channel_may_pack_all_its_calls() {
    let gateway = gateway().await;
    let calls = Grpc::to(&gateway.data);
    for packing in
        [CompressionEncoding::Gzip, CompressionEncoding::Deflate, CompressionEncoding::Zstd]
    {
        let mut client = calls.client().accept_compressed(packing).send_compressed(packing);
        let answer = client.model_infer(calls.request(fp32("double", "x", &[[1.5; 4]]))).await;
        assert_eq!(floats(&answer.expect("an answer").into_inner(), 0), [3.0; 4]);
        let ready = client.server_ready(calls.request(ServerReadyRequest {})).await;
        assert!(ready.expect("an answer").into_inner().ready);
        let name = "double".to_owned();
        let asked = calls.request(ModelMetadataRequest { name, version: String::new() });
        assert_eq!(
            client.model_metadata(asked).await.expect("an answer").into_inner().name,
            "double"
        );
        let mut health = HealthClient::new(calls.channel.clone()).send_compressed(packing);
        let checked = health.check(HealthCheckRequest::default()).await.expect("an answer");
        assert_eq!(checked.into_inner().status, ServingStatus::Serving as i32);
    }
}

#[tokio::test]
async fn who_may_not_is_refused_before_anything_is_told() {
    let start = Gateway::start().model("fraud", &tag(1.0)).model("churn", &tag(2.0));
    let start = start.setting("auth.data_plane", "keys").setting("tiers.small.requests", "2/h");
    let gateway = start.ready().await;
    let bare = Grpc::to(&gateway.data.with_key(None));
    let status =
        refused(bare.infer(any_row("fraud")).await, Code::Unauthenticated, &["Authorization"]);
    assert!(status.metadata().get("x-request-id").is_some());
    let wrong = bare.with("authorization", "Bearer wbk_0123");
    refused(wrong.infer(any_row("fraud")).await, Code::Unauthenticated, &["not valid"]);
    let malformed = bare.with("authorization", "Basic abc");
    refused(malformed.infer(any_row("fraud")).await, Code::Unauthenticated, &["Bearer"]);
    let two = bare.with("authorization", "Bearer a").with("x-api-key", "b");
    refused(two.infer(any_row("fraud")).await, Code::Unauthenticated, &["two"]);

    let body = json!({"name": "f", "scopes": "predict:fraud", "tier": "small", "tenant": "t"});
    let fraud = Grpc::to(&key(&gateway, body).await);
    let answer = fraud.infer(any_row("fraud")).await.expect("an answer");
    let limit = answer.metadata().get("ratelimit").expect("a standing").to_str().unwrap();
    assert!(limit.starts_with("\"requests\";r=1;"), "{limit}");
    // A model that is there and one that is not look the same.
    for model in ["churn", "nobody"] {
        let scope = format!("predict:{model}");
        refused(fraud.infer(any_row(model)).await, Code::PermissionDenied, &[&scope]);
        let request = ModelMetadataRequest { name: model.into(), version: String::new() };
        let metadata = fraud.client().model_metadata(fraud.request(request)).await;
        refused(metadata, Code::PermissionDenied, &[&scope]);
        let request = ModelReadyRequest { name: model.into(), version: String::new() };
        refused(
            fraud.client().model_ready(fraud.request(request)).await,
            Code::PermissionDenied,
            &[],
        );
        let request = ModelConfigRequest { name: model.into(), version: String::new() };
        refused(
            fraud.client().model_config(fraud.request(request)).await,
            Code::PermissionDenied,
            &[],
        );
        let request = ModelStatisticsRequest { name: model.into(), version: String::new() };
        let statistics = fraud.client().model_statistics(fraud.request(request)).await;
        refused(statistics, Code::PermissionDenied, &[]);
    }
    let index = RepositoryIndexRequest::default();
    let index = fraud.client().repository_index(fraud.request(index)).await.expect("an index");
    let names: Vec<_> = index.into_inner().models.into_iter().map(|m| m.name).collect();
    assert_eq!(names, ["fraud"]);
    fraud.infer(any_row("fraud")).await.expect("an answer");
    let spent =
        refused(fraud.infer(any_row("fraud")).await, Code::ResourceExhausted, &["2/h", "fraud"]);
    assert!(spent.metadata().get("retry-after").is_some());
    // It takes more to load and unload than to predict.
    let load = RepositoryModelLoadRequest { model_name: "fraud".into(), ..Default::default() };
    let loaded = fraud.client().repository_model_load(fraud.request(load)).await;
    refused(loaded, Code::PermissionDenied, &["admin:rollout"]);
    // Health is for everybody.
    bare.client().server_ready(ServerReadyRequest {}).await.expect("an answer");
}

#[tokio::test]
async fn a_deadline_is_kept() {
    let start = Gateway::start().model("slow", &slow_doubling(400)).setting("engine.threads", "1");
    let gateway = start.ready().await;
    let calls = Grpc::to(&gateway.data);
    let rows = || fp32("slow", "x", &vec![[1.0; 4]; 64]);
    // A timeout of the server's own ears: tonic's client would give up by itself.
    let hurried = calls.with("x-request-timeout-ms", "1");
    let status = hurried.infer(rows()).await.expect_err("a refusal");
    let is_late = matches!(status.code(), Code::DeadlineExceeded | Code::Unavailable);
    assert!(is_late, "{status:?}");
    let mut request = calls.request(rows());
    request.set_timeout(Duration::from_millis(1));
    let status = calls.client().model_infer(request).await.expect_err("a refusal");
    let codes = [Code::DeadlineExceeded, Code::Unavailable, Code::Cancelled];
    assert!(codes.contains(&status.code()), "{status:?}");
    calls.infer(rows()).await.expect("an answer");
}

#[tokio::test]
async fn a_stream_answers_in_order_and_survives_mistakes() {
    let gateway = gateway().await;
    let calls = Grpc::to(&gateway.data);
    let message = |place: usize| {
        let model = if place == 3 { "nobody" } else { "double" };
        let mut message = fp32(model, "x", &[[place as f32; 4]]);
        message.id = place.to_string();
        message
    };
    let messages = tokio_stream::iter((0..20).map(message));
    let mut answers = calls
        .client()
        .model_stream_infer(calls.request(messages))
        .await
        .expect("a stream")
        .into_inner();
    for place in 0..20 {
        let answer = answers.message().await.expect("an answer").expect("20 of them");
        let inner = answer.infer_response.expect("a response");
        assert_eq!(inner.id, place.to_string());
        if place == 3 {
            assert!(answer.error_message.contains("nobody"), "{}", answer.error_message);
        } else {
            assert_eq!(answer.error_message, "");
            assert_eq!(floats(&inner, 0), [place as f32 * 2.0; 4]);
        }
    }
    assert!(answers.message().await.expect("an end").is_none());
    // Who asks for real statuses gets them, and the stream ends.
    let strict = calls.with("triton_grpc_error", "true");
    let messages = tokio_stream::iter((3..6).map(message));
    let mut answers = strict
        .client()
        .model_stream_infer(strict.request(messages))
        .await
        .expect("a stream")
        .into_inner();
    refused(answers.message().await, Code::NotFound, &["nobody"]);
}

#[tokio::test]
async fn a_stream_ends_with_its_key_and_with_the_gateway() {
    let start = Gateway::start().model("double", &doubling());
    let start = start.setting("auth.data_plane", "keys").setting("server.drain_timeout", "1h");
    let mut gateway = start.ready().await;
    let listener = key(&gateway, json!({"name": "s", "role": "predict"})).await;
    let open = async |calls: &Grpc| {
        let (say, messages) = tokio::sync::mpsc::channel(4);
        let messages = tokio_stream::wrappers::ReceiverStream::new(messages);
        say.send(fp32("double", "x", &[[1.0; 4]])).await.expect("said");
        let stream = calls.client().model_stream_infer(calls.request(messages)).await;
        let mut answers = stream.expect("a stream").into_inner();
        let first = answers.message().await.expect("an answer").expect("one");
        assert_eq!(first.error_message, "");
        (say, answers)
    };
    let (say, mut answers) = open(&Grpc::to(&listener)).await;
    let keys = gateway.admin.get("/admin/v1/keys").await.expect(200).json();
    let listed = keys["keys"].as_array().expect("keys");
    let ours = listed.iter().find(|key| key["name"] == "s").expect("our key");
    let id = ours["id"].as_str().expect("an id");
    gateway.admin.delete(&format!("/admin/v1/keys/{id}")).await.expect(200);
    say.send(fp32("double", "x", &[[1.0; 4]])).await.expect("said");
    refused(answers.message().await, Code::Unauthenticated, &["not valid"]);

    // One that is open and silent does not hold up the end, which would wait an hour.
    let admin = Grpc::to(&gateway.data.with_key(gateway.admin.key.as_deref()));
    let (_say, mut answers) = open(&admin).await;
    gateway.signal_stop();
    assert!(answers.message().await.expect("a good end").is_none());
    assert!(gateway.ended().await.success());
}

#[tokio::test]
async fn health_is_watched_until_the_end() {
    let mut gateway = gateway().await;
    let calls = Grpc::to(&gateway.data);
    let mut health = HealthClient::new(calls.channel.clone());
    for service in ["", "inference.GRPCInferenceService"] {
        let request = HealthCheckRequest { service: service.into() };
        let answer = health.check(request).await.expect("an answer").into_inner();
        assert_eq!(answer.status(), ServingStatus::Serving);
    }
    let nobody = HealthCheckRequest { service: "nobody".into() };
    refused(health.check(nobody).await, Code::NotFound, &["nobody"]);
    let request = HealthCheckRequest::default();
    let mut watch = health.watch(request).await.expect("a stream").into_inner();
    let first = watch.message().await.expect("an answer").expect("a status");
    assert_eq!(first.status(), ServingStatus::Serving);
    gateway.signal_stop();
    // It ends with the process, told or not that it is going away.
    while let Ok(Some(status)) = watch.message().await {
        assert_eq!(status.status(), ServingStatus::NotServing);
    }
    assert!(gateway.ended().await.success());
}

#[tokio::test]
async fn models_are_unloaded_and_loaded_where_the_settings_allow_it() {
    let start = Gateway::start().model("double", &doubling());
    let mut gateway = start.setting("triton.model_control", "explicit").ready().await;
    let admin = |gateway: &Gateway| {
        let key = gateway.admin.key.clone();
        Grpc::to(&gateway.data.with_key(key.as_deref()))
    };
    let calls = admin(&gateway);
    // Not even a request brings it back.
    gateway.configure("double", &json!({"residency": "on_demand"})).await;
    let unload = RepositoryModelUnloadRequest { model_name: "double".into(), ..Default::default() };
    calls.client().repository_model_unload(calls.request(unload)).await.expect("unloaded");
    let answer = calls.infer(fp32("double", "x", &[[1.0; 4]])).await;
    refused(answer, Code::Unavailable, &["double", "unloaded"]);
    let state = async |gateway: &Gateway| {
        let index = gateway.data.post("/v2/repository/index", &json!({})).await.expect(200).json();
        index[0]["state"].as_str().expect("a state").to_owned()
    };
    assert_eq!(state(&gateway).await, "UNAVAILABLE");
    let ready = gateway.data.post("/v2/repository/index", &json!({"ready": true})).await;
    assert_eq!(ready.expect(200).json(), json!([]));
    gateway.data.get("/v2/health/ready").await.expect(200);
    gateway.data.get("/v2/models/double").await.refused(503, &["unloaded"]);
    gateway.data.get("/v2/models/double/ready").await.expect(503);
    let promote = json!({"version": 1});
    let promoted = gateway.admin.post("/admin/v1/models/double/promote", &promote).await;
    promoted.refused(409, &["unloaded"]);
    // It stays so.
    gateway.without_models();
    gateway.kill9();
    gateway.restart().await;
    assert_eq!(state(&gateway).await, "UNAVAILABLE");
    let path = "/v2/repository/models/double/load";
    let calls = admin(&gateway);
    let data = gateway.data.with_key(gateway.admin.key.as_deref());
    data.post(path, &json!({"parameters": {"config": "{}"}})).await.refused(501, &["config"]);
    data.ask(http::Method::POST, path).send().await.expect(200);
    calls.infer(fp32("double", "x", &[[1.0; 4]])).await.expect("an answer");
    assert_eq!(state(&gateway).await, "READY");
    // What was pushed and never promoted answers once it is loaded.
    gateway.push_ready("pushed", &tag(3.0)).await;
    data.post("/v2/repository/models/pushed/load", &json!({})).await.expect(200);
    calls.infer(any_row("pushed")).await.expect("an answer");
    data.post("/v2/repository/models/nobody/load", &json!({})).await.refused(404, &["nobody"]);
    // An open data listener opens nothing of that.
    let bare = gateway.data.with_key(None);
    bare.post(path, &json!({})).await.refused(401, &[]);
}

#[tokio::test]
async fn grpc_may_have_a_port_of_its_own() {
    let probe = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = probe.local_addr().expect("an address").to_string();
    drop(probe);
    let start = Gateway::start().model("double", &doubling());
    let gateway = start.setting("server.grpc_listen", &address).ready().await;
    let own = Listener::new(&format!("http://{address}"), None);
    let answer = Grpc::to(&own).infer(fp32("double", "x", &[[1.0; 4]])).await.expect("an answer");
    assert_eq!(floats(&answer.into_inner(), 0), [2.0; 4]);
    wait::until("the counter", async || {
        let counted =
            gateway.metrics().await.sum("weighbridge_http_requests_total", &[("listener", "data")]);
        (counted >= 1.0).then_some(())
    })
    .await;
}
