//! A/B experiments: who gets what, what is reported back, what follows.

use std::collections::BTreeMap;
use std::time::{SystemTime, UNIX_EPOCH};

use http::Method;
use serde_json::{Value, json};
use tokio::task::JoinSet;
use weighbridge_tests::gateway::any_row;
use weighbridge_tests::onnx::tag;
use weighbridge_tests::{Answer, Gateway, wait};

const EXPERIMENTS: &str = "/admin/v1/models/ranker/experiments";

/// Versions 1 and 2, all traffic to the first.
async fn with_two_versions() -> Gateway {
    let gateway = Gateway::start().model("ranker", &tag(1.0)).ready().await;
    gateway.push_ready("ranker", &tag(2.0)).await;
    gateway
}

fn spec(changes: Value) -> Value {
    let mut spec = json!({
        "name": "size", "unit": "header:x-user",
        "variants": [
            {"name": "small", "version": 1, "weight": 50},
            {"name": "large", "version": 2, "weight": 50},
        ],
        "n0": 1000,
        "metrics": {"primary": {"name": "bought", "kind": "binary", "window": "2s"}},
    });
    for (key, value) in changes.as_object().expect("an object") {
        spec[key] = value.clone();
    }
    spec
}

async fn start(gateway: &Gateway, changes: Value) -> Value {
    gateway.admin.post(EXPERIMENTS, &json!({"spec": spec(changes)})).await.expect(201).json()
}

async fn status(gateway: &Gateway) -> Value {
    gateway.admin.get(&format!("{EXPERIMENTS}/size")).await.expect(200).json()
}

async fn infer_as(gateway: &Gateway, user: &str) -> Answer {
    gateway.infer_ask("ranker").header("x-user", user).json(&any_row()).send().await.expect(200)
}

/// What a user was answered.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Seen {
    variant: String,
    request: String,
    /// Unix milliseconds.
    at: u64,
}

type Users = BTreeMap<usize, Seen>;

fn variants_of(users: &Users) -> Vec<String> {
    users.values().map(|seen| seen.variant.clone()).collect()
}

fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970");
    u64::try_from(since.as_millis()).expect("not that late")
}

/// Asks once as each of so many users.
async fn ask_as(gateway: &Gateway, users: usize) -> Users {
    let mut found = BTreeMap::new();
    let users: Vec<usize> = (0..users).collect();
    for some in users.chunks(50) {
        let mut asking = JoinSet::new();
        for user in some.iter().copied() {
            let ask = gateway.infer_ask("ranker").header("x-user", &format!("user-{user}"));
            let ask = ask.json(&any_row());
            asking.spawn(async move { (user, ask.send().await.expect(200)) });
        }
        for (user, answer) in asking.join_all().await {
            let header = |name| answer.header(name).expect("a header").to_owned();
            let (variant, request) = (header("weighbridge-variant"), header("x-request-id"));
            found.insert(user, Seen { variant, request, at: now_ms() });
        }
    }
    found
}

async fn feedback(gateway: &Gateway, items: &Value) -> Value {
    gateway.data.post("/v2/models/ranker/feedback", items).await.expect(200).json()
}

/// Reports a value of `bought` for each user, as `value` says, by request id. The report comes
/// late, and tells of the time of the answer.
async fn report(gateway: &Gateway, users: &Users, value: impl Fn(usize, &str) -> bool) {
    let items: Vec<Value> = users
        .iter()
        .map(|(user, Seen { variant, request, at })| {
            let value = value(*user, variant);
            json!({"request_id": request, "metric": "bought", "value": value, "at": at})
        })
        .collect();
    for some in items.chunks(1000) {
        let told = feedback(gateway, &json!(some)).await;
        assert_eq!(told["accepted"], some.len(), "{told}");
    }
}

#[tokio::test]
async fn a_user_keeps_the_variant_over_requests_and_restarts() {
    let mut gateway = with_two_versions().await;
    let started = start(&gateway, json!({})).await;
    assert_eq!(started["state"], "running");
    assert_eq!(started["weights"][1], json!({"variant": "large", "version": 2, "weight": 50.0}));
    let first = variants_of(&ask_as(&gateway, 200).await);
    let large = first.iter().filter(|variant| *variant == "large").count();
    // Binomial with standard deviation 7.
    assert!(large.abs_diff(100) < 36, "{large} of 200");
    for user in ["user-0", "user-1", "user-2", "user-3"] {
        let answer = infer_as(&gateway, user).await;
        assert_eq!(answer.header("weighbridge-reason"), Some("experiment; name=size"));
        let is_large = answer.header("weighbridge-variant") == Some("large");
        assert_eq!(answer.version(), if is_large { 2 } else { 1 });
    }
    gateway.terminate().await;
    gateway.restart().await;
    assert_eq!(variants_of(&ask_as(&gateway, 200).await), first);
    let units = status(&gateway).await["analysis"]["units"].clone();
    assert_eq!(units[1], json!({"variant": "large", "units": large}), "each is counted once");
    // After a crash, too.
    gateway.kill9();
    gateway.restart().await;
    assert_eq!(variants_of(&ask_as(&gateway, 200).await), first);
    assert_eq!(status(&gateway).await["analysis"]["units"], units);
}

#[tokio::test]
async fn overrides_pins_and_requests_without_a_unit_are_not_analysed() {
    let gateway = with_two_versions().await;
    start(&gateway, json!({"overrides": {"vip": "large"}})).await;
    let ask = || gateway.infer_ask("ranker").json(&any_row());
    let told = |answer: &Answer| {
        let header = |name| answer.header(name).expect("a header").to_owned();
        (header("weighbridge-variant"), header("weighbridge-reason"))
    };
    let forced = ask().header("x-user", "a").header("weighbridge-variant-override", "large");
    let answer = forced.send().await.expect(200);
    assert_eq!(told(&answer), ("large".to_owned(), "experiment; name=size; forced".to_owned()));
    assert_eq!(answer.version(), 2);
    let answer = infer_as(&gateway, "vip").await;
    assert_eq!(told(&answer), ("large".to_owned(), "experiment; name=size; override".to_owned()));
    let (_, reason) = told(&ask().send().await.expect(200));
    assert_eq!(reason, "experiment; name=size; unit=request");
    let pinned = ask().header("x-user", "b").header("weighbridge-version", "2").send().await;
    assert_eq!(told(&pinned.expect(200)), ("pinned".to_owned(), "pinned".to_owned()));
    let unknown = ask().header("weighbridge-variant-override", "huge").send().await;
    unknown.refused(400, &["weighbridge-variant-override", "huge", "small, large"]);
    let analysis = status(&gateway).await["analysis"].clone();
    assert_eq!(analysis["forced"], 2);
    let of = |variant: usize| analysis["units"][variant]["units"].as_u64();
    assert_eq!((of(0), of(1)), (Some(0), Some(0)), "{analysis}");
    let metrics = gateway.metrics().await;
    let count =
        |chosen| metrics.sum("weighbridge_experiment_requests_total", &[("chosen", chosen)]);
    assert_eq!((count("forced"), count("override"), count("request")), (1.0, 1.0, 1.0));
}

#[tokio::test]
async fn the_holdout_has_its_share_and_layers_keep_experiments_apart() {
    let gateway = Gateway::start().model("ranker", &tag(1.0)).model("search", &tag(1.0));
    let gateway = gateway.ready().await;
    gateway.push_ready("ranker", &tag(2.0)).await;
    let layer = |share: u32| json!({"name": "checkout", "share": share});
    let first = start(&gateway, json!({"holdout": 30, "layer": layer(60)})).await;
    assert_eq!(first["spec"]["layer"]["from"], 0.0);
    let mut other = spec(json!({"name": "depth", "layer": layer(50)}));
    other["variants"][1]["version"] = json!(1);
    let path = "/admin/v1/models/search/experiments";
    let refused = gateway.admin.post(path, &json!({"spec": other})).await;
    refused.refused(409, &["spec.layer", "no free 50%", "size of ranker has 60% from 0%"]);
    other["layer"] = layer(40);
    let second = gateway.admin.post(path, &json!({"spec": other})).await.expect(201).json();
    assert_eq!(second["spec"]["layer"]["from"], 60.0);

    let mut counts: BTreeMap<String, usize> = BTreeMap::new();
    for user in 0..300 {
        let user = format!("user-{user}");
        let ranked = infer_as(&gateway, &user).await;
        let ask = gateway.infer_ask("search").header("x-user", &user).json(&any_row());
        let searched = ask.send().await.expect(200);
        let is_in = |answer: &Answer| {
            answer.header("weighbridge-reason").expect("a reason").starts_with("experiment")
        };
        assert!(is_in(&ranked) != is_in(&searched), "{user} is in one of the two");
        let variant = ranked.header("weighbridge-variant").expect("a variant").to_owned();
        *counts.entry(variant).or_default() += 1;
    }
    // 60 % of 300 are in the experiment, 30 % of these in the holdout: standard deviation 6.6.
    let holdout = counts.get("holdout").copied().unwrap_or_default();
    assert!(holdout.abs_diff(54) < 35, "{counts:?}");
    assert!(counts["stable"].abs_diff(120) < 45, "{counts:?}");
    let analysis = status(&gateway).await["analysis"].clone();
    assert_eq!(analysis["holdout"], holdout);
}

#[tokio::test]
async fn feedback_counts_once_and_may_come_late() {
    let gateway = with_two_versions().await;
    start(&gateway, json!({})).await;
    let answer = infer_as(&gateway, "alice").await;
    let request = answer.header("x-request-id").expect("an id").to_owned();
    // At once, before anything has been written.
    let item = json!({
        "request_id": request, "metric": "bought", "value": 1, "at": now_ms(),
        "idempotency_key": "k",
    });
    let told = feedback(&gateway, &item).await;
    assert_eq!(told["items"], json!([{"status": "accepted"}]));
    let again = feedback(&gateway, &json!([item, item])).await;
    assert_eq!((&again["duplicate"], &again["accepted"]), (&json!(2), &json!(0)));
    let reported = async || {
        wait::until("the analysis has the feedback", async || {
            let analysis = status(&gateway).await["analysis"].clone();
            let variants = analysis["metrics"][0]["variants"].as_array()?.clone();
            let with_feedback = |v: &Value| v["with_feedback"].as_u64().unwrap_or_default();
            let all: u64 = variants.iter().map(with_feedback).sum();
            (all > 0).then_some(all)
        })
        .await
    };
    assert_eq!(reported().await, 1);
    let mixed = json!([
        {"request_id": "never-seen", "metric": "bought", "value": 1},
        {"unit": "nobody", "metric": "bought", "value": 0},
        {"unit": "alice", "metric": "clicked", "value": 1},
        {"unit": "alice", "metric": "bought", "value": 1, "at": 1000},
        {"unit": "alice", "metric": "bought", "value": true},
    ]);
    let told = feedback(&gateway, &mixed).await;
    let reason = |place: usize| told["items"][place]["reason"].as_str().unwrap_or_default();
    for (place, part) in [
        (0, "knows this request"),
        (1, "has been in no experiment of ranker"),
        (2, "no experiment of ranker has a metric \"clicked\" (metrics here: bought)"),
        (3, "before the unit was in the experiment"),
    ] {
        assert_eq!(told["items"][place]["status"], "unknown", "{told}");
        assert!(reason(place).contains(part), "{told}");
    }
    assert_eq!(told["items"][4], json!({"status": "accepted"}));
    // After the experiment was stopped, labels are still taken.
    let path = format!("{EXPERIMENTS}/size/stop");
    gateway.admin.post(&path, &json!({"reason": "done"})).await.expect(200);
    let late =
        json!({"request_id": request, "metric": "bought", "value": 1, "idempotency_key": "l"});
    assert_eq!(feedback(&gateway, &late).await["accepted"], 1);
    let answer = infer_as(&gateway, "alice").await;
    assert_eq!(answer.header("weighbridge-reason"), Some("route"));
}

#[tokio::test]
async fn feedback_that_is_wrong_names_the_item_and_the_field() {
    let gateway = with_two_versions().await;
    start(&gateway, json!({})).await;
    let good = json!({"unit": "a", "metric": "bought", "value": 1});
    let with = |changes: Value| {
        let mut item = good.clone();
        for (key, value) in changes.as_object().expect("an object") {
            item[key] = value.clone();
        }
        json!([good, item])
    };
    for (items, facts) in [
        (with(json!({"colour": 1})), ["items[1].colour", "no such field"]),
        (with(json!({"value": "much"})), ["items[1].value", "number"]),
        (with(json!({"value": 0.5})), ["items[1].value", "binary"]),
        (with(json!({"metric": 7})), ["items[1].metric", "text"]),
        (with(json!({"metric": ""})), ["items[1].metric", "text"]),
        (with(json!({"unit": null})), ["items[1].request_id", "missing"]),
        (with(json!({"request_id": "r"})), ["items[1].unit", "one of them"]),
        (with(json!({"at": "today"})), ["items[1].at", "milliseconds"]),
        (with(json!({"at": 99_999_999_999_999_u64})), ["items[1].at", "future"]),
        (json!([]), ["0 items", "1 to 1000"]),
        (json!(vec![good.clone(); 1001]), ["1001 items", "1 to 1000"]),
        (json!([7]), ["items[0]", "object"]),
    ] {
        gateway.data.post("/v2/models/ranker/feedback", &items).await.refused(400, &facts);
    }
    let path = "/v2/models/ranker/feedback";
    let broken = gateway.data.ask(Method::POST, path).body("{\"unit\":").send().await;
    broken.refused(400, &["the body"]);
    gateway.data.post("/v2/models/nobody/feedback", &good).await.refused(404, &["nobody"]);
    assert_eq!(feedback(&gateway, &good).await["unknown"], 1, "nothing of it was taken");
}

#[tokio::test]
async fn a_planted_effect_is_found_and_none_in_an_a_a_test() {
    let gateway = with_two_versions().await;
    start(&gateway, json!({"holdout": 5})).await;
    let users = ask_as(&gateway, 1000).await;
    report(&gateway, &users, |user, variant| user % 10 < if variant == "large" { 7 } else { 3 })
        .await;
    let decided = |wanted: &'static str| {
        let gateway = &gateway;
        async move {
            wait::until(wanted, async || {
                let view = status(gateway).await;
                (view["analysis"]["comparisons"][0]["decision"] == wanted).then_some(view)
            })
            .await
        }
    };
    let view = decided("ship").await;
    let effect = &view["analysis"]["comparisons"][0]["primary"]["effect"];
    let number = |value: &Value| value.as_f64().expect("a number");
    assert!(number(&effect["lower"]) > 0.1 && number(&effect["upper"]) < 0.7, "{effect}");
    assert_eq!(view["analysis"]["split"]["is_wrong"], false);
    let told = gateway.cli(&["experiment", "status", "ranker", "size"]).await;
    told.ended(0, &["SHIP: bought is better", "large", "(holdout)"]);

    // The same again without an effect: another experiment of the same name.
    gateway.cli(&["experiment", "stop", "ranker", "size", "--reason", "won"]).await.ended(0, &[]);
    let mut same = spec(json!({"alpha": 0.0001}));
    same["variants"][1]["version"] = json!(1);
    gateway.admin.post(EXPERIMENTS, &json!({"spec": same})).await.expect(201);
    let users = ask_as(&gateway, 600).await;
    report(&gateway, &users, |user, _| user % 10 < 5).await;
    let comparison = wait::until("there is an interval", async || {
        let comparison = status(&gateway).await["analysis"]["comparisons"][0].clone();
        comparison["primary"]["effect"].is_object().then_some(comparison)
    })
    .await;
    assert_eq!(comparison["decision"], "keep_going", "{comparison}");
    let listed = gateway.cli(&["experiment", "status", "ranker"]).await;
    listed.ended(0, &["running", "stopped", "won"]);
}

#[tokio::test]
async fn a_bandit_moves_new_users_only() {
    let mut gateway = with_two_versions().await;
    let bandit = json!({"thompson": {"every": "1s", "floor": 5}});
    start(&gateway, json!({"bandit": bandit})).await;
    // Too few for an interval, which would end the changes at once.
    let first = ask_as(&gateway, 200).await;
    report(&gateway, &first, |user, variant| user % 10 < if variant == "large" { 8 } else { 3 })
        .await;
    let epoch = |view: &Value| view["epoch"].as_u64().unwrap_or_default();
    let view = wait::until("the weights move", async || {
        let view = status(&gateway).await;
        (epoch(&view) > 0).then_some(view)
    })
    .await;
    let weight = view["weights"][1]["weight"].as_f64().expect("a weight");
    assert!(weight > 60.0, "{view}");
    let first = variants_of(&first);
    assert_eq!(variants_of(&ask_as(&gateway, 200).await), first);
    // What the units have seen is remembered over a crash.
    gateway.kill9();
    gateway.restart().await;
    assert_eq!(variants_of(&ask_as(&gateway, 200).await), first);
    gateway.cli(&["experiment", "status", "ranker", "size"]).await.ended(0, &["epoch"]);
    let events = gateway.history().await;
    assert!(events.iter().any(|event| event["action"] == "experiment.reshared"));
}

#[tokio::test]
async fn a_unit_may_be_a_parameter_of_the_request() {
    let gateway = with_two_versions().await;
    start(&gateway, json!({"unit": "parameter:user"})).await;
    let mut body = any_row();
    let mut seen = BTreeMap::new();
    for user in 0..40 {
        body["parameters"] = json!({"user": user});
        let mut variants = Vec::new();
        for _ in 0..2 {
            let answer = gateway.infer("ranker", &body).await.expect(200);
            assert_eq!(answer.header("weighbridge-reason"), Some("experiment; name=size"));
            variants.push(answer.header("weighbridge-variant").expect("a variant").to_owned());
        }
        assert_eq!(variants[0], variants[1]);
        *seen.entry(variants[0].clone()).or_insert(0) += 1;
    }
    assert_eq!(seen.len(), 2, "{seen:?}");
    let told = feedback(&gateway, &json!({"unit": "7", "metric": "bought", "value": 1})).await;
    assert_eq!(told["accepted"], 1, "{told}");
    // `/v1` has no parameters.
    let answer = gateway.predict("ranker", &json!({"instances": [[1.0, 2.0, 3.0, 4.0]]})).await;
    let reason = answer.expect(200).header("weighbridge-reason").map(str::to_owned);
    assert_eq!(reason.as_deref(), Some("experiment; name=size; unit=request"));
}

#[tokio::test]
async fn specs_that_cannot_run_are_refused_with_field_and_reason() {
    let gateway = with_two_versions().await;
    let refused = async |changes: Value, status: u16, facts: &[&str]| {
        let body = json!({"spec": spec(changes)});
        gateway.admin.post(EXPERIMENTS, &body).await.refused(status, facts);
    };
    let variants = |weight: f64, version: u32| {
        json!([
            {"name": "small", "version": 1, "weight": 50},
            {"name": "large", "version": version, "weight": weight},
        ])
    };
    refused(json!({"variants": variants(60.0, 2)}), 400, &["spec.variants", "110%"]).await;
    refused(json!({"variants": variants(50.0, 9)}), 404, &["version 9"]).await;
    refused(json!({"unit": "claim:sub"}), 400, &["spec.unit", "reads no tokens"]).await;
    refused(json!({"colour": 1}), 400, &["spec.colour", "no such field"]).await;
    let both = json!({"holdout": 99, "alpha": 7});
    refused(both, 400, &["spec.holdout", "spec.alpha"]).await;
    let path = "/admin/v1/models/nobody/experiments";
    gateway.admin.post(path, &json!({"spec": spec(json!({}))})).await.refused(404, &["nobody"]);
    gateway.admin.get(&format!("{EXPERIMENTS}/size")).await.refused(404, &["size", "none"]);

    // A model that serves nobody has nothing to compare with.
    gateway.push_ready("fresh", &tag(1.0)).await;
    let mut alone = spec(json!({}));
    alone["variants"][1]["version"] = json!(1);
    let path = "/admin/v1/models/fresh/experiments";
    let answer = gateway.admin.post(path, &json!({"spec": alone})).await;
    answer.refused(409, &["no version of fresh has been promoted"]);

    let started = start(&gateway, json!({})).await;
    refused(json!({"name": "other"}), 409, &["size is running"]).await;
    let archive = "/admin/v1/models/ranker/versions/2/archive";
    gateway.admin.post(archive, &json!({})).await.refused(409, &["size"]);
    let stale = gateway.admin.ask(Method::POST, &format!("{EXPERIMENTS}/size/stop"));
    stale.header("if-match", "\"1\"").json(&json!({})).send().await.refused(412, &[]);
    assert_eq!(status(&gateway).await["id"], started["id"]);
    let file = gateway.file("bad.toml", b"name = \"x\"\nunit = \"cookie:x\"");
    let start = ["experiment", "start", "ranker", "--spec", file.to_str().expect("UTF-8")];
    gateway.cli(&start).await.ended(2, &["unit", "header:NAME"]);
    let stop = ["experiment", "stop", "ranker", "nothing"];
    gateway.cli(&stop).await.ended(1, &["no experiment \"nothing\""]);
}
