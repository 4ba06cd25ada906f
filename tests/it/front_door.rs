//! What tenants may use: rates, quotas, bodies, connections; and settings that change meanwhile.

use http::Method;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use weighbridge_tests::gateway::{any_row, fp32};
use weighbridge_tests::onnx::{doubling, tag};
use weighbridge_tests::{Answer, Gateway, Listener, Start, wait};

fn start() -> Start {
    let start = Gateway::start().model("fraud", &tag(1.0)).model("double", &doubling());
    start.setting("auth.data_plane", "keys")
}

/// The data listener with a key of `tenant`.
async fn tenant(gateway: &Gateway, tenant: &str, tier: &str) -> Listener {
    let body = json!({"name": tenant, "role": "predict", "tenant": tenant, "tier": tier});
    let created = gateway.admin.post("/admin/v1/keys", &body).await.expect(200).json();
    gateway.data.with_key(created["secret"].as_str())
}

async fn infer(data: &Listener) -> Answer {
    data.post("/v2/models/fraud/infer", &any_row()).await
}

async fn rows(data: &Listener, count: usize) -> Answer {
    data.post("/v2/models/double/infer", &fp32("x", &vec![[1.0; 4]; count])).await
}

#[tokio::test]
async fn requests_and_rows_have_rates_of_their_own_for_each_tenant_and_model() {
    let start = start().setting("tiers.small.requests", "3/h").setting("tiers.wide.rows", "10/h");
    let gateway = start.ready().await;
    let (a, b) = (tenant(&gateway, "a", "small").await, tenant(&gateway, "b", "small").await);
    for left in ["2", "1", "0"] {
        let answer = infer(&a).await.expect(200);
        assert_eq!(answer.header("ratelimit-policy"), Some("\"requests\";q=3;w=3600"));
        let limit = answer.header("ratelimit").expect("a standing");
        assert!(limit.starts_with(&format!("\"requests\";r={left};t=")), "{limit}");
    }
    let refused = infer(&a).await.refused(429, &["3/h", "requests", "fraud"]);
    let wait: u64 = refused.header("retry-after").expect("when").parse().expect("seconds");
    assert!((1..=1200).contains(&wait), "{wait}");
    assert!(refused.header("ratelimit").is_some_and(|limit| limit.starts_with("\"requests\";r=0")));
    // Bad requests count as well: they are work too.
    for _ in 0..3 {
        a.post("/v2/models/double/infer", &json!({})).await.refused(400, &[]);
    }
    rows(&a, 1).await.refused(429, &["double"]);
    infer(&b).await.expect(200);
    // What there is not has no rate.
    b.post("/v2/models/nothing/infer", &any_row()).await.refused(404, &[]);

    // One rule for single and bulk: rows.
    let wide = tenant(&gateway, "wide", "wide").await;
    let first = rows(&wide, 6).await.expect(200);
    assert!(first.header("ratelimit").is_some_and(|limit| limit.starts_with("\"rows\";r=4;")));
    rows(&wide, 5).await.refused(429, &["rows", "10/h"]);
    for _ in 0..4 {
        rows(&wide, 1).await.expect(200);
    }
    rows(&wide, 1).await.refused(429, &["rows"]);
    // More than ever fits is told so at once: waiting would not help.
    let never = rows(&wide, 11).await.refused(413, &["10", "rows", "fewer"]);
    assert_eq!(never.header("retry-after"), None);
    let counted = gateway.metrics().await;
    let limited = |labels: &[(&str, &str)]| counted.sum("weighbridge_limited_total", labels);
    assert_eq!(limited(&[("limit", "requests")]), 2.0);
    assert_eq!(limited(&[("limit", "rows"), ("model", "double")]), 3.0);
}

#[tokio::test]
async fn quotas_of_a_day_outlive_a_restart() {
    let start = start().setting("tiers.small.rows_per_day", "10");
    let mut gateway = start.setting("tiers.small.requests_per_day", "4").ready().await;
    let key = tenant(&gateway, "a", "small").await.key.expect("a key");
    let a = |gateway: &Gateway| gateway.data.with_key(Some(&key));
    rows(&a(&gateway), 6).await.expect(200);
    let refused = rows(&a(&gateway), 5).await.refused(429, &["10 rows a day", "6 are used"]);
    let wait: u64 = refused.header("retry-after").expect("when").parse().expect("seconds");
    assert!((1..=86_400).contains(&wait), "{wait}");
    rows(&a(&gateway), 1).await.expect(200);
    // Tomorrow would not help.
    let never = rows(&a(&gateway), 11).await.refused(413, &["11 rows", "never"]);
    assert_eq!(never.header("retry-after"), None);
    gateway.terminate().await;
    gateway.restart().await;
    rows(&a(&gateway), 4).await.refused(429, &["7 are used"]);
    rows(&a(&gateway), 1).await.expect(200);
    rows(&a(&gateway), 1).await.expect(200);
    rows(&a(&gateway), 1).await.refused(429, &["4 requests a day"]);
}

#[tokio::test]
async fn settings_change_while_it_runs_and_bad_ones_change_nothing() {
    let gateway = start().setting("tiers.small.requests", "1/h").ready().await;
    let a = tenant(&gateway, "a", "small").await;
    // Who only asks about the model has not used it.
    for path in ["/v2/models/fraud", "/v2/models/fraud/ready"] {
        a.get(path).await.expect(200);
    }
    infer(&a).await.expect(200);
    infer(&a).await.refused(429, &[]);
    a.get("/v2/models/fraud/ready").await.expect(200);
    let path = gateway.data_dir().with_file_name("weighbridge.toml");
    let text = std::fs::read_to_string(&path).expect("the settings");
    let last = async || gateway.admin.get("/admin/v1/status").await.expect(200).json();
    assert_eq!(last().await["settings"], Value::Null);

    std::fs::write(&path, text.replace("1/h", "many")).expect("a file");
    let reload = wait::until("the mistake is told", async || {
        let status = last().await;
        status["settings"]["error"].is_string().then_some(status)
    })
    .await;
    let error = reload["settings"]["error"].as_str().expect("a text");
    assert!(error.contains("tiers.small.requests") && error.contains("many"), "{error}");
    infer(&a).await.refused(429, &["1/h"]);

    let new = text.replace("1/h", "5/h") + "[engine]\nload_threads = 2\n";
    std::fs::write(&path, new).expect("a file");
    let reload = wait::until("the change is told", async || {
        let status = last().await;
        status["settings"]["error"].is_null().then_some(status)
    })
    .await;
    assert_eq!(reload["settings"]["changed"], json!(["tiers.small"]));
    assert_eq!(reload["settings"]["needs_restart"], json!(["engine.load_threads"]));
    for _ in 0..5 {
        infer(&a).await.expect(200);
    }
    infer(&a).await.refused(429, &["5/h"]);
    let counted = gateway.metrics().await;
    for outcome in ["ok", "refused"] {
        let labels = [("outcome", outcome)];
        assert_eq!(counted.sum("weighbridge_settings_reloads_total", &labels), 1.0, "{outcome}");
    }
}

#[tokio::test]
async fn a_signal_reads_the_settings_again() {
    let gateway = start().ready().await;
    gateway.signal_reload();
    wait::until("it is told", async || {
        let status = gateway.admin.get("/admin/v1/status").await.expect(200).json();
        (status["settings"]["changed"] == json!([])).then_some(())
    })
    .await;
    gateway.admin.get("/admin/v1/models").await.expect(200);
}

#[tokio::test]
async fn scopes_and_delegation_are_kept_apart() {
    let gateway = start().ready().await;
    let key = async |by: &Listener, scopes: &str| {
        let body = json!({"name": scopes, "scopes": scopes});
        by.post("/admin/v1/keys", &body).await
    };
    let admin = &gateway.admin;
    let secret = |created: &Answer| created.json()["secret"].as_str().expect("a secret").to_owned();
    let reader = secret(&key(admin, "admin:read").await.expect(200));
    let reader = admin.with_key(Some(&reader));
    reader.get("/admin/v1/models").await.expect(200);
    key(&reader, "metrics").await.refused(403, &["admin:write"]);
    reader
        .post("/admin/v1/models/fraud/promote", &json!({"version": 1}))
        .await
        .refused(403, &["admin:rollout"]);

    let writer = secret(&key(admin, "admin:write metrics").await.expect(200));
    let writer = admin.with_key(Some(&writer));
    key(&writer, "metrics admin:read").await.expect(200);
    // Nobody hands out more than they have.
    key(&writer, "admin:rollout").await.refused(403, &["admin:rollout"]);
    key(&writer, "predict:fraud").await.refused(403, &["predict:fraud"]);
    let all = json!({"name": "x", "role": "admin"});
    writer.post("/admin/v1/keys", &all).await.refused(403, &["admin:rollout"]);
    writer
        .post("/admin/v1/models/fraud/promote", &json!({"version": 1}))
        .await
        .refused(403, &["admin:rollout"]);

    let releaser = secret(&key(admin, "admin:rollout").await.expect(200));
    let releaser = admin.with_key(Some(&releaser));
    releaser.get("/admin/v1/models").await.expect(200);
    releaser.post("/admin/v1/models/fraud/promote", &json!({"version": 1})).await.expect(200);
    releaser.delete("/admin/v1/models/fraud").await.refused(403, &["admin:write"]);

    let fraud = secret(&key(admin, "predict:fra*").await.expect(200));
    let fraud = gateway.data.with_key(Some(&fraud));
    infer(&fraud).await.expect(200);
    rows(&fraud, 1).await.refused(403, &["predict:double"]);
    for path in ["/v2/models/double", "/v2/models/double/ready", "/v1/models/double"] {
        fraud.get(path).await.refused(403, &["predict:double"]);
    }
    fraud.post("/v2/models/fraud/feedback", &json!([])).await.refused(403, &["feedback"]);
    for (body, fact) in [
        (json!({"name": "x"}), "role"),
        (json!({"name": "x", "role": "predict", "scopes": "predict"}), "role"),
        (json!({"name": "x", "scopes": ""}), "scopes"),
        (json!({"name": "x", "scopes": "root"}), "root"),
        (json!({"name": "x", "role": "predict", "tier": "gold"}), "gold"),
        (json!({"name": "x", "role": "predict", "tenant": "a\nb"}), "tenant"),
    ] {
        admin.post("/admin/v1/keys", &body).await.refused(400, &[fact]);
    }
}

/// Sends bytes as they are, and reads until the server closes.
async fn raw(gateway: &Gateway, bytes: &[u8]) -> String {
    let mut stream = TcpStream::connect(gateway.data.address()).await.expect("a connection");
    stream.write_all(bytes).await.expect("sent");
    let mut came = Vec::new();
    let reading = stream.read_to_end(&mut came);
    let _ = tokio::time::timeout(std::time::Duration::from_secs(20), reading).await;
    String::from_utf8_lossy(&came).into_owned()
}

#[tokio::test]
async fn requests_that_two_servers_could_read_in_two_ways_are_refused() {
    let gateway = Gateway::start().model("fraud", &tag(1.0)).ready().await;
    let post = "POST /v2/models/fraud/infer HTTP/1.1\r\nhost: x\r\n";
    let smuggled = "0\r\n\r\nGET /v2 HTTP/1.1\r\nhost: x\r\n\r\n";
    for head in [
        "content-length: 5\r\ncontent-length: 6\r\n",
        "content-length: 5, 6\r\n",
        "content-length: +5\r\n",
        "content-length: -1\r\n",
        "transfer-encoding: gzip\r\n",
        "transfer-encoding: chunked, gzip\r\n",
        "bad header: x\r\n",
        "x-folded: a\r\n b\r\n",
        "content-length : 5\r\n",
        "host: y\r\n",
        "transfer-encoding: gzip, chunked\r\n",
        "transfer-encoding: chunked\r\ntransfer-encoding: chunked\r\n",
        "x-nul: a\0b\r\n",
    ] {
        let came = raw(&gateway, format!("{post}{head}\r\n{smuggled}").as_bytes()).await;
        assert!(came.starts_with("HTTP/1.1 400"), "{head:?}: {came}");
        assert_eq!(came.matches("HTTP/1.1").count(), 1, "{head:?}: one answer: {came}");
    }
    // Both lengths: the chunks count, and nothing behind them is taken for a request.
    let both = "content-length: 5\r\ntransfer-encoding: chunked\r\nconnection: close\r\n";
    let came = raw(&gateway, format!("{post}{both}\r\n{smuggled}").as_bytes()).await;
    assert!(came.starts_with("HTTP/1.1 400"), "{came}");
    assert_eq!(came.matches("HTTP/1.1").count(), 1, "one answer: {came}");
    gateway.infer("fraud", &any_row()).await.expect(200);
}

#[tokio::test]
async fn heads_and_bodies_have_limits() {
    let start = Gateway::start().model("fraud", &tag(1.0)).setting("limits.headers", "8KiB");
    let start = start.setting("limits.body", "4MiB").setting("limits.header_read_timeout", "500ms");
    let gateway = start.setting("limits.decompression_ratio", "50").ready().await;
    // Connections that stand still are closed soon.
    let data = gateway.data.without_reuse();
    let ask = || data.ask(Method::POST, "/v2/models/fraud/infer");
    ask().header("x-long", &"a".repeat(20_000)).json(&any_row()).send().await.expect(431);
    // Whoever says nothing, or trickles a head, is not waited for.
    // The whole preface of HTTP/2, settings included.
    let preface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";
    let slow = "GET /v2 HTTP/1.1\r\nhost: x\r\nx-slow: ";
    for begun in ["", "P", "PRI * HTTP/2.0\r\n", preface, slow] {
        let mut stream = TcpStream::connect(gateway.data.address()).await.expect("a connection");
        stream.write_all(begun.as_bytes()).await.expect("sent");
        let mut came = Vec::new();
        let read = stream.read_to_end(&mut came);
        tokio::time::timeout(std::time::Duration::from_secs(20), read)
            .await
            .expect("it is closed")
            .expect("it is closed well");
    }
    let packed = |bytes: &[u8]| {
        use std::io::Write as _;
        let mut packer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
        packer.write_all(bytes).expect("packed");
        packer.finish().expect("packed")
    };
    let gzip = |body: Vec<u8>| ask().header("content-encoding", "gzip").body(body);
    gzip(packed(any_row().to_string().as_bytes())).send().await.expect(200);
    let bomb = gzip(packed(&vec![b' '; 64 << 20])).send().await;
    bomb.refused(413, &["limits."]);
    let repeated = gzip(packed(&vec![b' '; 3 << 20])).send().await;
    repeated.refused(413, &["limits.decompression_ratio"]);
    // Little enough not to matter: no tensor for this model, but a body.
    gzip(packed(&vec![b' '; 900_000])).send().await.refused(400, &[]);
    gzip(b"no gzip".to_vec()).send().await.refused(400, &["packed"]);
    let other = ask().header("content-encoding", "br").body("x").send().await;
    other.refused(415, &["br", "gzip"]);
    ask().body(vec![b' '; 5 << 20]).send().await.refused(413, &["limits.body"]);
    gateway.data.ask(Method::GET, "/v2/health/live").send().await.expect(200);
}
