//! SIGTERM: readiness first, then no new connections, and no accepted request is lost.

use std::io;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::interval;
use weighbridge_tests::gateway::{any_row, fp32};
use weighbridge_tests::onnx::{slow_doubling, tag};
use weighbridge_tests::{Connection, Gateway, wait};

const PATH: &str = "/v2/models/fraud/infer";

/// What became of the requests of one client.
#[derive(Debug, Default)]
struct Tally {
    answered: u32,
    lost: Vec<String>,
}

impl Tally {
    /// Notes one exchange; true when the connection may be used again.
    fn note(&mut self, outcome: io::Result<weighbridge_tests::Answer>) -> bool {
        match outcome {
            Ok(answer) if answer.status == 200 => {
                self.answered += 1;
                answer.header("connection") != Some("close")
            }
            Ok(answer) => {
                self.lost.push(format!("{}: {}", answer.status, answer.text()));
                false
            }
            Err(error) => {
                self.lost.push(error.to_string());
                false
            }
        }
    }
}

/// Requests at a steady pace, on one connection as long as the gateway keeps it, until no new
/// connection is to be had.
async fn keep_asking(address: String, pause: Duration, keeps_alive: bool) -> Tally {
    let body = any_row().to_string();
    let (mut tally, mut pace) = (Tally::default(), interval(pause));
    while let Ok(mut connection) = Connection::open(&address).await {
        loop {
            let exchanged = connection.exchange("POST", PATH, body.as_bytes()).await;
            let is_kept = tally.note(exchanged);
            pace.tick().await;
            if !is_kept || !keeps_alive {
                break;
            }
        }
    }
    tally
}

#[tokio::test]
async fn a_stop_under_load_loses_no_accepted_request() {
    let mut gateway = Gateway::start().model("fraud", &tag(1.0)).ready().await;
    let address = gateway.data.address().to_owned();
    let mut clients = JoinSet::new();
    for number in 0..16 {
        // 16 clients, one request each 80 ms: 200 a second.
        clients.spawn(keep_asking(address.clone(), Duration::from_millis(80), number % 2 == 0));
    }
    wait::until("load is on", async || {
        let served =
            gateway.metrics().await.sum("weighbridge_requests_total", &[("outcome", "ok")]);
        (served > 200.0).then_some(())
    })
    .await;
    gateway.signal_stop();
    assert_unready_before_closed(&address).await;
    let status = gateway.ended().await;
    assert_eq!(status.code(), Some(0), "{}", gateway.stderr());
    let tallies = clients.join_all().await;
    let lost: Vec<&String> = tallies.iter().flat_map(|t| &t.lost).collect();
    let answered: u32 = tallies.iter().map(|t| t.answered).sum();
    assert!(lost.is_empty(), "{} of {answered} lost: {lost:?}", lost.len());
    let log = gateway.stderr();
    assert!(log.contains("\"stopped\"") && !log.contains("stopped before"), "{log}");
}

/// Load balancers hear that traffic should go elsewhere while requests are still served.
async fn assert_unready_before_closed(address: &str) {
    let body = any_row().to_string();
    wait::until("readiness is off", async || {
        let mut connection = Connection::open(address).await.expect("still listening");
        let answer = connection.exchange("GET", "/v2/health/ready", b"").await.expect("an answer");
        (answer.status == 503).then_some(())
    })
    .await;
    let mut connection = Connection::open(address).await.expect("still listening");
    let live = connection.exchange("GET", "/v2/health/live", b"").await.expect("an answer");
    assert_eq!(live.status, 200);
    let mut connection = Connection::open(address).await.expect("still listening");
    let answer = connection.exchange("POST", PATH, body.as_bytes()).await.expect("an answer");
    assert_eq!(answer.status, 200);
    assert_eq!(answer.header("connection"), Some("close"), "clients are asked to leave");
}

#[tokio::test]
async fn a_long_request_that_has_begun_is_answered_after_the_signal() {
    let mut gateway = Gateway::start().model("slow", &slow_doubling(100)).ready().await;
    let rows = vec![[1.0, 2.0, 3.0, 4.0]; 2000];
    let body = fp32("x", &rows).to_string();
    let mut connection = gateway.connect().await.expect("a connection");
    connection.send("POST", "/v2/models/slow/infer", body.as_bytes()).await.expect("sent");
    wait::until("it waits for its turn", async || {
        let waiting = gateway.metrics().await.sum("weighbridge_queue_rows", &[("model", "slow")]);
        (waiting > 0.0).then_some(())
    })
    .await;
    gateway.signal_stop();
    let answer = connection.receive().await.expect("an answer").expect(200);
    assert_eq!(answer.output("y"), [2.0, 4.0, 6.0, 8.0].repeat(2000));
    assert_eq!(gateway.ended().await.code(), Some(0));
}

#[tokio::test]
async fn a_request_longer_than_the_drain_timeout_does_not_keep_the_process() {
    let start = Gateway::start().model("slow", &slow_doubling(200));
    let start = start.setting("serving.max_queue_size", "100000");
    let mut gateway = start.setting("server.drain_timeout", "100ms").ready().await;
    // Some seconds of work, however quick the machine is.
    let rows = vec![[1.0, 2.0, 3.0, 4.0]; 30_000];
    let body = fp32("x", &rows).to_string();
    let mut connection = gateway.connect().await.expect("a connection");
    connection.send("POST", "/v2/models/slow/infer", body.as_bytes()).await.expect("sent");
    wait::until("it waits for its turn", async || {
        let waiting = gateway.metrics().await.sum("weighbridge_queue_rows", &[("model", "slow")]);
        (waiting > 0.0).then_some(())
    })
    .await;
    let (status, log) = gateway.terminate().await;
    assert_eq!(status.code(), Some(0), "{log}");
    assert!(log.contains("stopped before all connections had ended"), "{log}");
}
