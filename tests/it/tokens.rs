//! JSON web tokens and client certificates: who gets in with them, and who does not.

use std::sync::{Arc, Mutex};
use std::time::{SystemTime, UNIX_EPOCH};

use jsonwebtoken::jwk::Jwk;
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tonic::Code;
use weighbridge_tests::gateway::any_row;
use weighbridge_tests::grpc::{self, Grpc};
use weighbridge_tests::onnx::tag;
use weighbridge_tests::{Answer, Gateway, Start, tls, wait};

const RSA: &[u8] = include_bytes!("tokens/rsa.key.pem");
const RSA_PUBLIC: &[u8] = include_bytes!("tokens/rsa.pem");
const P256: &[u8] = include_bytes!("tokens/p256.key.pem");
const P256_PUBLIC: &[u8] = include_bytes!("tokens/p256.pem");
const ED25519: &[u8] = include_bytes!("tokens/ed25519.key.pem");
const ED25519_PUBLIC: &[u8] = include_bytes!("tokens/ed25519.pem");
/// Of nobody that any gateway knows.
const OTHER: &[u8] = include_bytes!("tokens/other.key.pem");
const SECRET: &[u8] = b"a secret that only tests know, 32 bytes and more";

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_secs()
}

/// Claims that are right for the issuer `iss`, with `changes` in them; null takes one out.
fn claims(iss: &str, changes: &Value) -> Value {
    let mut claims = json!({
        "iss": iss, "aud": "weighbridge", "sub": "ada", "scope": "predict openid",
        "exp": now() + 600,
    });
    for (name, value) in changes.as_object().into_iter().flatten() {
        match value {
            Value::Null => drop(claims.as_object_mut().expect("claims").remove(name)),
            value => claims[name] = value.clone(),
        }
    }
    claims
}

fn key(algorithm: Algorithm, pem: &[u8]) -> EncodingKey {
    match algorithm {
        Algorithm::HS256 => EncodingKey::from_secret(pem),
        Algorithm::ES256 => EncodingKey::from_ec_pem(pem).expect("a key"),
        Algorithm::EdDSA => EncodingKey::from_ed_pem(pem).expect("a key"),
        _ => EncodingKey::from_rsa_pem(pem).expect("a key"),
    }
}

fn sign(algorithm: Algorithm, pem: &[u8], kid: Option<&str>, claims: &Value) -> String {
    let header = Header { kid: kid.map(str::to_owned), ..Header::new(algorithm) };
    jsonwebtoken::encode(&header, claims, &key(algorithm, pem)).expect("a token")
}

/// Adds an issuer of that name, whose `iss` is `https://NAME.test`.
fn issuer(start: Start, name: &str, algorithms: &str, keys: &str) -> Start {
    let of = |field: &str| format!("issuers.{name}.{field}");
    start
        .setting(&of("issuer"), &format!("https://{name}.test"))
        .setting(&of("audience"), "other, weighbridge")
        .setting(&of("algorithms"), algorithms)
        .setting(&of("keys"), keys)
}

fn start() -> Start {
    let start = Gateway::start().model("fraud", &tag(1.0)).model("churn", &tag(2.0));
    start.setting("auth.data_plane", "keys")
}

/// One issuer with an RSA key in a file, and one for each other kind.
async fn gateway() -> Gateway {
    let mut start = start();
    for (name, algorithms, key) in [
        ("rsa", "RS256,PS256", RSA_PUBLIC),
        ("p256", "ES256", P256_PUBLIC),
        ("ed", "EdDSA", ED25519_PUBLIC),
        ("hs", "HS256", SECRET),
    ] {
        let file = start.file(&format!("{name}.pub"), key).display().to_string();
        start = issuer(start, name, algorithms, &file);
    }
    start.setting("issuers.rsa.leeway", "5s").ready().await
}

async fn infer(gateway: &Gateway, model: &str, token: &str) -> Answer {
    let data = gateway.data.with_key(Some(token));
    data.post(&format!("/v2/models/{model}/infer"), &any_row()).await
}

#[tokio::test]
async fn tokens_of_every_kind_of_key_are_accepted() {
    let gateway = gateway().await;
    for (name, algorithm, key) in [
        ("rsa", Algorithm::RS256, RSA),
        ("rsa", Algorithm::PS256, RSA),
        ("p256", Algorithm::ES256, P256),
        ("ed", Algorithm::EdDSA, ED25519),
        ("hs", Algorithm::HS256, SECRET),
    ] {
        let token =
            sign(algorithm, key, None, &claims(&format!("https://{name}.test"), &json!({})));
        for _ in 0..3 {
            infer(&gateway, "fraud", &token).await.expect(200);
        }
    }
    let many = json!({"aud": ["elsewhere", "weighbridge"], "scope": ["predict:fra*", "email"]});
    let token = sign(Algorithm::RS256, RSA, None, &claims("https://rsa.test", &many));
    infer(&gateway, "fraud", &token).await.expect(200);
    infer(&gateway, "churn", &token).await.refused(403, &["predict:churn"]);
}

#[tokio::test]
async fn each_token_that_is_not_right_is_refused_and_counted() {
    let gateway = gateway().await;
    let rsa = "https://rsa.test";
    let with = |changes: Value| sign(Algorithm::RS256, RSA, None, &claims(rsa, &changes));
    let right = with(json!({}));
    let (head, rest) = right.split_once('.').expect("three parts");
    let (body, signature) = rest.split_once('.').expect("three parts");
    let encode = |text: &str| {
        use base64::Engine as _;
        base64::prelude::BASE64_URL_SAFE_NO_PAD.encode(text)
    };
    let headed = |header: &str| format!("{}.{body}.{signature}", encode(header));
    // Signed with the public key as if that were a secret: the classic confusion.
    let confused = sign(Algorithm::HS256, RSA_PUBLIC, None, &claims(rsa, &json!({})));
    let table = [
        ("expired_token", with(json!({"exp": now() - 60})), 401, "exp"),
        ("not_yet_valid", with(json!({"nbf": now() + 600})), 401, "nbf"),
        ("wrong_audience", with(json!({"aud": "elsewhere"})), 401, "aud"),
        ("wrong_issuer", with(json!({"iss": "https://evil.test"})), 401, "iss"),
        ("bad_claim", with(json!({"exp": null})), 401, "exp"),
        ("bad_claim", with(json!({"aud": null})), 401, "aud"),
        ("bad_claim", with(json!({"exp": "soon"})), 401, "exp"),
        ("bad_claim", with(json!({"sub": null})), 401, "sub"),
        ("bad_claim", with(json!({"sub": "a\nb"})), 401, "sub"),
        ("bad_claim", with(json!({"iss": null})), 401, "no claim iss"),
        ("wrong_algorithm", confused, 401, "alg"),
        ("wrong_algorithm", headed(r#"{"alg":"none"}"#), 401, "alg"),
        ("wrong_algorithm", format!("{}.{body}.", encode(r#"{"alg":"none"}"#)), 401, "alg"),
        ("wrong_algorithm", headed(r#"{"alg":"HS256"}"#), 401, "alg"),
        ("wrong_algorithm", headed(r#"{"alg":"ES256"}"#), 401, "alg"),
        ("wrong_algorithm", headed(r#"{"alg":"RS512"}"#), 401, "alg"),
        ("bad_signature", headed(r#"{"alg":"PS256"}"#), 401, "signature"),
        (
            "bad_signature",
            sign(Algorithm::RS256, OTHER, None, &claims(rsa, &json!({}))),
            401,
            "sig",
        ),
        ("bad_signature", format!("{head}.{body}.{}", &signature[4..]), 401, "signature"),
        ("malformed", headed(r#"{"alg":"RS256","crit":["x"]}"#), 401, "crit"),
        ("malformed", format!("{head}.{body}"), 401, ""),
        ("malformed", "a.b.c".to_owned(), 401, "token"),
        ("malformed", ".".to_owned(), 401, "token"),
        ("malformed", format!("{}.{}", "a".repeat(20_000), "b"), 401, "bytes"),
        ("unknown_key", "wbk_0123".to_owned(), 401, "not valid"),
        ("no_scope", with(json!({"scope": "openid"})), 403, "predict:fraud"),
        ("no_scope", with(json!({"scope": null})), 403, "predict:fraud"),
        // Words that many services use, and lists in another form, open nothing.
        ("no_scope", with(json!({"scope": "admin"})), 403, "predict:fraud"),
        ("no_scope", with(json!({"scope": ",admin"})), 403, "predict:fraud"),
        ("no_scope", with(json!({"scope": {"predict": true}})), 403, "predict:fraud"),
    ];
    let counted = async |reason: &str| {
        let labels = [("listener", "data"), ("reason", reason)];
        gateway.metrics().await.sum("weighbridge_auth_refused_total", &labels)
    };
    for (reason, token, status, fact) in &table {
        let before = counted(reason).await;
        let answer = infer(&gateway, "fraud", token).await;
        assert_eq!(answer.status, *status, "{reason}: {}", answer.text());
        let told = answer.json();
        assert!(told["error"].as_str().is_some_and(|text| text.contains(fact)), "{reason}: {told}");
        let by = if *status == 401 { answer.header("www-authenticate") } else { Some("Bearer") };
        assert_eq!(by, Some("Bearer"), "{reason}");
        assert_eq!(counted(reason).await, before + 1.0, "{reason}: {told}");
        // The same over gRPC.
        let calls = Grpc::to(&gateway.data.with_key(Some(token)));
        let refused = calls.infer(grpc::any_row("fraud")).await.expect_err("a refusal");
        let code = if *status == 401 { Code::Unauthenticated } else { Code::PermissionDenied };
        assert_eq!(refused.code(), code, "{reason}: {refused:?}");
        // A token that opens no model at all is refused before the message is read.
        let fact = if *status == 403 { "needs the scope predict" } else { fact };
        assert!(refused.message().contains(fact), "{reason}: {refused:?}");
        assert_eq!(counted(reason).await, before + 2.0, "{reason}: {refused:?}");
    }
    infer(&gateway, "fraud", &right).await.expect(200);
    // A forbidden model and one that is not there look the same.
    let fraud_only = with(json!({"scope": "predict:fraud"}));
    infer(&gateway, "nothing", &fraud_only).await.refused(403, &["predict:nothing"]);
    infer(&gateway, "nothing", &right).await.refused(404, &["nothing"]);
    let listed = gateway.data.with_key(Some(&fraud_only)).get("/v2/models").await.expect(200);
    assert_eq!(listed.json()["models"], json!(["fraud"]));
}

#[tokio::test]
async fn a_token_that_was_accepted_is_refused_once_it_has_expired() {
    let gateway = gateway().await;
    // The leeway of this issuer is five seconds.
    let brief = json!({"exp": now() - 3});
    let token = sign(Algorithm::RS256, RSA, None, &claims("https://rsa.test", &brief));
    infer(&gateway, "fraud", &token).await.expect(200);
    let refused = wait::until("it expires", async || {
        let answer = infer(&gateway, "fraud", &token).await;
        (answer.status != 200).then_some(answer)
    });
    refused.await.refused(401, &["exp"]);
}

#[tokio::test]
async fn claims_name_the_tenant_and_its_tier() {
    let mut start = start();
    let file = start.file("rsa.pub", RSA_PUBLIC).display().to_string();
    start = issuer(start, "corp", "RS256", &file)
        .setting("issuers.corp.tenant_claim", "org")
        .setting("issuers.corp.tier_claim", "plan")
        .setting("issuers.corp.scope_claim", "perm")
        .setting("issuers.corp.scopes", "predict")
        .setting("tiers.small.requests", "1/h");
    let gateway = start.ready().await;
    let token = |sub: &str, org: &str, plan: &str| {
        let own = json!({"sub": sub, "org": org, "plan": plan});
        sign(Algorithm::RS256, RSA, None, &claims("https://corp.test", &own))
    };
    infer(&gateway, "fraud", &token("ada", "acme", "small")).await.expect(200);
    // Two of one tenant share its rate; another tenant, and one of no known tier, do not.
    let second = infer(&gateway, "fraud", &token("bob", "acme", "small")).await;
    second.refused(429, &["1/h", "fraud"]);
    infer(&gateway, "fraud", &token("eve", "other", "small")).await.expect(200);
    for _ in 0..3 {
        infer(&gateway, "fraud", &token("ada", "third", "unheard-of")).await.expect(200);
    }
    let without = sign(Algorithm::RS256, RSA, None, &claims("https://corp.test", &json!({})));
    infer(&gateway, "fraud", &without).await.refused(401, &["org"]);
}

/// Serves whatever key set stands in `body`, and counts how often it was asked; `None` is a
/// server in trouble.
async fn key_server(body: Arc<Mutex<(Option<String>, usize)>>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let url = format!("http://{}/keys", listener.local_addr().expect("an address"));
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") && stream.read_buf(&mut head).await.unwrap_or(0) > 0
            {
            }
            let (status, text) = {
                let mut asked = body.lock().expect("not poisoned");
                asked.1 += 1;
                match &asked.0 {
                    Some(keys) => ("200 OK", keys.clone()),
                    None => ("500 Oh no", String::new()),
                }
            };
            let length = text.len();
            let answer = format!(
                "HTTP/1.1 {status}\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{text}"
            );
            let _ = stream.write_all(answer.as_bytes()).await;
        }
    });
    url
}

fn key_set(keys: &[(&str, Algorithm, &[u8])]) -> String {
    let jwk = |(kid, algorithm, pem): &(&str, Algorithm, &[u8])| {
        let mut jwk = Jwk::from_encoding_key(&key(*algorithm, pem), *algorithm).expect("a JWK");
        jwk.common.key_id = Some((*kid).to_owned());
        jwk
    };
    let mut set = json!({"keys": keys.iter().map(jwk).collect::<Vec<_>>()});
    // Sets hold keys of other kinds too, and a symmetric one must never count.
    let more = json!({"kty": "oct", "k": "c2VjcmV0", "kid": "oct", "alg": "HS256"});
    set["keys"].as_array_mut().expect("keys").push(more);
    set["keys"].as_array_mut().expect("keys").push(json!({"kty": "AKP", "kid": "pq"}));
    set.to_string()
}

#[tokio::test]
async fn keys_from_a_url_are_renewed_when_they_change_and_kept_when_it_fails() {
    let keys = Arc::new(Mutex::new((None, 0)));
    let url = key_server(Arc::clone(&keys)).await;
    let set = |text: Option<String>| keys.lock().expect("not poisoned").0 = text;
    let asked = || keys.lock().expect("not poisoned").1;
    let gateway = issuer(start(), "idp", "RS256,ES256", &url).ready().await;
    let iss = "https://idp.test";
    let first = sign(Algorithm::RS256, RSA, Some("first"), &claims(iss, &json!({})));
    let second = sign(Algorithm::ES256, P256, Some("second"), &claims(iss, &json!({})));
    // No key yet, and that is no fault of the token.
    let early = infer(&gateway, "fraud", &first).await.refused(503, &["idp"]);
    assert!(early.header("retry-after").is_some());

    set(Some(key_set(&[("first", Algorithm::RS256, RSA)])));
    let accepted = async |token: &str| {
        wait::until("the token is accepted", async || {
            (infer(&gateway, "fraud", token).await.status == 200).then_some(())
        })
        .await;
    };
    accepted(&first).await;
    infer(&gateway, "fraud", &second).await.refused(401, &["kid"]);
    let symmetric = sign(Algorithm::HS256, b"secret", Some("oct"), &claims(iss, &json!({})));
    infer(&gateway, "fraud", &symmetric).await.refused(401, &["alg"]);

    // Tokens with key ids that nobody has do not make it ask again and again.
    let before = asked();
    for number in 0..50 {
        let kid = format!("made-up-{number}");
        let token = sign(Algorithm::RS256, OTHER, Some(&kid), &claims(iss, &json!({})));
        infer(&gateway, "fraud", &token).await.refused(401, &["kid"]);
    }
    assert!(asked() <= before + 2, "asked {} times", asked() - before);

    let both = [("first", Algorithm::RS256, RSA), ("second", Algorithm::ES256, P256)];
    set(Some(key_set(&both)));
    accepted(&second).await;
    set(None);
    for token in [&first, &second] {
        infer(&gateway, "fraud", token).await.expect(200);
    }
    // What is no key set changes nothing either.
    set(Some("nothing of the kind".to_owned()));
    infer(&gateway, "fraud", &first).await.expect(200);
}

#[tokio::test]
async fn a_client_certificate_is_a_credential() {
    let mut start = start();
    for (setting, name, bytes) in [
        ("server.tls_certificate", "server.pem", &include_bytes!("tls/first.pem")[..]),
        ("server.tls_key", "server.key.pem", include_bytes!("tls/first.key.pem")),
        ("server.tls_client_ca", "clients.pem", include_bytes!("tls/clients.pem")),
    ] {
        let file = start.file(name, bytes).display().to_string();
        start = start.setting(setting, &file);
    }
    let gateway = start
        .setting("clients.billing.subject", "billing.example")
        .setting("clients.billing.scopes", "predict:fraud")
        .ready()
        .await;
    let client = |identity: Option<[&[u8]; 2]>| {
        let root = reqwest::Certificate::from_pem(tls::ROOT).expect("a certificate");
        let client = reqwest::Client::builder().no_proxy().tls_certs_only([root]);
        let client = match identity {
            Some(parts) => {
                let pem = parts.concat();
                client.identity(reqwest::Identity::from_pem(&pem).expect("an identity"))
            }
            None => client,
        };
        client.build().expect("a client")
    };
    let billing: [&[u8]; 2] =
        [include_bytes!("tls/billing.pem"), include_bytes!("tls/billing.key.pem")];
    let stranger: [&[u8]; 2] =
        [include_bytes!("tls/stranger.pem"), include_bytes!("tls/stranger.key.pem")];
    let foreign: [&[u8]; 2] =
        [include_bytes!("tls/second.pem"), include_bytes!("tls/second.key.pem")];
    let ask = async |client: &reqwest::Client, model: &str, key: Option<&str>| {
        let url = format!("{}/v2/models/{model}/infer", gateway.data.url);
        let mut request = client.post(url.replace("127.0.0.1", "localhost")).json(&any_row());
        if let Some(key) = key {
            request = request.bearer_auth(key);
        }
        request.send().await.map(|answer| answer.status().as_u16())
    };
    let known = client(Some(billing));
    assert_eq!(ask(&known, "fraud", None).await.expect("an answer"), 200);
    assert_eq!(ask(&known, "churn", None).await.expect("an answer"), 403);
    // What the request itself says comes first.
    assert_eq!(ask(&known, "fraud", Some("wbk_wrong")).await.expect("an answer"), 401);
    let admin = gateway.admin.key.clone().expect("a key");
    assert_eq!(ask(&known, "churn", Some(&admin)).await.expect("an answer"), 200);
    assert_eq!(ask(&client(Some(stranger)), "fraud", None).await.expect("an answer"), 401);
    assert_eq!(ask(&client(None), "fraud", None).await.expect("an answer"), 401);
    assert_eq!(ask(&client(None), "fraud", Some(&admin)).await.expect("an answer"), 200);
    assert!(ask(&client(Some(foreign)), "fraud", None).await.is_err(), "of another authority");
    let reasons = gateway.metrics().await;
    let labels = [("listener", "data"), ("reason", "unknown_certificate")];
    assert_eq!(reasons.sum("weighbridge_auth_refused_total", &labels), 1.0);
    // What the client is not told, the operator is.
    let refused = reasons.sum("weighbridge_tls_handshakes_refused_total", &[("listener", "data")]);
    assert!(refused >= 1.0 && gateway.stderr().contains("TLS handshake"), "{}", gateway.stderr());
}
