use std::collections::BTreeSet;

use serde_json::Value;
use weighbridge_config::ExperimentSpec;
use weighbridge_protocol::v2;

use super::{admin_document, data_document, examples, page};

const API_PAGE: &str = include_str!("../../../../docs/api.md");

fn documents() -> [(&'static str, Value); 2] {
    [("Data listener", data_document().unwrap()), ("Admin listener", admin_document().unwrap())]
}

/// The operations of a document: method, path, and what is said about them.
fn operations(document: &Value) -> Vec<(String, &Value)> {
    let mut found = Vec::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        for (verb, operation) in item.as_object().unwrap() {
            found.push((format!("{} {path}", verb.to_uppercase()), operation));
        }
    }
    found
}

/// The calls of a section of `docs/api.md`, which the repository's rules hold against `routes.rs`.
fn described(section: &str) -> BTreeSet<String> {
    let start = format!("\n## {section}\n");
    let (_, rest) = API_PAGE.split_once(&start).expect("docs/api.md has the section");
    let text = rest.split("\n## ").next().unwrap();
    let cells = text.lines().filter_map(|line| line.strip_prefix("| `"));
    let calls = cells.filter_map(|rest| rest.split_once('`')).map(|(call, _)| call.to_owned());
    calls.filter(|call| call.contains(" /")).collect()
}

#[test]
fn each_route_is_in_the_document_of_its_listener() {
    for (listener, document) in documents() {
        let documented: BTreeSet<String> =
            operations(&document).into_iter().map(|(call, _)| call).collect();
        let described = described(listener);
        let missing: Vec<_> = described.difference(&documented).collect();
        let gone: Vec<_> = documented.difference(&described).collect();
        assert!(
            missing.is_empty() && gone.is_empty(),
            "{listener}: not in the document {missing:?}, not in docs/api.md {gone:?}; \
             gateway/src/api/openapi.rs says how a route is added"
        );
    }
}

#[test]
fn operations_say_what_they_do() {
    for (listener, document) in documents() {
        let tags: Vec<&Value> =
            document["tags"].as_array().unwrap().iter().map(|tag| &tag["name"]).collect();
        let mut ids = BTreeSet::new();
        for (call, operation) in operations(&document) {
            let id = operation["operationId"].as_str().expect(&call);
            assert!(ids.insert(id), "{listener}: {id} stands twice");
            assert!(!operation["summary"].as_str().expect(&call).is_empty(), "{call}");
            assert!(tags.contains(&&operation["tags"][0]), "{call}: its tag is not declared");
            let responses = operation["responses"].as_object().unwrap();
            assert!(responses.keys().any(|status| status.starts_with('2')), "{call}");
            for (status, response) in responses {
                assert!(!response["description"].as_str().unwrap().is_empty(), "{call}: {status}");
                assert!(response["content"].is_object(), "{call}: {status} has no form");
                assert!(response["headers"]["x-request-id"].is_object(), "{call}: {status}");
            }
            let is_guarded = operation.get("security").is_some();
            assert_eq!(responses.contains_key("401"), is_guarded, "{call}");
            let names_admin = call.contains(" /admin/v1/");
            assert!(is_guarded || !names_admin, "{call} is open to everybody");
        }
    }
}

#[test]
fn scopes_are_those_that_are_asked_for() {
    let scopes = |document: &Value, path: &str, verb: &str| {
        document["paths"][path][verb]["security"][0]["bearer"].clone()
    };
    let [(_, data), (_, admin)] = documents();
    assert_eq!(scopes(&data, "/v2/models/{model}/infer", "post"), serde_json::json!(["predict"]));
    assert_eq!(scopes(&admin, "/admin/v1/status", "get"), serde_json::json!([]));
    assert_eq!(scopes(&admin, "/admin/v1/keys", "get"), serde_json::json!(["admin:read"]));
    assert_eq!(scopes(&admin, "/admin/v1/keys", "post"), serde_json::json!(["admin:write"]));
    let promote = scopes(&admin, "/admin/v1/models/{model}/promote", "post");
    assert_eq!(promote, serde_json::json!(["admin:rollout"]));
    assert_eq!(data["paths"]["/v2/health/live"]["get"].get("security"), None);
}

fn references(value: &Value, found: &mut BTreeSet<String>) {
    match value {
        Value::Object(members) => {
            for (name, member) in members {
                match member.as_str().filter(|_| name == "$ref") {
                    Some(to) => drop(found.insert(to.to_owned())),
                    None => references(member, found),
                }
            }
        }
        Value::Array(items) => items.iter().for_each(|item| references(item, found)),
        _ => {}
    }
}

#[test]
fn references_lead_somewhere() {
    for (listener, document) in documents() {
        let mut found = BTreeSet::new();
        references(&document, &mut found);
        assert!(found.len() > 20, "{listener}: {found:?}");
        for to in found {
            let pointer = to.strip_prefix('#').expect("references stay in the document");
            assert!(document.pointer(pointer).is_some(), "{listener}: {to} leads nowhere");
        }
    }
}

#[test]
fn durations_are_text_everywhere() {
    let [_, (_, admin)] = documents();
    let spec = &admin["components"]["schemas"]["RolloutSpec"]["properties"];
    assert_eq!(spec["step_min"]["default"], "2m");
    assert_eq!(spec["step_min"]["type"], "string");
    assert!(!admin.to_string().contains("\"nanos\""));
}

#[test]
fn examples_are_requests() {
    assert_eq!(v2::decode(examples::infer().to_string().as_bytes()).unwrap().inputs.len(), 1);
    assert!(examples::predict()["instances"].is_array());
    ExperimentSpec::from_json(examples::experiment()["spec"].clone()).unwrap();
}

#[tokio::test]
async fn the_page_loads_nothing_from_elsewhere() {
    let response = page::page().await;
    let policy = response.headers()["content-security-policy"].to_str().unwrap().to_owned();
    assert!(policy.starts_with("default-src 'none'; script-src 'sha256-"), "{policy}");
    let body = axum::body::to_bytes(response.into_body(), 100_000).await.unwrap();
    let page = std::str::from_utf8(&body).unwrap();
    for foreign in ["http:", "https:", "src=", "@import", "url(", "/*STYLE*/", "/*SCRIPT*/"] {
        assert!(!page.contains(foreign), "{foreign}");
    }
}
