//! Against servers of our own, with failures injected by request number.

use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use axum::Router;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};

use super::open_loop::{Ended, Traffic};
use super::*;
use crate::testing::Server;

const METADATA: &str = r#"{"name":"digits","inputs":[{"name":"x","datatype":"FP32","shape":[-1,4]}],
    "outputs":[]}"#;

/// A server whose `n`-th answer (from 0) is what `answer(n)` makes of it; ends with the value.
struct TestServer {
    address: SocketAddr,
    _server: Server,
}

impl TestServer {
    fn start<F, A>(answer: F) -> Self
    where
        F: Fn(u64) -> A + Clone + Send + Sync + 'static,
        A: Future<Output = Response> + Send + 'static,
    {
        let number = Arc::new(AtomicU64::new(0));
        let infer = move || answer(number.fetch_add(1, Ordering::SeqCst));
        let app = Router::new()
            .route("/v2/models/digits", get(|| async { METADATA }))
            .route("/v2/models/digits/infer", post(infer));
        let server = Server::start(app);
        Self { address: server.address, _server: server }
    }

    fn plan(&self) -> Plan {
        plan(self.address)
    }
}

fn plan(address: SocketAddr) -> Plan {
    Plan {
        url: format!("http://{address}"),
        model: "digits".into(),
        version: None,
        headers: Vec::new(),
        body: None,
        rate: 200.0,
        duration: Duration::from_millis(500),
        arrivals: Arrivals::Uniform,
        seed: 1,
        connections: 32,
        timeout: Duration::from_secs(1),
        server_pid: None,
    }
}

fn named(version: &'static str) -> Response {
    ([("weighbridge-served-version", version)], "{}").into_response()
}

#[test]
fn answers_failures_and_versions_are_counted() {
    let server = TestServer::start(|number| async move {
        match number % 10 {
            3 => StatusCode::SERVICE_UNAVAILABLE.into_response(),
            7 => std::future::pending().await,
            9 => named("2"),
            _ => named("1"),
        }
    });
    let report = run(&server.plan(), &Stop::default()).unwrap();
    assert_eq!((report.sent, report.ok, report.not_sent), (100, 80, 0));
    let failed: Vec<_> =
        report.failed.iter().map(|(kind, count)| (kind.as_str(), *count)).collect();
    assert_eq!(failed, [("status 503", 10), ("timeout", 10)]);
    assert_eq!(report.served_versions["1"], 70);
    assert_eq!(report.served_versions["2"], 10);
    assert_eq!(report.latency.count, 80);
    let server = report.server.expect("the server is this very process");
    assert_eq!(server.pid, std::process::id());
}

#[test]
fn a_stall_shows_in_the_latency_of_the_requests_behind_it() {
    let stall = Duration::from_millis(250);
    let server = TestServer::start(move |number| async move {
        if number == 0 {
            tokio::time::sleep(stall).await;
        }
        named("1")
    });
    let plan = Plan { connections: 1, timeout: Duration::from_secs(5), ..server.plan() };
    let report = run(&plan, &Stop::default()).unwrap();
    assert_eq!((report.ok, report.not_sent), (100, 0));
    // 50 requests were due in the stall; sent one after the other, each alone took under 1 ms.
    assert!(report.sent_late >= 40, "{} late", report.sent_late);
    assert!(report.latency.p90_ms > 150.0, "{:?}", report.latency);
    assert!(report.latency.max_ms >= 250.0);
}

#[test]
fn a_dead_server_ends_the_run_in_bounded_time() {
    let server = TestServer::start(|_| std::future::pending());
    let plan = Plan { connections: 1, timeout: Duration::from_millis(100), ..server.plan() };
    let report = run(&plan, &Stop::default()).unwrap();
    assert_eq!(report.ok, 0);
    assert_eq!(report.sent + report.not_sent, 100);
    assert_eq!(report.failed["timeout"], report.sent);
    assert!(report.not_sent > 50);
    assert!(report.elapsed_seconds < 5.0);
}

#[test]
fn a_refused_connection_is_counted_as_such() {
    let unused = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let plan = Plan { body: Some(b"{}".to_vec()), ..plan(unused) };
    let report = run(&plan, &Stop::default()).unwrap();
    assert_eq!(report.failed["connect"], 100);
    assert!(report.server.is_none());
    // Without a body the question for the metadata fails first, and says so.
    let error = run(&self::plan(unused), &Stop::default()).unwrap_err();
    assert!(format!("{error:#}").contains("metadata"), "{error:#}");
}

#[test]
fn a_raised_stop_ends_the_run_early() {
    let server = TestServer::start(|_| async { named("1") });
    let plan = Plan { duration: Duration::from_secs(3600), ..server.plan() };
    let stop = Stop::default();
    stop.raise();
    let report = run(&plan, &stop).unwrap();
    assert_eq!(report.sent, 0);
}

/// Asks the one request `left` times, and counts what comes back.
struct Few {
    left: usize,
    answered: usize,
    lost: Vec<&'static str>,
}

impl Traffic for Few {
    fn next(&mut self) -> Option<usize> {
        self.left = self.left.checked_sub(1)?;
        Some(0)
    }

    fn ended(&mut self, request: &Ended<'_>) {
        assert!(request.intended <= request.sent && request.sent <= request.at);
        match &request.answer {
            Ok(answer) => {
                assert_eq!((answer.version, answer.body), (Some(&b"1"[..]), Some(&b"{}"[..])));
                self.answered += 1;
            }
            Err(kind) => self.lost.push(kind),
        }
    }
}

#[test]
fn traffic_that_has_had_enough_ends_the_run_once_all_is_answered() {
    let server = TestServer::start(|number| async move {
        match number {
            5 => std::future::pending().await,
            _ => named("1"),
        }
    });
    let target = Target::resolve(&format!("http://{}", server.address)).unwrap();
    let requests = [target.post("/v2/models/digits/infer", &[], b"{}")];
    let started = std::time::Instant::now();
    let mut few = Few { left: 40, answered: 0, lost: Vec::new() };
    let load = OpenLoop {
        target: &target,
        requests: &requests,
        traffic: &mut few,
        schedule: Schedule::new(Arrivals::Poisson, 400.0, Duration::from_secs(3600), 1).unwrap(),
        connections: 8,
        timeout: Duration::from_millis(600),
    };
    let tally = load.run(&Stop::default()).unwrap();
    assert_eq!((few.answered, few.lost.as_slice()), (39, &["timeout"][..]));
    assert_eq!((tally.sent, tally.ok(), tally.not_sent), (40, 39, 0));
    assert!(started.elapsed() < Duration::from_secs(5), "{:?}", started.elapsed());
}
