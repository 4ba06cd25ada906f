//! TLS on both listeners: who is trusted, and certificates that change under way.

use std::sync::Arc;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::crypto::aws_lc_rs;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, RootCertStore};
use tonic::transport::{Certificate, Channel, ClientTlsConfig};
use weighbridge_grpc::inference::grpc_inference_service_client::GrpcInferenceServiceClient;
use weighbridge_tests::gateway::any_row;
use weighbridge_tests::onnx::tag;
use weighbridge_tests::{Gateway, Invocation, grpc, tls, wait};

const FIRST: (&[u8], &[u8]) =
    (include_bytes!("tls/first.pem"), include_bytes!("tls/first.key.pem"));
const SECOND: (&[u8], &[u8]) =
    (include_bytes!("tls/second.pem"), include_bytes!("tls/second.key.pem"));

/// A gateway with the first certificate on both listeners.
async fn gateway() -> Gateway {
    let mut start = Gateway::start().model("m", &tag(1.0));
    let certificate = start.file("server.pem", FIRST.0).display().to_string();
    let key = start.file("server.key.pem", FIRST.1).display().to_string();
    for listener in ["server", "admin"] {
        start = start.setting(&format!("{listener}.tls_certificate"), &certificate);
        start = start.setting(&format!("{listener}.tls_key"), &key);
    }
    start.ready().await
}

/// A connection to the data listener that offers `protocol`.
async fn connect(gateway: &Gateway, protocol: &[u8]) -> TlsStream<TcpStream> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(tls::ROOT).unwrap()).unwrap();
    let provider = Arc::new(aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider);
    let config = config.with_safe_default_protocol_versions().unwrap();
    let mut config = config.with_root_certificates(roots).with_no_client_auth();
    config.alpn_protocols = vec![protocol.to_vec()];
    let tcp = TcpStream::connect(gateway.data.address()).await.unwrap();
    let name = ServerName::try_from("localhost").unwrap();
    TlsConnector::from(Arc::new(config)).connect(name, tcp).await.expect("a handshake")
}

fn certificate(stream: &TlsStream<TcpStream>) -> CertificateDer<'static> {
    let shown = stream.get_ref().1.peer_certificates().expect("a certificate");
    shown[0].clone().into_owned()
}

fn of(pem: &[u8]) -> CertificateDer<'static> {
    CertificateDer::from_pem_slice(pem).unwrap()
}

/// Asks for liveness on a connection that stays.
async fn ask(stream: &mut TlsStream<TcpStream>) {
    stream.write_all(b"GET /v2/health/live HTTP/1.1\r\nhost: localhost\r\n\r\n").await.unwrap();
    let mut came = Vec::new();
    while !came.windows(4).any(|four| four == b"\r\n\r\n") {
        assert_ne!(stream.read_buf(&mut came).await.expect("an answer"), 0, "it was closed");
    }
    assert!(came.starts_with(b"HTTP/1.1 200"), "{}", String::from_utf8_lossy(&came));
}

#[tokio::test]
async fn both_listeners_speak_tls_and_nothing_else() {
    let gateway = gateway().await;
    assert!(gateway.data.url.starts_with("https://") && gateway.admin.url.starts_with("https://"));
    gateway.infer("m", &any_row()).await.expect(200);
    gateway.admin.get("/admin/v1/status").await.expect(200);
    for protocol in [&b"h2"[..], b"http/1.1"] {
        let stream = connect(&gateway, protocol).await;
        assert_eq!(stream.get_ref().1.alpn_protocol(), Some(protocol));
    }
    // Who speaks without TLS gets no answer, and no place that others need.
    let mut plain = TcpStream::connect(gateway.data.address()).await.unwrap();
    plain.write_all(b"GET /v2/health/live HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
    let mut came = Vec::new();
    let _ = plain.read_to_end(&mut came).await;
    assert!(!came.starts_with(b"HTTP"), "{}", String::from_utf8_lossy(&came));
    gateway.infer("m", &any_row()).await.expect(200);
}

#[tokio::test]
async fn the_command_line_trusts_whom_it_is_told_to() {
    let gateway = gateway().await;
    let root = gateway.file("root.pem", tls::ROOT);
    let root = root.to_str().expect("text");
    gateway.cli(&["models", "--ca", root]).await.ended(0, &["m"]);
    gateway.cli(&["models", "--insecure"]).await.ended(0, &["m"]);
    // The key does not go to whom the system does not trust.
    gateway.cli(&["models"]).await.ended(3, &["certificate"]);
    let body = gateway.file("body.json", any_row().to_string().as_bytes());
    let body = body.to_str().expect("text");
    gateway.cli(&["predict", "m", "--file", body, "--ca", root]).await.ended(0, &[]);
}

#[tokio::test]
async fn the_command_line_may_show_a_certificate() {
    let mut start = Gateway::start().model("m", &tag(1.0));
    for (setting, name, bytes) in [
        ("admin.tls_certificate", "server.pem", FIRST.0),
        ("admin.tls_key", "server.key.pem", FIRST.1),
        ("admin.tls_client_ca", "clients.pem", include_bytes!("tls/clients.pem")),
    ] {
        let file = start.file(name, bytes).display().to_string();
        start = start.setting(setting, &file);
    }
    let start = start.setting("clients.ops.subject", "billing.example");
    let gateway = start.setting("clients.ops.scopes", "admin:read").ready().await;
    let root = gateway.file("root.pem", tls::ROOT);
    let both = [&include_bytes!("tls/billing.pem")[..], include_bytes!("tls/billing.key.pem")];
    let own = gateway.file("ops.pem", &both.concat());
    let shown = ["--ca", root.to_str().expect("text"), "--cert", own.to_str().expect("text")];
    let run = async |args: &[&str]| gateway.cli(&[args, &shown].concat()).await;
    run(&["models"]).await.ended(0, &["m"]);
    run(&["configure", "m", "timeout=1s"]).await.ended(4, &["admin:write", "certificate is from"]);
    gateway
        .cli(&["models", "--url", "http://127.0.0.1:1", "--cert", shown[3]])
        .await
        .ended(2, &["https"]);
}

#[tokio::test]
async fn grpc_comes_over_tls() {
    let gateway = gateway().await;
    let address = gateway.data.url.replace("127.0.0.1", "localhost");
    let root = Certificate::from_pem(tls::ROOT);
    let trusting = ClientTlsConfig::new().ca_certificate(root);
    let endpoint = Channel::from_shared(address).expect("an address");
    let channel = endpoint.tls_config(trusting).expect("a configuration").connect_lazy();
    let mut client = GrpcInferenceServiceClient::new(channel);
    let answer = client.model_infer(grpc::any_row("m")).await.expect("an answer").into_inner();
    assert_eq!(grpc::floats(&answer, 0), [1.0]);
}

#[tokio::test]
async fn a_new_certificate_counts_for_new_connections_and_a_bad_one_for_none() {
    let gateway = gateway().await;
    let mut old = connect(&gateway, b"http/1.1").await;
    ask(&mut old).await;
    assert_eq!(certificate(&old), of(FIRST.0));

    // A key of another certificate.
    gateway.file("server.key.pem", SECOND.1);
    wait::until("it is told", async || {
        gateway.stderr().contains("the old one stays").then_some(())
    })
    .await;
    assert!(gateway.stderr().contains("server.key.pem"), "{}", gateway.stderr());
    assert_eq!(certificate(&connect(&gateway, b"http/1.1").await), of(FIRST.0));

    gateway.file("server.pem", SECOND.0);
    wait::until("the new certificate is shown", async || {
        (certificate(&connect(&gateway, b"http/1.1").await) == of(SECOND.0)).then_some(())
    })
    .await;
    ask(&mut old).await;
    gateway.infer("m", &any_row()).await.expect(200);
}

#[tokio::test]
async fn files_that_cannot_be_used_stop_the_start_with_their_names() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).display().to_string();
    std::fs::write(path("first.pem"), FIRST.0).unwrap();
    std::fs::write(path("second.key.pem"), SECOND.1).unwrap();
    std::fs::write(path("text.pem"), "text").unwrap();
    for (certificate, key, words) in [
        ("missing.pem", "second.key.pem", &["missing.pem", "server.tls_certificate"][..]),
        ("text.pem", "second.key.pem", &["text.pem", "no certificate"]),
        ("first.pem", "text.pem", &["text.pem", "no private key"]),
        ("first.pem", "second.key.pem", &["second.key.pem", "first.pem", "not that of"]),
        ("first.pem", "", &["server.tls_key", "server.tls_certificate"]),
    ] {
        let key = if key.is_empty() { "none".to_owned() } else { path(key) };
        let settings =
            format!("[server]\ntls_certificate = \"{}\"\ntls_key = \"{key}\"\n", path(certificate));
        std::fs::write(path("settings.toml"), settings).unwrap();
        let (file, data) = (path("settings.toml"), path("data"));
        let listen = ["--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0"];
        let args = ["serve", "--config", &*file, "--data-dir", &*data];
        let refused = Invocation::run(args.into_iter().chain(listen)).await;
        assert_ne!(refused.code, Some(0), "{certificate} {key}");
        let checked = Invocation::run(["check-config", "--config", &*file]).await;
        assert_eq!(checked.code, Some(2), "{certificate} {key}");
        for word in words {
            assert!(refused.stderr.contains(word), "{word} in {}", refused.stderr);
            assert!(checked.stdout.contains(word), "{word} in {}", checked.stdout);
        }
    }
}
