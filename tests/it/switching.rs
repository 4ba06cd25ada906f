//! Each switch of a route is one atomic step: no request fails and none sees a mix.

use std::collections::BTreeSet;
use std::time::Duration;

use weighbridge_tests::Gateway;
use weighbridge_tests::gateway::any_row;
use weighbridge_tests::onnx::tag;
use weighbridge_tests::open_loop::OpenLoop;

#[tokio::test]
async fn two_hundred_promotions_under_load_lose_no_request_and_show_no_mix() {
    const PROMOTIONS: u64 = 200;
    let gateway = Gateway::start().ready().await;
    for tagged in [10.0, 20.0] {
        gateway.push_ready("fraud", &tag(tagged)).await;
    }
    gateway.promote("fraud", 1).await.expect(200);
    let data = gateway.data.clone();
    let load = OpenLoop::begin(300, move |_| {
        let ask = data.ask(http::Method::POST, "/v2/models/fraud/infer").json(&any_row());
        async move { ask.try_send().await }
    });
    // One promotion each 20 ms at most, so that there are requests between any two of them.
    let mut pace = tokio::time::interval(Duration::from_millis(20));
    for number in 0..PROMOTIONS {
        pace.tick().await;
        let answer = gateway.promote("fraud", 2 - number % 2).await.expect(200);
        assert_eq!(answer.json()["route"]["split"][0]["version"], 2 - number % 2);
    }
    let answers = load.end().await;

    assert!(answers.len() >= 1000, "{} requests", answers.len());
    let mut seen = BTreeSet::new();
    for answer in answers {
        let answer = answer.expect("an answer to every request").expect(200);
        assert_eq!(answer.output("y"), [f64::from(answer.version()) * 10.0]);
        seen.insert(answer.version());
    }
    assert_eq!(seen, BTreeSet::from([1, 2]));
    let promotions = gateway.history().await;
    let promotions = promotions.iter().filter(|e| e["action"] == "route.promoted").count();
    assert_eq!(promotions as u64, PROMOTIONS + 1);
}
