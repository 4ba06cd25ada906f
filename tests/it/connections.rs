//! Connections that take places and memory, and ask or read nothing.

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::http2::SendRequest;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use weighbridge_tests::gateway::{any_row, fp32};
use weighbridge_tests::onnx::{doubling, tag};
use weighbridge_tests::{Gateway, Start, wait};

fn start() -> Start {
    Gateway::start().model("fraud", &tag(1.0)).model("double", &doubling())
}

/// A connection of HTTP/2 whose client takes 16 KiB of an answer unless it reads on.
async fn narrow(gateway: &Gateway) -> (SendRequest<Full<Bytes>>, JoinHandle<hyper::Result<()>>) {
    let stream = TcpStream::connect(gateway.data.address()).await.expect("a connection");
    let mut builder = hyper::client::conn::http2::Builder::new(TokioExecutor::new());
    builder.initial_stream_window_size(16 * 1024);
    let (sender, connection) = builder.handshake(TokioIo::new(stream)).await.expect("HTTP/2");
    (sender, tokio::spawn(connection))
}

/// Asks for an answer of some hundred KiB, and returns with its head.
async fn ask(sender: &mut SendRequest<Full<Bytes>>, gateway: &Gateway) -> http::Response<Incoming> {
    let body = fp32("x", &vec![[0.123_456; 4]; 10_000]).to_string();
    let url = format!("{}/v2/models/double/infer", gateway.data.url);
    let request = http::Request::post(url).body(Full::from(body)).expect("a request");
    let response = sender.send_request(request).await.expect("an answer");
    assert_eq!(response.status(), 200);
    response
}

#[tokio::test]
async fn an_answer_keeps_its_place_until_it_is_read() {
    // Eight tenths for this class, three quarters of that for one tenant: two.
    let gateway = start().setting("limits.max_in_flight", "4").ready().await;
    let (mut sender, _connection) = narrow(&gateway).await;
    let one = ask(&mut sender, &gateway).await;
    let two = ask(&mut sender, &gateway).await;
    gateway.infer("fraud", &any_row()).await.refused(503, &["limits.max_in_flight"]);
    gateway.data.get("/v2/models").await.refused(503, &["limits.max_in_flight"]);
    gateway.data.get("/v2/health/live").await.expect(200);
    drop(one);
    wait::until("a place is free", async || {
        let answer = gateway.infer("fraud", &any_row()).await;
        (answer.status == 200).then_some(())
    })
    .await;
    let whole = two.into_body().collect().await.expect("the rest").to_bytes();
    let answer: serde_json::Value = serde_json::from_slice(&whole).expect("JSON");
    assert_eq!(answer["outputs"][0]["data"].as_array().expect("values").len(), 40_000);
}

#[tokio::test]
async fn an_answer_that_nobody_reads_is_given_up_and_its_connection_closed() {
    let gateway = start().setting("limits.answer_timeout", "100ms").ready().await;
    let (mut sender, connection) = narrow(&gateway).await;
    let unread = ask(&mut sender, &gateway).await;
    wait::until("the answer is given up", async || {
        let counted = gateway.metrics().await.sum("weighbridge_answers_unread_total", &[]);
        (counted == 1.0).then_some(())
    })
    .await;
    // It asks for nothing else.
    let _ = tokio::time::timeout(std::time::Duration::from_secs(20), connection)
        .await
        .expect("the connection is closed");
    assert!(unread.into_body().collect().await.is_err(), "it is not whole");
}

#[tokio::test]
async fn when_all_places_are_taken_those_that_ask_nothing_give_way() {
    let start = start().setting("limits.max_connections", "8");
    let gateway = start.setting("limits.header_read_timeout", "1h").ready().await;
    let mut silent = Vec::new();
    for begun in ["", "GET /v2 HTT", "POST /v2/models/fraud/infer HTTP/1.1\r\nhost: x\r\nx-slow: "]
    {
        for _ in 0..8 {
            let stream = TcpStream::connect(gateway.data.address()).await;
            let mut stream = stream.expect("a connection");
            // It may have had to leave at once.
            let _ = stream.write_all(begun.as_bytes()).await;
            silent.push(stream);
        }
    }
    let data = gateway.data.without_reuse();
    for _ in 0..3 {
        data.get("/v2/health/live").await.expect(200);
        data.post("/v2/models/fraud/infer", &any_row()).await.expect(200);
    }
    let mut came = Vec::new();
    let _ = silent[0].read_to_end(&mut came).await;
    assert!(came.is_empty(), "the first one is closed: {}", String::from_utf8_lossy(&came));
}
