//! The client against a small server in this process.
#![expect(clippy::disallowed_methods, reason = "servers of a test end with its runtime")]

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use axum::Router;
use axum::extract::{DefaultBodyLimit, Multipart, Path};
use axum::http::HeaderMap;
use axum::response::{IntoResponse, Response};
use axum::routing::{any, get, post};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use weighbridge_config::Digest;
use weighbridge_config::client::Secret;
use weighbridge_registry::{OperationState, VersionInfo};

use super::*;
use crate::cli::models::tests::model;
use crate::cli::report::tests::record;
use crate::cli::upload::{self, ModelFile};
use crate::cli::{Cli, Command, operations};

pub fn client(url: &str) -> Client {
    let settings = ClientSettings {
        url: url.to_owned(),
        credential: Credential::Key(Secret::new("wbk_test")),
        url_source: ClientSource::File("data/admin-url".into()),
        credential_source: ClientSource::Variable("WEIGHBRIDGE_KEY"),
    };
    Client::new(settings, &Trust::System).unwrap()
}

/// Serves `router` below `/admin/v1` until the test ends, and returns its address.
pub async fn serve(router: Router) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let app = Router::new().nest("/admin/v1", router);
    let serving = axum::serve(listener, app.layer(DefaultBodyLimit::disable()));
    tokio::spawn(async move { serving.await.unwrap() });
    url
}

fn operation(state: &str, progress: &str, result: &Value) -> Value {
    json!({
        "id": "op1", "kind": "push", "model": "fraud", "version": null, "state": state,
        "progress": progress, "result": result, "error": null, "created_at": 0,
        "updated_at": 0, "created_by": "key:wbk_ab",
    })
}

#[tokio::test]
async fn exit_codes_follow_the_status_and_the_request_id_is_told() {
    let answer = |Path(status): Path<u16>| async move {
        let status = StatusCode::from_u16(status).unwrap();
        let body = json!({"title": "t", "error": "that is why"}).to_string();
        (status, [("x-request-id", "r-17"), ("location", "/elsewhere")], body)
    };
    let url = serve(Router::new().route("/answer/{status}", any(answer))).await;
    let client = client(&url);
    for (status, exit) in [
        (302, Exit::Failed),
        (400, Exit::Failed),
        (401, Exit::NotAllowed),
        (403, Exit::NotAllowed),
        (404, Exit::Failed),
        (409, Exit::Refused),
        (412, Exit::Refused),
        (422, Exit::Refused),
        (500, Exit::Failed),
        (503, Exit::Failed),
    ] {
        let error = client.get(&format!("answer/{status}")).await.unwrap_err();
        assert_eq!(error.exit, exit, "{status}");
        assert!(error.text.contains("that is why"), "{error}");
        assert!(error.text.contains("request id: r-17"), "{error}");
        assert_eq!(error.text.contains("WEIGHBRIDGE_KEY"), exit == Exit::NotAllowed, "{error}");
    }
    assert!(client.get("answer/200").await.is_ok());
    assert!(client.find("answer/404").await.unwrap().is_none());
    assert_eq!(client.find("answer/409").await.unwrap_err().exit, Exit::Refused);
}

#[tokio::test]
async fn changes_carry_the_key_the_body_and_the_revision_they_rest_on() {
    async fn echo(headers: HeaderMap, body: String) -> String {
        let header = |name| headers.get(name).map(|value: &HeaderValue| value.to_str().unwrap());
        let (key, revision) = (header("authorization"), header("if-match"));
        json!({"key": key, "revision": revision, "body": body}).to_string()
    }
    let url = serve(Router::new().route("/echo", any(echo))).await;
    let client = client(&url);
    let told: Value = client.put("echo", &[1, 2], Some(7)).await.unwrap().parse().unwrap();
    assert_eq!(told, json!({"key": "Bearer wbk_test", "revision": "\"7\"", "body": "[1,2]"}));
    let told: Value = client.delete("echo", None).await.unwrap().parse().unwrap();
    assert_eq!(told, json!({"key": "Bearer wbk_test", "revision": null, "body": ""}));
    let mistake = client.get("echo").await.unwrap().parse::<Vec<u8>>().unwrap_err();
    assert_eq!(mistake.exit, Exit::Failed);
}

#[tokio::test]
async fn an_upload_arrives_whole_with_the_info_first() {
    async fn take(mut form: Multipart) -> Response {
        let mut parts = Vec::new();
        while let Some(mut part) = form.next_field().await.unwrap() {
            let name = part.name().unwrap().to_owned();
            let media_type = part.content_type().unwrap().to_owned();
            let (mut bytes, mut chunks) = (Vec::new(), 0);
            while let Some(chunk) = part.chunk().await.unwrap() {
                bytes.extend_from_slice(&chunk);
                chunks += 1;
            }
            parts.push((name, media_type, bytes, chunks));
        }
        let [info, model] = parts.as_slice() else { panic!("{} parts", parts.len()) };
        assert_eq!((info.0.as_str(), info.1.as_str()), ("info", "application/json"));
        assert_eq!((model.0.as_str(), model.1.as_str()), ("model", "application/octet-stream"));
        assert!(model.3 > 1, "it came in pieces");
        let told = json!({
            "info": serde_json::from_slice::<Value>(&info.2).unwrap(),
            "arrived": {"size": model.2.len(), "sha256": Digest::of(&model.2)},
        });
        let mut started = operation("running", "", &Value::Null);
        started["result"] = told;
        (StatusCode::ACCEPTED, json!({"operation": started}).to_string()).into_response()
    }
    let url = serve(Router::new().route("/models/fraud/versions", post(take))).await;
    // Not a multiple of any chunk.
    let bytes: Vec<u8> = (0..5_000_011_u32).map(|n| (n % 251) as u8).collect();
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), &bytes).unwrap();
    let info = VersionInfo {
        description: Some("d".into()),
        class_names: vec!["a".into()],
        ..VersionInfo::default()
    };
    let (name, version) = ("fraud".parse().unwrap(), "3".parse().ok());
    let model = ModelFile::open(file.path()).unwrap();
    let started = upload::send(&client(&url), &name, version, &info, model.into()).await.unwrap();
    let told = started.result.unwrap();
    let (size, sha256) = (bytes.len(), Digest::of(&bytes));
    assert_eq!(told["arrived"], json!({"size": size, "sha256": sha256}));
    let wanted = json!({
        "version": 3, "description": "d", "source": null, "tags": {}, "class_names": ["a"],
        "size": size, "sha256": sha256,
    });
    assert_eq!(told["info"], wanted);
}

#[tokio::test]
async fn an_upload_that_is_refused_early_is_not_sent_to_its_end() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let server = async move {
        let (mut connection, _) = listener.accept().await.unwrap();
        let mut head = [0; 1024];
        assert!(connection.read(&mut head).await.unwrap() > 0);
        let body = r#"{"error": "version 3 exists"}"#;
        let answer = format!("HTTP/1.1 409 Conflict\r\ncontent-length: {}\r\n\r\n", body.len());
        connection.write_all((answer + body).as_bytes()).await.unwrap();
        // It reads no further, so that the rest of the file has nowhere to go.
        connection
    };
    let file = tempfile::NamedTempFile::new().unwrap();
    file.as_file().set_len(64 << 20).unwrap();
    let (size, sha256) = (64 << 20, Digest::of(b"unread"));
    let model = ModelFile { file: file.reopen().unwrap(), size, sha256 };
    let (name, info, client) = ("fraud".parse().unwrap(), VersionInfo::default(), client(&url));
    let sent = upload::send(&client, &name, None, &info, model.into());
    let (_connection, sent) = tokio::join!(server, sent);
    let error = sent.unwrap_err();
    assert_eq!(error.exit, Exit::Refused, "{error}");
    assert!(error.text.starts_with("version 3 exists"), "{error}");
}

#[test]
fn what_is_no_file_is_not_sent() {
    for path in ["/", "/no/such/file"] {
        let error = ModelFile::open(path.as_ref()).unwrap_err();
        assert_eq!(error.exit, Exit::Failed);
        assert!(error.text.contains(path), "{error}");
    }
}

/// Answers the operation as running, twice with the same progress, and then as `last`.
fn operation_that_ends(last: Value) -> Router {
    let asked = Arc::new(AtomicUsize::new(0));
    let answer = move || {
        let nth = asked.fetch_add(1, Ordering::Relaxed);
        let told = match nth {
            0 | 1 => operation("running", "checking", &Value::Null),
            2 => operation("running", "loading", &Value::Null),
            _ => last.clone(),
        };
        std::future::ready(told.to_string())
    };
    Router::new().route("/operations/op1", get(answer))
}

#[tokio::test]
async fn an_operation_is_asked_for_until_it_ends() {
    for (word, state) in [("done", OperationState::Done), ("failed", OperationState::Failed)] {
        let url = serve(operation_that_ends(operation(word, "", &Value::Null))).await;
        let mut steps = Vec::new();
        let tell = |step: &str| steps.push(step.to_owned());
        let finished = operations::wait(&client(&url), "op1", tell).await.unwrap();
        assert_eq!(finished.operation.state, state);
        assert!(finished.answer.body.contains(word));
        assert_eq!(steps, ["checking", "loading"]);
    }
}

#[tokio::test]
async fn an_operation_that_is_gone_says_how_to_look_for_it() {
    let url = serve(Router::new()).await;
    let error = operations::wait(&client(&url), "op1", |_| ()).await.unwrap_err();
    assert_eq!(error.exit, Exit::Failed);
    assert!(error.text.contains("weighbridge operations op1"), "{error}");
}

#[tokio::test]
async fn a_server_that_is_not_there_is_unreachable() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    let error = client(&url).get("status").await.unwrap_err();
    assert_eq!(error.exit, Exit::Unreachable);
    let wanted = format!(
        "cannot reach {url}: is `weighbridge serve` running? (address from data/admin-url)"
    );
    assert!(error.text.starts_with(&wanted), "{error}");
    assert!(error.text.contains("refused"), "{error}");
    let error = client(&url).predict("http://127.0.0.1:1/v2", vec![], HeaderMap::new()).await;
    assert!(error.unwrap_err().text.starts_with("cannot reach http://127.0.0.1:1/v2"));
}

#[tokio::test]
async fn a_server_that_leaves_in_the_middle_is_unreachable() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        let half = b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n{";
        for answer in [&b""[..], half] {
            let (mut connection, _) = listener.accept().await.unwrap();
            let mut request = [0; 4096];
            let _ = connection.read(&mut request).await.unwrap();
            connection.write_all(answer).await.unwrap();
        }
    });
    let client = client(&url);
    for _ in 0..2 {
        let error = client.get("status").await.unwrap_err();
        assert_eq!(error.exit, Exit::Unreachable, "{error}");
        assert!(error.text.starts_with(&format!("no answer from {url}")), "{error}");
    }
}

#[test]
fn a_file_without_certificates_is_wrong_usage() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let missing = file.path().join("missing");
    for (path, words) in [(file.path(), "no certificate in PEM"), (&missing, "cannot read")] {
        let settings = |credential| ClientSettings {
            url: "https://127.0.0.1:1".to_owned(),
            credential,
            url_source: ClientSource::Flag("--url"),
            credential_source: ClientSource::Flag("--key"),
        };
        let key = settings(Credential::Key(Secret::new("k")));
        let error = Client::new(key, &Trust::SignedBy(path.to_owned())).unwrap_err();
        assert_eq!(error.exit, Exit::WrongUsage);
        assert!(error.text.contains(words), "{error}");
        let certificate = settings(Credential::Certificate(path.to_owned()));
        let error = Client::new(certificate, &Trust::System).unwrap_err();
        assert_eq!(error.exit, Exit::WrongUsage);
        let words = words.replace("no certificate", "certificate and its private key");
        assert!(error.text.contains(&words), "{error}");
    }
}

/// Runs a command line against a server whose pushes end with the given version.
async fn push(state: Value, more: &str) -> Result<(), CliError> {
    let last = operation("done", "", &record(state, Value::Null));
    let started = json!({"operation": operation("running", "stored", &Value::Null)}).to_string();
    let settings = async |body: String| {
        assert_eq!(body, r#"{"timeout":"1s"}"#);
        model().to_string()
    };
    let take = move |mut form: Multipart| async move {
        while let Some(part) = form.next_field().await.unwrap() {
            part.bytes().await.unwrap();
        }
        (StatusCode::ACCEPTED, started)
    };
    let router = operation_that_ends(last)
        .route("/models/fraud/versions", post(take))
        .route("/models/fraud/settings", axum::routing::patch(settings));
    let url = serve(router).await;
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), b"onnx").unwrap();
    let path = file.path().to_str().unwrap();
    run(&url, &format!("push fraud {path}{more}")).await
}

/// Runs a command line, whose words have no spaces, against the server at `url`.
pub async fn run(url: &str, line: &str) -> Result<(), CliError> {
    let line = format!("weighbridge {line} --url {url} --key k");
    let cli = <Cli as clap::Parser>::try_parse_from(line.split(' ')).unwrap();
    let Command::Client(command) = cli.command else { panic!("not a client command") };
    command.run(&cli.globals).await
}

#[tokio::test]
async fn a_push_succeeds_when_the_version_is_ready_and_is_refused_when_rejected() {
    push(json!({"state": "ready"}), " --set timeout=1s").await.unwrap();
    for more in ["", " --json", " --set timeout=1s"] {
        let rejected = json!({"state": "rejected", "reason": "no operator Foo"});
        let error = push(rejected, more).await.unwrap_err();
        assert_eq!(error.exit, Exit::Refused);
        assert!(error.text.contains("cannot be served: no operator Foo"), "{error}");
    }
}
