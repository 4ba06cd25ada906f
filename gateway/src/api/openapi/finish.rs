//! What is the same for many operations, and follows from where they stand: refusals, security,
//! headers.

use std::time::Duration;

use http::{Method, StatusCode};
use serde_json::{Map, Value, json};
use utoipa::openapi::OpenApi;

use super::Listener;
use crate::edge::auth::need::admin_scope_of;
use crate::edge::problem::{DATA_MEDIA_TYPE, Kind, MEDIA_TYPE};

/// Paths that are answered by the handler of another.
const SAME: [(&str, &str, &str); 7] = [
    ("/v2", "/v2/", "serverWithSlash"),
    (MODEL_VERB, "/v1/models/{model}:classify", "classify"),
    (MODEL_VERB, "/v1/models/{model}:regress", "regress"),
    (VERSION_VERB, "/v1/models/{model}/versions/{version}:classify", "classifyVersion"),
    (VERSION_VERB, "/v1/models/{model}/versions/{version}:regress", "regressVersion"),
    (ALIAS_VERB, "/v1/models/{model}/labels/{alias}:classify", "classifyAlias"),
    (ALIAS_VERB, "/v1/models/{model}/labels/{alias}:regress", "regressAlias"),
];
const MODEL_VERB: &str = "/v1/models/{model}:predict";
const VERSION_VERB: &str = "/v1/models/{model}/versions/{version}:predict";
const ALIAS_VERB: &str = "/v1/models/{model}/labels/{alias}:predict";

/// The ways a credential comes, in the order of preference.
const SCHEMES: [&str; 3] = ["bearer", "apiKey", "clientCertificate"];

/// The name of the model in paths.
const MODEL: &str = "{model}";

/// Headers of an answer to a prediction: name, type, meaning.
const OF_PREDICTIONS: [(&str, &str, &str); 5] = [
    ("weighbridge-served-version", "integer", "The version that answered."),
    (
        "weighbridge-variant",
        "string",
        "`stable`, `canary`, `variant`, `pinned`, `holdout`, or the name of an experiment's variant.",
    ),
    ("weighbridge-reason", "string", "Why this version, such as `split; point=17`."),
    (
        "weighbridge-rescued-from",
        "integer",
        "The canary that failed or overran its time, when stable answered instead of it.",
    ),
    ("server-timing", "string", "`queue;dur=…, compute;dur=…` in milliseconds."),
];

/// Headers that are not in every answer.
const SOMETIMES: [&str; 1] = ["weighbridge-rescued-from"];

/// The final form of a document.
pub fn finish(document: &OpenApi, listener: Listener) -> serde_json::Result<Value> {
    let mut document = serde_json::to_value(document)?;
    tidy(&mut document);
    if let Some(schemas) = document["components"]["schemas"].as_object_mut() {
        schemas.remove("u64");
    }
    if let Some(paths) = document["paths"].as_object_mut() {
        for (path, copy, id) in SAME {
            if let Some(mut item) = paths.get(path).cloned() {
                for operation in operations(&mut item).map(|(_, operation)| operation) {
                    operation["operationId"] = json!(id);
                    of_verb(operation, copy);
                }
                paths.insert(copy.to_owned(), item);
            }
        }
        for (path, item) in paths {
            for (method, operation) in operations(item) {
                complete(operation, &method, path, listener);
            }
        }
    }
    let components = &mut document["components"];
    components["securitySchemes"] = json!({
        "bearer": {
            "type": "http", "scheme": "bearer",
            "description": "A key, or a JSON web token of an issuer that the settings name.",
        },
        "apiKey": {"type": "apiKey", "in": "header", "name": "x-api-key", "description": "A key."},
        "clientCertificate": {
            "type": "mutualTLS",
            "description": "A client certificate that the settings know; it counts where the \
                            request itself carries nothing.",
        },
    });
    components["parameters"] = json!({"RequestId": {
        "name": "x-request-id", "in": "header", "required": false,
        "description": "Up to 128 visible ASCII characters are echoed; else an id is made.",
        "schema": {"type": "string"},
    }});
    components["headers"] = json!({
        "RequestId": {
            "required": true, "schema": {"type": "string"},
            "description": "The id of the request: the client's, or one that was made.",
        },
        "RetryAfter": {
            "required": false, "schema": {"type": "integer", "minimum": 1},
            "description": "Seconds after which the same request may succeed.",
        },
        "Challenge": {
            "required": true, "schema": {"type": "string"}, "description": "The scheme: `Bearer`.",
        },
        "Revision": {
            "required": true, "schema": {"type": "string"},
            "description": "The model's revision in double quotes, for `If-Match`.",
        },
        "RateLimitPolicy": {
            "required": false, "schema": {"type": "string"},
            "description": "Where the tenant has rates: each with its quota and window.",
        },
        "RateLimit": {
            "required": false, "schema": {"type": "string"},
            "description": "Where the tenant has rates: what remains of each, and until when.",
        },
    });
    Ok(document)
}

/// The forms of a verb that shares its handler with `:predict`.
fn of_verb(operation: &mut Value, path: &str) {
    let said = match path.rsplit_once(':') {
        Some((_, "classify")) => "Names and scores of the classes of each example, as TF Serving's",
        Some((_, "regress")) => "A number for each example, as TF Serving's",
        _ => return,
    };
    let form = |name: &str| json!({"schema": {"$ref": format!("#/components/schemas/{name}")}});
    operation["summary"] = json!(said);
    operation["requestBody"]["content"]["application/json"] = form("ExamplesRequest");
    operation["responses"]["200"]["content"]["application/json"] = form("Results");
}

/// The operations of a path.
fn operations(item: &mut Value) -> impl Iterator<Item = (Method, &mut Value)> {
    let members = item.as_object_mut().into_iter().flatten();
    members.filter_map(|(word, operation)| {
        let method = Method::from_bytes(word.to_uppercase().as_bytes()).ok()?;
        let is_verb = matches!(word.as_str(), "get" | "put" | "post" | "patch" | "delete");
        is_verb.then_some((method, operation))
    })
}

fn complete(operation: &mut Value, method: &Method, path: &str, listener: Listener) {
    let scope = scope_of(operation, method, path);
    let has_body = operation.get("requestBody").is_some();
    let has_parameters = operation.get("parameters").is_some();
    let mut refusals = Vec::new();
    if has_body || has_parameters {
        refusals.push(400);
    }
    if has_body {
        refusals.push(413);
        if listener == Listener::Data {
            refusals.extend([408, 415]);
        }
    }
    if let Some(scope) = &scope {
        refusals.extend([401, 403, 500, 503]);
        if listener == Listener::Data && path.contains(MODEL) {
            refusals.push(429);
        }
        secure(operation, scope, listener);
    }
    for parameter in operation["parameters"].as_array_mut().into_iter().flatten() {
        without_null(&mut parameter["schema"]);
    }
    if has_body {
        for content in operation["requestBody"]["content"].as_object_mut().into_iter().flatten() {
            without_null(&mut content.1["schema"]);
        }
    }
    add_parameter(operation);
    let is_prediction = operation["tags"][0] == "predictions";
    let Some(responses) = operation["responses"].as_object_mut() else { return };
    for status in refusals {
        responses.entry(status.to_string()).or_insert_with(|| json!({}));
    }
    for (status, response) in responses {
        let Some(status) = status.parse().ok().and_then(|s| StatusCode::from_u16(s).ok()) else {
            continue;
        };
        describe(response, status, listener);
        if status.is_success() && path.ends_with("/infer") {
            // JSON first, and behind it the outputs that were asked for as bytes.
            response["content"]["application/octet-stream"] = json!({});
        }
        let mut headers = headers_of(response, status, is_prediction);
        if listener == Listener::Data && path.contains(MODEL) {
            headers.insert("RateLimit-Policy".to_owned(), header("RateLimitPolicy"));
            headers.insert("RateLimit".to_owned(), header("RateLimit"));
        }
        response["headers"] = Value::Object(headers);
    }
}

/// The scope that an operation wants; `None` where it is open to everybody, and an empty one where
/// any credential will do.
fn scope_of(operation: &Value, method: &Method, path: &str) -> Option<String> {
    match operation.get("security") {
        Some(said) => Some(said[0][SCHEMES[0]][0].as_str().unwrap_or_default().to_owned()),
        None if path.starts_with("/admin/v1/") => Some(admin_scope_of(method, path).to_string()),
        None => None,
    }
}

/// OpenAPI 3.1 has room for names of scopes in every scheme.
fn secure(operation: &mut Value, scope: &str, listener: Listener) {
    let scopes = if scope.is_empty() { json!([]) } else { json!([scope]) };
    let mut ways: Vec<Value> = SCHEMES.map(|scheme| json!({scheme: scopes})).into();
    if listener == Listener::Data {
        // The settings may open this listener to everybody.
        ways.push(json!({}));
    }
    operation["security"] = Value::Array(ways);
    let wanted = match (scope, path_has_model(operation)) {
        ("", _) => "Any credential will do.".to_owned(),
        ("predict", true) => "Scope: `predict` for this model.".to_owned(),
        ("feedback", _) => {
            "Scope: `feedback`; of who may predict some models, `predict` for this one as well."
                .to_owned()
        }
        (scope, _) => format!("Scope: `{scope}`."),
    };
    let said = operation["description"].as_str().map(|text| format!("{text}\n\n"));
    operation["description"] = json!(said.unwrap_or_default() + &wanted);
}

fn path_has_model(operation: &Value) -> bool {
    let parameters = operation["parameters"].as_array().map(Vec::as_slice).unwrap_or_default();
    parameters.iter().any(|parameter| parameter["name"] == "model")
}

fn add_parameter(operation: &mut Value) {
    let request_id = json!({"$ref": "#/components/parameters/RequestId"});
    match operation["parameters"].as_array_mut() {
        Some(parameters) => parameters.push(request_id),
        None => operation["parameters"] = json!([request_id]),
    }
}

/// Refusals without a form of their own are problems.
fn describe(response: &mut Value, status: StatusCode, listener: Listener) {
    let problem = json!({"$ref": "#/components/schemas/Problem"});
    let media_type = match listener {
        Listener::Data => DATA_MEDIA_TYPE,
        Listener::Admin => MEDIA_TYPE,
    };
    let is_refusal = status.is_client_error() || status.is_server_error();
    if is_refusal && response.get("content").is_none() {
        response["content"] = json!({media_type: {"schema": problem}});
    } else if status == StatusCode::SERVICE_UNAVAILABLE {
        // A form of its own, and a problem where the handler was not reached.
        let own = response["content"][media_type]["schema"].take();
        let schema = if own.is_null() { problem } else { json!({"anyOf": [own, problem]}) };
        response["content"][media_type] = json!({"schema": schema});
    }
    if response["description"].as_str().unwrap_or_default().is_empty() {
        let of_kind = Kind::ALL.iter().filter(|kind| kind.status() == status);
        let kinds: Vec<String> =
            of_kind.map(|kind| format!("`{}`: {}", kind.name(), kind.title())).collect();
        response["description"] = match status {
            StatusCode::CREATED => json!("It has begun."),
            StatusCode::ACCEPTED => json!("It goes on: ask for the operation."),
            _ if kinds.is_empty() => json!("The answer."),
            _ => json!(kinds.join("; ") + "."),
        };
    }
}

fn header(name: &str) -> Value {
    json!({"$ref": format!("#/components/headers/{name}")})
}

fn headers_of(response: &Value, status: StatusCode, is_prediction: bool) -> Map<String, Value> {
    let mut headers = response["headers"].as_object().cloned().unwrap_or_default();
    headers.insert("x-request-id".to_owned(), header("RequestId"));
    let shown = &response["content"]["application/json"]["schema"]["$ref"];
    if status.is_success() && *shown == "#/components/schemas/ModelView" {
        headers.insert("ETag".to_owned(), header("Revision"));
    }
    if matches!(status, StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE) {
        headers.insert("Retry-After".to_owned(), header("RetryAfter"));
    }
    if status == StatusCode::UNAUTHORIZED {
        headers.insert("WWW-Authenticate".to_owned(), header("Challenge"));
    }
    if is_prediction && status.is_success() {
        for (name, kind, meaning) in OF_PREDICTIONS {
            let is_always = !SOMETIMES.contains(&name);
            headers.insert(
                name.to_owned(),
                json!({"required": is_always, "description": meaning, "schema": {"type": kind}}),
            );
        }
    }
    headers
}

/// Puts right what the derives do not know.
fn tidy(value: &mut Value) {
    match value {
        Value::Object(members) => {
            // Keys of JSON objects are text, whatever the map of the code has.
            members.remove("propertyNames");
            // Durations are text on the wire.
            if let Some(text) = members.get("default").and_then(duration) {
                members.insert("default".to_owned(), json!(text));
            }
            // The aliases `Millis` and `Revision`.
            if members.get("$ref").is_some_and(|to| to == "#/components/schemas/u64") {
                members.remove("$ref");
                members.insert("type".to_owned(), json!("integer"));
                members.insert("minimum".to_owned(), json!(0));
            }
            widen(members);
            members.values_mut().for_each(tidy);
        }
        Value::Array(items) => items.iter_mut().for_each(tidy),
        _ => {}
    }
}

/// Unsigned numbers reach further than the formats that the derives give them.
fn widen(members: &mut Map<String, Value>) {
    let is_unsigned = members.get("minimum").is_some_and(Value::is_u64);
    let format = members.get("format").and_then(Value::as_str).filter(|_| is_unsigned);
    match format {
        Some("int32") => drop(members.entry("maximum").or_insert_with(|| json!(u32::MAX))),
        Some("int64") => {}
        _ => return,
    }
    members.remove("format");
}

/// A duration as serde writes it by itself, as it is written here.
fn duration(value: &Value) -> Option<String> {
    let (seconds, nanos) = (value.get("secs")?.as_u64()?, value.get("nanos")?.as_u64()?);
    let duration = Duration::new(seconds, u32::try_from(nanos).ok()?);
    Some(humantime::format_duration(duration).to_string())
}

/// What may be left out is not `null` for that: there is no such header or parameter, and no such
/// body.
fn without_null(schema: &mut Value) {
    if let Some(types) = schema["type"].as_array() {
        let named = types.iter().find(|t| *t != "null").cloned();
        schema["type"] = named.unwrap_or_default();
    }
    let choices = schema["oneOf"].as_array().cloned().unwrap_or_default();
    if let [one, other] = choices.as_slice()
        && other["type"] == "null"
    {
        *schema = one.clone();
    }
}
