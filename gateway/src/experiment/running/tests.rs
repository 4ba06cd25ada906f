use http::Request;
use serde_json::{Value, json};
use weighbridge_config::split::parse_weights;
use weighbridge_config::{Split, Version};
use weighbridge_protocol::Parameter;
use weighbridge_routing::Availability;

use super::super::log::Message;
use super::*;

fn version(number: u32) -> Version {
    Version::try_from(number).unwrap()
}

fn record(changes: Value) -> Experiment {
    let mut spec = json!({
        "name": "size", "unit": "header:x-user",
        "variants": [
            {"name": "small", "version": 1, "weight": 50},
            {"name": "large", "version": 2, "weight": 50},
        ],
        "overrides": {"vip": "large"},
        "metrics": {"primary": {"name": "m", "kind": "binary", "window": "1s"}},
    });
    for (key, value) in changes.as_object().unwrap() {
        spec[key] = value.clone();
    }
    serde_json::from_value(json!({
        "id": "ex-00000000000000a1", "model": "fraud", "name": "size", "spec": spec,
        "versions": [1, 2], "state": "running", "epoch": 0, "shares": null, "revision": 1,
        "started_at": 0, "started_by": "x", "stopped_at": null, "stopped_by": null,
        "outcome": null,
    }))
    .unwrap()
}

fn route(loaded: &[u32]) -> ModelRoute {
    ModelRoute {
        salt: "fraud".into(),
        split: Some(Split::new(&parse_weights(&["1=100"]).unwrap()).unwrap()),
        aliases: BTreeMap::new(),
        versions: loaded.iter().map(|n| (version(*n), Availability::Loaded)).collect(),
    }
}

fn request(headers: &[(&'static str, &str)]) -> Parts {
    let request = headers.iter().fold(Request::new(()), |mut request, (name, value)| {
        let value = http::HeaderValue::from_bytes(value.as_bytes()).unwrap();
        request.headers_mut().insert(*name, value);
        request
    });
    let (mut parts, ()) = request.into_parts();
    parts.extensions.insert(RequestId::of(&parts.headers));
    parts
}

struct Scene {
    running: Running,
    queue: tokio::sync::mpsc::Receiver<Message>,
}

impl Scene {
    fn of(changes: Value) -> Self {
        let (log, queue) = Log::new();
        Self { running: Running::new(&record(changes), None, Arc::new(log)).unwrap(), queue }
    }

    /// Variant and reason of a decision.
    fn place(&self, headers: &[(&'static str, &str)]) -> Option<(String, String)> {
        self.decide(&route(&[1, 2]), headers).map(|d| (d.variant_name(), d.reason.to_string()))
    }

    fn decide(&self, route: &ModelRoute, headers: &[(&'static str, &str)]) -> Option<Decision> {
        let placed = self.running.place(route, Ask::Routed, &request(headers), None);
        placed.unwrap().map(|decision| decision.unwrap())
    }

    /// What has been logged: the unit, and the variant and share of an exposure.
    fn logged(&mut self) -> Vec<(String, Option<(String, f64)>)> {
        std::iter::from_fn(|| self.queue.try_recv().ok())
            .map(|message| match message {
                Message::Entry(entry) => {
                    let exposure = entry.exposure.map(|e| (e.variant, e.share));
                    (entry.request.unit, exposure)
                }
                Message::Flush(_) => panic!("nobody flushes"),
            })
            .collect()
    }
}

fn drawn(variant: &str) -> Option<(String, String)> {
    Some((variant.to_owned(), "experiment; name=size".to_owned()))
}

#[test]
fn a_unit_is_exposed_once_and_each_of_its_requests_is_logged() {
    let mut scene = Scene::of(json!({}));
    // By the golden points: alice on 285, user-42 on 3875.
    for _ in 0..2 {
        assert_eq!(scene.place(&[("x-user", "alice")]), drawn("small"));
    }
    let once = Some(("small".to_owned(), 0.5));
    assert_eq!(scene.logged(), [("alice".to_owned(), once), ("alice".to_owned(), None)]);
}

#[test]
fn who_asks_for_a_version_is_not_in_the_experiment() {
    let mut scene = Scene::of(json!({}));
    let asked = request(&[("x-user", "alice")]);
    for ask in [Ask::Version(version(2)), Ask::Alias("canary")] {
        assert_eq!(scene.running.place(&route(&[1, 2]), ask, &asked, None), Ok(None));
    }
    assert_eq!(scene.logged(), []);
}

#[test]
fn requests_without_a_unit_draw_a_variant_and_are_not_logged() {
    let mut scene = Scene::of(json!({}));
    let long = "x".repeat(LONGEST_UNIT + 1);
    for headers in [&[][..], &[("x-user", "")], &[("x-user", &long)]] {
        let (_, reason) = scene.place(headers).unwrap();
        assert_eq!(reason, "experiment; name=size; unit=request");
    }
    assert_eq!(scene.logged(), []);
}

#[test]
fn overrides_are_served_and_logged_apart() {
    let mut scene = Scene::of(json!({}));
    let told = |note: &str| Some(("large".into(), format!("experiment; name=size; {note}")));
    assert_eq!(scene.place(&[("x-user", "vip")]), told("override"));
    let forced = [("x-user", "bob"), (OVERRIDE, "large")];
    assert_eq!(scene.place(&forced), told("forced"));
    assert_eq!(scene.place(&[(OVERRIDE, "large")]), told("forced"));
    let by_name = |unit: &str| (unit.to_owned(), Some(("forced/large".to_owned(), 1.0)));
    assert_eq!(scene.logged(), [by_name("vip"), by_name("bob")]);
    let placed = request(&[(OVERRIDE, "huge")]);
    let refused = scene.running.place(&route(&[1, 2]), Ask::Routed, &placed, None).unwrap_err();
    assert_eq!(refused.kind, Kind::InvalidRequest);
    assert!(refused.detail.contains("small, large"), "{}", refused.detail);
}

#[test]
fn the_holdout_is_served_by_stable() {
    let mut scene = Scene::of(json!({"holdout": 50}));
    // By the golden points: alice on 4598.
    let (variant, reason) = scene.place(&[("x-user", "alice")]).unwrap();
    assert_eq!((variant.as_str(), reason.as_str()), ("holdout", "experiment; name=size; holdout"));
    assert_eq!(scene.logged(), [("alice".to_owned(), Some(("holdout".to_owned(), 0.5)))]);
}

#[test]
fn outside_of_its_part_of_the_layer_the_route_decides() {
    let mut scene = Scene::of(json!({"layer": {"name": "checkout", "share": 10, "from": 40}}));
    // By the golden points: alice on 3132, user-42 on 5000.
    assert_eq!(scene.place(&[("x-user", "alice")]), None);
    assert_eq!(scene.place(&[("x-user", "user-42")]), None, "parts end before their end");
    assert_eq!(scene.logged(), []);
}

#[test]
fn a_variant_that_cannot_answer_exposes_nobody() {
    let mut scene = Scene::of(json!({}));
    // By its point: bob is on 9269.
    let decision = scene.decide(&route(&[1]), &[("x-user", "bob")]).unwrap();
    assert_eq!((decision.version, decision.variant_name().as_str()), (version(1), "stable"));
    assert_eq!(decision.reason, Reason::Fallback { instead_of: version(2) });
    let nobody =
        scene.running.place(&route(&[]), Ask::Routed, &request(&[("x-user", "bob")]), None);
    assert_eq!(nobody, Ok(Some(Err(Refusal::UnknownVersion(version(2))))));
    assert_eq!(scene.logged(), []);
}

#[test]
fn units_keep_their_variant_when_the_weights_change() {
    let bandit = json!({"bandit": {"thompson": {}}});
    let mut scene = Scene::of(bandit.clone());
    assert_eq!(scene.place(&[("x-user", "user-42")]), drawn("small"));
    let mut later = record(bandit);
    later.epoch = 1;
    later.shares = Some(json!({"segments": [[0, 1000], [1, 9000]]}));
    let log = Arc::clone(&scene.running.log);
    scene.running = Running::new(&later, Some(&scene.running), log).unwrap();
    assert_eq!(scene.running.intervals().points(), [1000, 9000]);
    assert_eq!(scene.place(&[("x-user", "user-42")]), drawn("small"));
    assert_eq!(scene.logged().len(), 2);
    // Who has not been seen gets the new weights, and is logged with them.
    scene.running.seen.clear();
    assert_eq!(scene.place(&[("x-user", "user-42")]), drawn("large"));
    assert_eq!(scene.logged(), [("user-42".to_owned(), Some(("large".to_owned(), 0.9)))]);
}

#[test]
fn a_unit_can_be_a_parameter_of_the_body() {
    let mut scene = Scene::of(json!({"unit": "parameter:user"}));
    assert!(scene.running.wants_body());
    let mut body = InferRequest::default();
    body.parameters.insert("user", Parameter::Text("alice".to_owned())).unwrap();
    let placed = scene.running.place(&route(&[1, 2]), Ask::Routed, &request(&[]), Some(&body));
    assert_eq!(placed.unwrap().unwrap().unwrap().variant_name(), "small");
    assert_eq!(scene.logged().len(), 1);
}

#[test]
fn a_record_of_a_later_release_is_not_run() {
    let (log, _queue) = Log::new();
    let unreadable = record(json!({"unit": "moon:phase"}));
    assert!(Running::new(&unreadable, None, Arc::new(log)).unwrap_err().contains("moon:phase"));
}
