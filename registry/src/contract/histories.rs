//! Random histories: whatever is asked in whatever order, the invariants of the crate hold.

use std::collections::BTreeMap;

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use serde_json::json;
use weighbridge_config::{Digest, ModelSettings, Split, Version};

use super::fixture::*;
use crate::{
    CheckOutcome, IfRollout, IfRouted, NewVersion, Result, Revision, RouteChange, Snapshot,
    VersionState,
};

const HISTORIES: u32 = 40;
const LONGEST: usize = 60;

/// One call, with small numbers so that calls often meet.
#[derive(Debug, Clone)]
enum Step {
    Push { content: u32, wanted: Option<u32> },
    EndCheck { version: u32, good: bool },
    Route { first: u32, second: u32, weight: u32 },
    Promote(u32),
    InitialRoute(u32),
    RollBack,
    SetAlias(u32),
    RemoveAlias,
    Configure(u32),
    Archive(u32),
    Delete(u32),
    DeleteModel(IfRouted),
}

fn any_step() -> impl Strategy<Value = Step> {
    let version = || 1u32..5;
    prop_oneof![
        6 => (0u32..6, prop::option::weighted(0.2, version()))
            .prop_map(|(content, wanted)| Step::Push { content, wanted }),
        8 => (version(), prop::bool::weighted(0.8))
            .prop_map(|(version, good)| Step::EndCheck { version, good }),
        5 => (version(), version(), 0u32..=10_001)
            .prop_map(|(first, second, weight)| Step::Route { first, second, weight }),
        4 => version().prop_map(Step::Promote),
        1 => version().prop_map(Step::InitialRoute),
        4 => Just(Step::RollBack),
        2 => version().prop_map(Step::SetAlias),
        2 => Just(Step::RemoveAlias),
        1 => (1u32..3).prop_map(Step::Configure),
        2 => version().prop_map(Step::Archive),
        1 => version().prop_map(Step::Delete),
        1 => prop_oneof![4 => Just(IfRouted::Refuse), 1 => Just(IfRouted::Delete)]
            .prop_map(Step::DeleteModel),
    ]
}

/// Runs random histories, each on a registry of its own, and shrinks one that fails.
pub fn random_histories_keep_the_invariants<Make, Made, Guard>(make: Make)
where
    Make: Fn() -> Made,
    Made: Future<Output = (Shared, Guard)>,
{
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .expect("a runtime");
    // Each step may be based on a stale revision.
    let step = (any_step(), prop::option::weighted(0.1, 0u64..20));
    let histories = prop::collection::vec(step, 1..LONGEST);
    let config = Config { cases: HISTORIES, failure_persistence: None, ..Config::default() };
    let outcome = TestRunner::new(config).run(&histories, |history| {
        runtime.block_on(async {
            let (registry, _guard) = make().await;
            follow(&registry, &history).await;
        });
        Ok(())
    });
    if let Err(failure) = outcome {
        panic!("{failure}");
    }
}

/// What the registry must remember, kept in the plainest form.
#[derive(Default)]
struct Memory {
    /// The routes that lead here: the last is in force, the one before is where a rollback
    /// goes.
    routes: Vec<Split>,
    /// What each number has ever meant.
    numbers: BTreeMap<Version, Digest>,
}

async fn follow(registry: &Shared, history: &[(Step, Option<Revision>)]) {
    let mut memory = Memory::default();
    let mut before = snapshot(registry).await;
    let mut events_before = 0;
    for (step, expected) in history {
        let answer = take(registry, step, *expected).await;
        let after = snapshot(registry).await;
        let events = events(registry).await;
        if after.revision == before.revision {
            assert_eq!(after, before, "{step:?} changed something without an event");
            assert_eq!(events.len(), events_before);
        } else {
            assert!(answer.is_ok(), "{step:?} failed and changed something: {answer:?}");
            assert!(after.revision > before.revision);
            assert_eq!(events.len(), events_before + 1, "{step:?}");
            assert_eq!(events[0].sequence, after.revision);
            memory.note(step, &before, &after);
        }
        memory.check(&after);
        events_before = events.len();
        before = after;
    }
}

async fn take(registry: &Shared, step: &Step, expected: Option<Revision>) -> Result<()> {
    let (ada, fraud, champion) = (ada(), fraud(), champion());
    match *step {
        Step::Push { content, wanted } => {
            let new = NewVersion { version: wanted.map(v), ..new_version(&content.to_string()) };
            registry.register_version(new, ada, NOON).await.map(drop)
        }
        Step::EndCheck { version, good } => {
            let outcome = if good {
                CheckOutcome::Ready { report: json!({}) }
            } else {
                let reason = "unfit".to_owned();
                CheckOutcome::Rejected { reason, report: None }
            };
            let ended = registry.finish_check(fraud, v(version), outcome, ada, NOON);
            ended.await.map(drop)
        }
        Step::Route { first, second, weight } => {
            let pairs = [(first, 10_000u32.saturating_sub(weight)), (second, weight)];
            let change = RouteChange::set(weights(&pairs));
            registry
                .set_route(fraud, change, IfRollout::Refuse, expected, ada, NOON)
                .await
                .map(drop)
        }
        Step::Promote(version) => {
            let change = RouteChange::promote(v(version));
            registry
                .set_route(fraud, change, IfRollout::Refuse, expected, ada, NOON)
                .await
                .map(drop)
        }
        Step::InitialRoute(version) => {
            let set = registry.set_initial_route(fraud, v(version), ada, NOON);
            set.await.map(drop)
        }
        Step::RollBack => {
            registry.roll_back(fraud, IfRollout::Refuse, expected, ada, NOON).await.map(drop)
        }
        Step::SetAlias(version) => {
            let set = registry.set_alias(fraud, champion, v(version), expected, ada, NOON);
            set.await.map(drop)
        }
        Step::RemoveAlias => {
            let removed = registry.remove_alias(fraud, champion, expected, ada, NOON);
            removed.await.map(drop)
        }
        Step::Configure(rows) => {
            let settings = ModelSettings { max_batch_size: Some(rows), ..Default::default() };
            registry.configure(fraud, settings, expected, ada, NOON).await.map(drop)
        }
        Step::Archive(version) => {
            registry.archive(fraud, v(version), expected, ada, NOON).await.map(drop)
        }
        Step::Delete(version) => {
            registry.delete_version(fraud, v(version), expected, ada, NOON).await
        }
        Step::DeleteModel(if_routed) => {
            registry.delete_model(fraud, if_routed, expected, ada, NOON).await
        }
    }
}

fn route_in(seen: &Snapshot) -> Option<&Split> {
    let model = seen.models.first()?;
    model.route.as_ref().map(|route| &route.split)
}

impl Memory {
    /// Follows a change that was made.
    fn note(&mut self, step: &Step, before: &Snapshot, after: &Snapshot) {
        match step {
            Step::RollBack => drop(self.routes.pop()),
            Step::DeleteModel(_) => self.routes.clear(),
            _ if route_in(before) != route_in(after) => {
                self.routes.extend(route_in(after).cloned())
            }
            _ => {}
        }
    }

    fn check(&mut self, seen: &Snapshot) {
        assert_eq!(route_in(seen), self.routes.last());
        for model in &seen.models {
            let previous = model.previous_route.as_ref().map(|route| &route.split);
            assert_eq!(previous, self.routes.iter().rev().nth(1));
            assert!(model.revision <= seen.revision);
            let routed = route_in(seen).map(Split::weights).unwrap_or_default();
            for version in routed.into_keys().chain(model.aliases.values().copied()) {
                let state = model.version(version).map(|record| &record.state);
                assert_eq!(state, Some(&VersionState::Ready), "version {version}");
            }
            for record in &model.versions {
                let meant = *self.numbers.entry(record.version).or_insert(record.digest);
                assert_eq!(meant, record.digest, "version {}", record.version);
            }
        }
    }
}
