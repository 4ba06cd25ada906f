//! Who may do what, and that secrets stay secret.

use std::os::unix::fs::PermissionsExt;

use http::Method;
use serde_json::{Value, json};
use weighbridge_tests::gateway::any_row;
use weighbridge_tests::onnx::tag;
use weighbridge_tests::{Gateway, Listener, wait};

async fn create(gateway: &Gateway, role: &str, expires_in_s: Option<u64>) -> Value {
    let body = json!({"name": format!("a {role} key"), "role": role, "expires_in_s": expires_in_s});
    gateway.admin.post("/admin/v1/keys", &body).await.expect(200).json()
}

fn secret(created: &Value) -> &str {
    created["secret"].as_str().expect("a secret")
}

async fn infer(data: &Listener) -> weighbridge_tests::Answer {
    data.post("/v2/models/fraud/infer", &any_row()).await
}

#[tokio::test]
async fn the_admin_api_wants_an_admin_key() {
    let gateway = Gateway::start().ready().await;
    let (predict, metrics) =
        (create(&gateway, "predict", None).await, create(&gateway, "metrics", None).await);
    let with = |key: Option<&str>| gateway.admin.with_key(key);
    let get = async |key: Option<&str>, path: &str| with(key).get(path).await;
    for (path, scope) in [
        ("/admin/v1/models", "admin:read"),
        ("/admin/v1/keys", "admin:read"),
        ("/metrics", "scope metrics"),
    ] {
        let missing = get(None, path).await.refused(401, &["key"]);
        assert_eq!(missing.header("www-authenticate"), Some("Bearer"));
        get(Some("wbk_wrong"), path).await.refused(401, &["not valid"]);
        get(Some(secret(&predict)), path).await.refused(403, &[scope]);
    }
    get(Some(secret(&metrics)), "/metrics").await.expect(200);
    get(Some(secret(&metrics)), "/admin/v1/models").await.refused(403, &["admin"]);
    get(None, "/v2/health/ready").await.expect(200);
    let other_header = with(None).ask(Method::GET, "/admin/v1/models");
    let key = gateway.admin.key.clone().unwrap();
    other_header.header("x-api-key", &key).send().await.expect(200);
    with(None).post("/admin/v1/models/x/versions", &json!({})).await.refused(401, &[]);
}

#[tokio::test]
async fn a_revoked_key_opens_nothing_at_once_and_an_expired_one_soon() {
    let gateway = Gateway::start().ready().await;
    let admin = create(&gateway, "admin", None).await;
    let by_key = gateway.admin.with_key(Some(secret(&admin)));
    by_key.get("/admin/v1/models").await.expect(200);
    let prefix = admin["key"]["prefix"].as_str().unwrap();
    gateway.cli(&["keys", "revoke", prefix]).await.ended(0, &["a admin key"]);
    by_key.get("/admin/v1/models").await.refused(401, &["not valid"]);
    gateway.cli(&["status", "--key", secret(&admin)]).await.ended(4, &[]);

    // By all of a secret, too: it is what one has of a key that has leaked. Nobody else learns it.
    let leaked = create(&gateway, "predict", None).await;
    gateway.cli(&["keys", "revoke", secret(&leaked)]).await.ended(0, &["revoked key"]);
    let again = format!("/admin/v1/keys/{}", secret(&leaked));
    gateway.admin.delete(&again).await.expect(200);
    gateway.admin.delete(&again.replace("wbk_", "wbk_x")).await.refused(404, &["wbk_x"]);
    assert!(!gateway.stderr().contains(secret(&leaked)), "{}", gateway.stderr());
    assert!(!gateway.stderr().contains(&secret(&leaked)[20..]), "{}", gateway.stderr());

    let brief = create(&gateway, "admin", Some(1)).await;
    let by_key = gateway.admin.with_key(Some(secret(&brief)));
    by_key.get("/admin/v1/models").await.expect(200);
    let refused = wait::until("the key expires", async || {
        let answer = by_key.get("/admin/v1/models").await;
        (answer.status != 200).then_some(answer)
    })
    .await;
    refused.refused(401, &["not valid"]);
    let listed = gateway.cli(&["keys", "list"]).await.ended(0, &["revoked", "expired", "valid"]);
    assert!(!listed.stdout.contains(secret(&brief)));
}

#[tokio::test]
async fn predictions_want_a_key_when_the_settings_say_so() {
    let start = Gateway::start().model("fraud", &tag(1.0));
    let gateway = start.setting("auth.data_plane", "keys").ready().await;
    let predict = create(&gateway, "predict", None).await;
    let metrics = create(&gateway, "metrics", None).await;
    infer(&gateway.data).await.refused(401, &["key"]);
    infer(&gateway.data.with_key(Some("wbk_wrong"))).await.refused(401, &["not valid"]);
    infer(&gateway.data.with_key(Some(secret(&metrics)))).await.refused(403, &["predict"]);
    infer(&gateway.data.with_key(Some(secret(&predict)))).await.expect(200);
    infer(&gateway.data.with_key(gateway.admin.key.as_deref())).await.expect(200);
    for path in ["/v2/models", "/v2/models/fraud", "/v1/models/fraud"] {
        gateway.data.get(path).await.refused(401, &[]);
    }
    for path in ["/", "/v2", "/v2/health/live", "/v2/health/ready"] {
        gateway.data.get(path).await.expect(200);
    }
    let body = gateway.file("row.json", any_row().to_string().as_bytes());
    gateway.cli(&["predict", "fraud", "--file", body.to_str().unwrap()]).await.ended(0, &["y"]);
}

#[tokio::test]
async fn the_admin_key_is_in_its_file_only() {
    let start = Gateway::start().demo().setting("logging.level", "trace");
    let mut gateway = start.setting("logging.access", "all").ready().await;
    let created = create(&gateway, "predict", None).await;
    gateway.admin.get("/admin/v1/keys").await.expect(200);
    gateway.data.with_key(Some(secret(&created))).get("/v2/models").await.expect(200);
    let file = gateway.data_dir().join("admin-key");
    let mode = std::fs::metadata(&file).expect("the file").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let mode = std::fs::metadata(gateway.data_dir()).expect("the folder").permissions().mode();
    assert_eq!(mode & 0o077, 0, "nobody else looks into the data folder");
    gateway.terminate().await;
    let key = gateway.admin.key.clone().expect("a key");
    let said = gateway.stdout() + &gateway.stderr();
    assert!(said.contains("admin-key") && said.contains("answered"), "it did log:\n{said}");
    for hidden in [key.as_str(), secret(&created)] {
        assert!(!said.contains(hidden), "a key was shown");
    }
    let registry = std::fs::read(gateway.data_dir().join("registry.sqlite")).expect("registry");
    let holds = |secret: &str| registry.windows(secret.len()).any(|part| part == secret.as_bytes());
    assert!(!holds(&key) && !holds(secret(&created)), "keys are stored as hashes");
}

#[tokio::test]
async fn a_lost_key_is_replaced_while_the_gateway_is_stopped() {
    let mut gateway = Gateway::start().ready().await;
    let offline = ["keys", "create", "rescue", "--role", "admin", "--offline"];
    gateway.cli(&offline).await.ended(1, &["in use by another weighbridge"]);
    gateway.terminate().await;
    std::fs::remove_file(gateway.data_dir().join("admin-key")).expect("it was there");
    let created = gateway.cli(&offline).await.ended(0, &[]);
    let secret = created.stdout.trim();
    gateway.restart().await;
    assert_eq!(gateway.admin.key.as_deref(), Some(secret), "the CLI finds the new one");
    gateway.cli(&["keys", "list"]).await.ended(0, &["rescue", "first admin key"]);
}
