//! The chain over the events.

use weighbridge_config::Digest;

use super::fixture::*;
use crate::Event;

/// The link as the documentation of [`crate::chain`] says, from what is shown of the event.
fn link(before: Option<&Event>, event: &Event) -> Digest {
    let before = before.and_then(|event| event.hash).unwrap_or(Digest::from_bytes([0; 32]));
    let text = |value: &Option<serde_json::Value>| value.as_ref().map(ToString::to_string);
    let fields = (
        event.sequence,
        event.at,
        &event.actor,
        &event.actor_name,
        &event.action,
        &event.model,
        event.version,
        text(&event.from),
        text(&event.to),
    );
    let fields = serde_json::to_string(&fields).expect("JSON");
    Digest::of(format!("{before}\n{fields}").as_bytes())
}

pub async fn each_event_has_its_link(registry: Shared) {
    ready_versions(&registry, 2).await;
    promote(&registry, 1).await.expect("a promotion");
    start(&registry, 2, steps(&[5])).await.expect("a rollout");
    roll_back_rollout(&registry).await;
    let mut events = events(&registry).await;
    events.reverse();
    assert_eq!(events[0].hash, Some(link(None, &events[0])));
    for pair in events.windows(2) {
        assert_eq!(pair[1].hash, Some(link(Some(&pair[0]), &pair[1])), "{pair:?}");
    }
    let report = registry.verify_events().await.expect("a report");
    let last = events.last().expect("an event");
    assert_eq!((report.first, report.last), (Some(1), Some(last.sequence)));
    assert_eq!((report.events, report.uncovered), (events.len() as u64, 0));
    assert_eq!((report.hash, report.broken_at), (last.hash, None));
    let shown = serde_json::to_value(last).expect("JSON");
    assert_eq!(shown["hash"].as_str().map(str::len), Some(64));
}

async fn roll_back_rollout(registry: &Shared) {
    step(registry, crate::RolloutMove::RollBack).await.expect("a rollback");
}

pub async fn the_chain_of_no_events_is_whole(registry: Shared) {
    let report = registry.verify_events().await.expect("a report");
    assert_eq!((report.first, report.last, report.hash), (None, None, None));
    assert_eq!((report.events, report.uncovered, report.broken_at), (0, 0, None));
}
