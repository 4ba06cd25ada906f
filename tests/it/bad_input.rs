//! Whatever is sent: the answer names the thing, what came and what was wanted, and neither a
//! worker nor the process stops.

use std::sync::Arc;

use http::Method;
use load_tests::random::Random;
use serde_json::{Value, json};
use tokio::task::JoinSet;
use weighbridge_tests::gateway::{any_row, fp32};
use weighbridge_tests::onnx::{
    doubling, doubling_two_rows, lookup, slow_doubling, sum_and_difference, tag,
};
use weighbridge_tests::{Answer, Gateway};

/// `x` is wanted as FP32 `[-1, 4]` by `double`, as INT64 `[-1, 1]` by `lookup`; `pair` wants
/// `a` and `b`, both FP32 `[-1, 2]`.
async fn gateway() -> Gateway {
    let start = Gateway::start().setting("limits.body", "64KiB").model("double", &doubling());
    let start = start.model("lookup", &lookup()).model("pair", &sum_and_difference());
    let gateway = start.model("two", &doubling_two_rows()).ready().await;
    gateway.push_ready("pushed", &tag(1.0)).await;
    gateway
}

async fn assert_healthy(gateway: &Gateway) {
    // More at once than there are workers: each of them is still there.
    let mut requests = JoinSet::new();
    for number in 0..16u8 {
        let row = [f32::from(number), 1.0, 2.0, 3.0];
        let ask = gateway.infer_ask("double").json(&fp32("x", &[row]));
        requests.spawn(async move {
            assert_eq!(ask.send().await.expect(200).output("y")[0], 2.0 * f64::from(number));
        });
    }
    requests.join_all().await;
    gateway.data.get("/v2/health/ready").await.expect(200);
}

fn tensor(name: &str, datatype: &str, shape: Value, data: Value) -> Value {
    json!({"inputs": [{"name": name, "datatype": datatype, "shape": shape, "data": data}]})
}

#[tokio::test]
async fn each_mistake_in_a_v2_body_is_named_with_what_came_and_what_was_wanted() {
    let gateway = gateway().await;
    let row = json!([1.0, 2.0, 3.0, 4.0]);
    let pair =
        |name: &str| json!({"name": name, "datatype": "FP32", "shape": [1, 2], "data": [1, 2]});
    let table: Vec<(&str, Value, &[&str])> = vec![
        (
            "double",
            tensor("x", "INT64", json!([1, 4]), json!([1, 2, 3, 4])),
            &["\"x\"", "INT64", "FP32"],
        ),
        ("double", tensor("x", "FP31", json!([1, 4]), row.clone()), &["inputs[0]", "FP31", "FP32"]),
        (
            "double",
            tensor("x", "FP32", json!([1, 5]), json!([1, 2, 3, 4, 5])),
            &["\"x\"", "[1, 5]", "[-1, 4]"],
        ),
        (
            "double",
            tensor("x", "FP32", json!([4]), row.clone()),
            &["\"x\"", "[4]", "[-1, 4]", "[1, 4]"],
        ),
        ("double", tensor("x", "FP32", json!([2, 4]), row.clone()), &["\"x\"", "[2, 4]", "8", "4"]),
        ("double", tensor("x", "FP32", json!([0, 4]), json!([])), &["\"x\"", "no rows"]),
        ("double", tensor("x", "FP32", json!([-1, 4]), row.clone()), &["x", "shape", "-1"]),
        ("double", tensor("x", "FP32", json!([1, 4]), json!([1, 2, "3", 4])), &["\"x\"", "number"]),
        ("double", tensor("x", "FP32", json!([1, 4]), json!([1, 2, 1e300, 4])), &["\"x\"", "FP32"]),
        ("double", tensor("x", "FP32", json!([1u64 << 40, 1u64 << 40]), row.clone()), &["\"x\""]),
        ("double", tensor("z", "FP32", json!([1, 4]), row.clone()), &["\"z\"", "\"x\""]),
        ("double", json!({"inputs": []}), &["\"x\"", "missing"]),
        ("double", json!({"instances": [row]}), &["inputs"]),
        ("double", json!([1]), &["inputs"]),
        ("double", json!({"inputs": [{"name": "x"}]}), &["\"x\""]),
        ("pair", json!({"inputs": [pair("a")]}), &["\"b\"", "missing"]),
        (
            "pair",
            json!({"inputs": [pair("a"), pair("b"), pair("c")]}),
            &["\"c\"", "\"a\"", "\"b\""],
        ),
        ("pair", json!({"inputs": [pair("a"), pair("a")]}), &["\"a\"", "twice"]),
        (
            "pair",
            json!({"inputs": [pair("a"), pair("b")], "outputs": [{"name": "w"}]}),
            &["\"w\"", "\"y\"", "\"z\""],
        ),
        ("lookup", tensor("x", "INT64", json!([1, 1]), json!([null])), &["\"x\"", "whole number"]),
        ("lookup", tensor("x", "INT64", json!([1, 1]), json!([1.5])), &["\"x\"", "whole number"]),
        ("two", fp32("x", &[[1.0; 4]]), &["\"x\"", "[1, 4]", "[2, 4]"]),
    ];
    for (model, body, facts) in table {
        gateway.infer(model, &body).await.refused(400, facts);
    }
    for broken in ["", "{", "null", "{\"inputs\": [}", "\u{feff}{}", "{\"inputs\":[]} x"] {
        let answer = gateway.infer_ask("double").body(broken).send().await;
        answer.refused(400, &[]);
    }
    let deep = "[".repeat(30_000);
    gateway.infer_ask("double").body(deep).send().await.refused(400, &[]);
    assert_healthy(&gateway).await;
}

#[tokio::test]
async fn a_missing_value_is_nan_in_a_float_tensor() {
    let gateway = gateway().await;
    let body = tensor("x", "FP32", json!([1, 4]), json!([1.0, null, 3.0, 4.0]));
    let answer = gateway.infer("double", &body).await.expect(200);
    assert_eq!(answer.json()["outputs"][0]["data"], json!([2.0, null, 6.0, 8.0]));
    let body = json!({"instances": [[1.0, null, 3.0, 4.0]]});
    let row = gateway.predict("double", &body).await.expect(200);
    // As TF Serving writes it; KServe's dialect is JSON to the letter.
    assert_eq!(row.text(), "{\"predictions\":[[2.0,NaN,6.0,8.0]]}");
    gateway.configure("double", &json!({"v1_dialect": "kserve"})).await;
    let row = gateway.predict("double", &body).await.expect(200);
    assert_eq!(row.json()["predictions"], json!([[2.0, null, 6.0, 8.0]]));
}

#[tokio::test]
async fn each_mistake_in_a_v1_body_is_named() {
    let gateway = gateway().await;
    let table: Vec<(&str, Value, &[&str])> = vec![
        ("double", json!({}), &["instances", "inputs"]),
        ("double", json!({"rows": [[1, 2, 3, 4]]}), &["instances", "inputs"]),
        ("double", json!({"instances": []}), &["instance"]),
        ("double", json!({"instances": [[1, 2, 3]]}), &["\"x\"", "3", "[-1, 4]"]),
        ("double", json!({"instances": [[1, 2, 3, 4], [1, 2, 3]]}), &["\"x\"", "[-1, 4]"]),
        ("double", json!({"instances": [["a", 2, 3, 4]]}), &["\"x\"", "number"]),
        ("double", json!({"instances": [{"z": [1, 2, 3, 4]}]}), &["\"z\"", "\"x\""]),
        ("double", json!({"inputs": {"z": [[1, 2, 3, 4]]}}), &["\"z\"", "\"x\""]),
        ("pair", json!({"instances": [[1, 2]]}), &["\"a\"", "\"b\""]),
        ("pair", json!({"instances": [{"a": [1, 2]}]}), &["\"b\"", "missing"]),
        ("pair", json!({"inputs": {"a": [[1, 2]]}}), &["\"b\"", "missing"]),
        ("lookup", json!({"instances": [[null]]}), &["\"x\"", "whole number"]),
    ];
    for (model, body, facts) in table {
        gateway.predict(model, &body).await.refused(400, facts);
    }
    assert_healthy(&gateway).await;
}

#[tokio::test]
async fn what_is_not_there_is_404_and_what_is_not_done_is_405() {
    let gateway = gateway().await;
    let row = any_row();
    let unknown = gateway.infer("nobody", &row).await.refused(404, &["nobody", "GET /v2/models"]);
    // Which models there are, is told to those who may list them.
    assert!(!unknown.text().contains("double"), "{}", unknown.text());
    gateway.predict("nobody", &json!({"instances": [1]})).await.refused(404, &["nobody"]);
    gateway.infer("double/versions/7", &row).await.refused(404, &["double", "7", "1"]);
    gateway.infer("double/versions/x", &row).await.refused(404, &["x"]);
    gateway.infer("double/versions/0", &row).await.refused(404, &["0"]);
    gateway.predict("double/versions/7", &json!({"instances": [1]})).await.refused(404, &["7"]);
    gateway.predict("double/labels/best", &json!({"instances": [1]})).await.refused(404, &["best"]);
    gateway.infer("pushed", &row).await.refused(503, &["pushed", "promote pushed 1"]);
    for path in
        ["/v3", "/v2/models/double/explain", "/v2/models/double/versions", "/admin/v1/models"]
    {
        gateway.data.get(path).await.refused(404, &[path]);
    }
    for (method, path) in [
        (Method::GET, "/v2/models/double/infer"),
        (Method::DELETE, "/v2/models/double"),
        (Method::POST, "/v2/health/live"),
        (Method::PUT, "/v2"),
        (Method::POST, "/v1/models/double"),
    ] {
        gateway.data.ask(method.clone(), path).send().await.refused(405, &[]);
    }
    gateway.admin.post("/admin/v1/status", &json!({})).await.refused(405, &["/admin/v1/status"]);
    gateway.admin.get("/admin/v1/nothing").await.refused(404, &["/admin/v1/nothing"]);
    gateway.data.post("/v1/models/double:explain", &json!({})).await.refused(501, &[":explain"]);
    assert_healthy(&gateway).await;
}

#[tokio::test]
async fn a_body_over_the_limit_is_413() {
    let gateway = gateway().await;
    let large = vec![b' '; 65 * 1024];
    for path in ["/v2/models/double/infer", "/v1/models/double:predict"] {
        let answer = gateway.data.ask(Method::POST, path).body(large.clone()).send().await;
        answer.refused(413, &["65536", "limits.body"]);
    }
    // Far over it: the refusal must reach a client that is still sending.
    let huge = vec![b' '; 8 << 20];
    gateway.infer_ask("double").body(huge).send().await.refused(413, &["65536"]);
    assert_healthy(&gateway).await;
}

#[tokio::test]
async fn a_full_queue_is_503_with_retry_after() {
    let gateway = Gateway::start().model("slow", &slow_doubling(100)).ready().await;
    gateway.configure("slow", &json!({"max_queue_size": "2", "max_batch_size": "1"})).await;
    let mut requests = JoinSet::new();
    for _ in 0..60 {
        requests.spawn(gateway.infer_ask("slow").json(&any_row()).send());
    }
    let answers = requests.join_all().await;
    let (served, full): (Vec<Answer>, Vec<Answer>) =
        answers.into_iter().partition(|answer| answer.status == 200);
    assert!(!served.is_empty() && !full.is_empty(), "{} served, {} full", served.len(), full.len());
    for answer in full {
        let answer = answer.refused(503, &["maximum queue size", "slow", "2", "max_queue_size"]);
        assert_eq!(answer.header("retry-after"), Some("1"));
    }
    let metrics = gateway.metrics().await;
    assert!(metrics.sum("weighbridge_refused_total", &[("reason", "queue-full")]) > 0.0);
    gateway.infer("slow", &any_row()).await.expect(200);
}

#[tokio::test]
async fn a_passed_deadline_is_504() {
    let gateway = Gateway::start().model("slow", &slow_doubling(100)).ready().await;
    let rows = vec![[1.0; 4]; 1000];
    let ask = |timeout: &str| {
        let ask = gateway.infer_ask("slow").header("x-request-timeout-ms", timeout);
        ask.json(&fp32("x", &rows)).send()
    };
    ask("5").await.refused(504, &["slow", "5ms"]);
    for odd in ["0", "soon", "-1"] {
        ask(odd).await.refused(400, &["x-request-timeout-ms", odd]);
    }
    // Triton's parameter, in microseconds; 0 is none.
    let asking = |timeout: Value| {
        let mut body = fp32("x", &rows);
        body["parameters"] = json!({"timeout": timeout});
        body
    };
    gateway.infer("slow", &asking(json!(6000))).await.refused(504, &["slow", "6ms"]);
    gateway.infer("slow", &asking(json!(0))).await.expect(200);
    gateway.infer("slow", &asking(json!("soon"))).await.refused(400, &["timeout", "soon"]);
    gateway.configure("slow", &json!({"timeout": "7ms"})).await;
    gateway.infer("slow", &fp32("x", &rows)).await.refused(504, &["slow", "7ms"]);
    ask("60000").await.expect(200);
}

#[tokio::test]
async fn a_request_that_the_model_fails_on_fails_alone() {
    let mut gateway = gateway().await;
    gateway.models_may_panic();
    let mut requests = JoinSet::new();
    for number in 0..64i64 {
        // Every eighth asks for a place that the table does not have.
        let place = if number % 8 == 0 { 100 } else { number % 3 };
        let ask = gateway.infer_ask("lookup");
        let body = tensor("x", "INT64", json!([1, 1]), json!([place]));
        requests.spawn(async move { (place, ask.json(&body).send().await) });
    }
    for (place, answer) in requests.join_all().await {
        if place == 100 {
            answer.refused(500, &["lookup"]);
        } else {
            assert_eq!(answer.expect(200).output("y"), [(place + 1) as f64 * 10.0]);
        }
    }
    assert_healthy(&gateway).await;
}

#[tokio::test]
async fn a_model_that_panics_leaves_a_log_of_json_lines() {
    let mut gateway = gateway().await;
    gateway.models_may_panic();
    let body = tensor("x", "INT64", json!([1, 1]), json!([100]));
    gateway.infer("lookup", &body).await.refused(500, &["lookup"]);
    gateway.terminate().await;
    let log = gateway.stderr();
    let odd = log.lines().find(|line| serde_json::from_str::<Value>(line).is_err());
    assert_eq!(odd, None, "logging.format is json");
}

/// A good body with some of its bytes changed.
fn mutated(good: &[u8], random: &mut Random) -> Vec<u8> {
    let mut body = good.to_vec();
    for _ in 0..=random.bits() % 4 {
        let place = (random.bits() % body.len().max(1) as u64) as usize;
        let length = (random.bits() % 9) as usize;
        let end = body.len().min(place + length);
        match random.bits() % 6 {
            0 => body.truncate(place),
            1 => drop(body.drain(place..end)),
            2 => body
                .splice(place..place, b"[]{}\",:-0.e9null".iter().copied().skip(length))
                .for_each(drop),
            3 => {
                let again = body[place..end].to_vec();
                body.splice(place..place, again).for_each(drop);
            }
            4 if place < body.len() => body[place] = (random.bits() % 256) as u8,
            _ => body[place..end].iter_mut().for_each(|byte| *byte = b'9'),
        }
    }
    body
}

#[tokio::test]
async fn a_storm_of_mutated_bodies_breaks_nothing() {
    const STORM: usize = 2_000;
    const AT_ONCE: usize = 16;
    let gateway = Arc::new(gateway().await);
    let before = answers_by_status(&gateway).await;
    let v2 = any_row().to_string();
    let v1 = json!({"instances": [[1, 2, 3, 4], {"x": [5, 6, 7, 8.5]}]}).to_string();
    let mut clients = JoinSet::new();
    for client in 0..AT_ONCE {
        let (gateway, v2, v1) = (Arc::clone(&gateway), v2.clone(), v1.clone());
        clients.spawn(async move {
            let mut random = Random::new(client as u64);
            for number in 0..STORM / AT_ONCE {
                let (path, good) = match number % 2 {
                    0 => ("/v2/models/double/infer", &v2),
                    _ => ("/v1/models/double:predict", &v1),
                };
                let body = mutated(good.as_bytes(), &mut random);
                let shown = String::from_utf8_lossy(&body).into_owned();
                let answer = gateway.data.ask(Method::POST, path).body(body).send().await;
                let status = answer.status.as_u16();
                assert!([200, 400].contains(&status), "{status} for {shown}: {}", answer.text());
                assert!(status == 200 || answer.json()["error"].is_string());
            }
        });
    }
    clients.join_all().await;
    assert_healthy(&gateway).await;
    let answered = answers_by_status(&gateway).await - before;
    assert_eq!(answered.others, 0.0, "{answered:?}");
    assert!(answered.bad > STORM as f64 / 4.0, "the storm was one: {answered:?}");
}

/// Answers of the data listener so far.
#[derive(Debug, Clone, Copy)]
struct Answers {
    bad: f64,
    /// Neither 200 nor 400.
    others: f64,
}

impl std::ops::Sub for Answers {
    type Output = Self;

    fn sub(self, before: Self) -> Self {
        Self { bad: self.bad - before.bad, others: self.others - before.others }
    }
}

async fn answers_by_status(gateway: &Gateway) -> Answers {
    let metrics = gateway.metrics().await;
    let count = |labels: &[(&str, &str)]| metrics.sum("weighbridge_http_requests_total", labels);
    let of = |status| count(&[("listener", "data"), ("status", status)]);
    let (all, bad) = (count(&[("listener", "data")]), of("400"));
    Answers { bad, others: all - bad - of("200") }
}
