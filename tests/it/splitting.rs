//! Traffic is split as the weights say, and a sticky caller stays where it is.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use tokio::task::JoinSet;
use weighbridge_tests::Gateway;
use weighbridge_tests::gateway::any_row;
use weighbridge_tests::onnx::tag;

async fn with_two_versions() -> Gateway {
    let gateway = Gateway::start().model("fraud", &tag(1.0)).ready().await;
    gateway.push_ready("fraud", &tag(2.0)).await;
    gateway
}

/// The version that answers each of 300 users.
async fn versions_of_users(gateway: &Gateway) -> BTreeMap<u32, u32> {
    let mut asking = JoinSet::new();
    for user in 0..300 {
        let ask = gateway.infer_ask("fraud").header("x-user", &format!("user-{user}"));
        let ask = ask.json(&any_row());
        asking.spawn(async move {
            let answer = ask.send().await.expect(200);
            let reason = answer.header("weighbridge-reason").expect("a reason");
            assert!(reason.starts_with("sticky; point="), "{reason}");
            (user, answer.version())
        });
    }
    asking.join_all().await.into_iter().collect()
}

#[tokio::test]
async fn a_user_stays_on_one_version_and_a_growing_canary_loses_nobody() {
    let gateway = with_two_versions().await;
    gateway.configure("fraud", &json!({"sticky": "header:X-User"})).await;
    let mut canary: Vec<u32> = Vec::new();
    for weight in [500, 1500, 3000, 4500] {
        let weights = json!({"1": 10_000 - weight, "2": weight});
        gateway.route("fraud", &weights).await.expect(200);
        let first = versions_of_users(&gateway).await;
        assert_eq!(first, versions_of_users(&gateway).await, "the same user, the same version");
        let share = first.values().filter(|version| **version == 2).count();
        assert_binomial(share, 300, f64::from(weight) / 10_000.0);
        assert!(canary.iter().all(|user| first[user] == 2), "none goes back to stable");
        canary =
            first.iter().filter(|(_, version)| **version == 2).map(|(user, _)| *user).collect();
    }
}

#[tokio::test]
async fn a_sticky_request_without_the_key_draws_a_coin_and_is_counted() {
    let gateway = with_two_versions().await;
    gateway.configure("fraud", &json!({"sticky": "header:x-user"})).await;
    gateway.route("fraud", &json!({"1": 5000, "2": 5000})).await.expect(200);
    let mut seen = [0; 2];
    for _ in 0..40 {
        let answer = gateway.infer("fraud", &any_row()).await.expect(200);
        let reason = answer.header("weighbridge-reason").expect("a reason");
        assert!(reason.contains("no-sticky-key"), "{reason}");
        seen[answer.version() as usize - 1] += 1;
    }
    assert!(seen.iter().all(|count| *count > 0), "{seen:?}");
    let metrics = gateway.metrics().await;
    assert_eq!(metrics.sum("weighbridge_no_sticky_key_total", &[("model", "fraud")]), 40.0);
}

#[tokio::test]
async fn a_split_without_a_key_follows_its_weights() {
    const REQUESTS: usize = 2_000;
    let gateway = with_two_versions().await;
    let third = gateway.push_ready("fraud", &tag(3.0)).await;
    let weights = json!({"1": 6000, "2": 3000, third.to_string(): 1000});
    gateway.route("fraud", &weights).await.expect(200);
    let mut counts: BTreeMap<u32, usize> = BTreeMap::new();
    for _ in 0..REQUESTS / 100 {
        let asking = (0..100).map(|_| gateway.infer_ask("fraud").json(&any_row()).send());
        for answer in asking.collect::<JoinSet<_>>().join_all().await {
            let answer = answer.expect(200);
            assert_eq!(answer.output("y"), [f64::from(answer.version())]);
            *counts.entry(answer.version()).or_default() += 1;
        }
    }
    for (version, share) in [(1, 0.6), (2, 0.3), (3, 0.1)] {
        assert_binomial(counts[&version], REQUESTS, share);
    }
    let metrics = gateway.metrics().await;
    for (version, count) in counts {
        let labels = [("model", "fraud"), ("version", &*version.to_string()), ("outcome", "ok")];
        assert_eq!(metrics.sum("weighbridge_requests_total", &labels), count as f64);
    }
}

/// Within five standard deviations: once in two million runs it is not.
fn assert_binomial(count: usize, of: usize, share: f64) {
    let (mean, deviation) = (of as f64 * share, (of as f64 * share * (1.0 - share)).sqrt());
    let is_within = (count as f64 - mean).abs() <= 5.0 * deviation;
    assert!(is_within, "{count} of {of}, {mean} wanted, standard deviation {deviation:.1}");
}

#[tokio::test]
async fn weights_that_are_no_split_are_refused() {
    let gateway = with_two_versions().await;
    let before = gateway.model("fraud").await["route"].clone();
    let refusals: [(Value, u16); 4] = [
        (json!({"1": 9000, "2": 900}), 400),
        (json!({"1": 9000, "7": 1000}), 404),
        (json!({"1": -1, "2": 10_001}), 400),
        (json!({"first": 10_000}), 400),
    ];
    for (weights, status) in refusals {
        gateway.route("fraud", &weights).await.refused(status, &[]);
    }
    assert_eq!(gateway.model("fraud").await["route"], before);
}
