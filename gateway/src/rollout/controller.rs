//! Runs the courses of all active rollouts, one task each, and does what they say.
//!
//! * A rollback takes the canary out of this replica's table first and is recorded then: it
//!   does not wait for the registry, and is tried again until the registry has it.
//! * Every other move is recorded first. It names the revision it was decided on, so a move of
//!   somebody else in between makes it void.
//! * Evidence is stored at most once a second, beside the decisions, and with each of them.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use weighbridge_config::rollout::Percent;
use weighbridge_judge::{Decision, Diff, Pair, Pairs, Seen, Verdict};
use weighbridge_registry::{
    Actor, Error, Model, MoveRecord, Phase, Registry, Rollout, RolloutMove,
    Snapshot as RegistrySnapshot, Standing,
};
use weighbridge_routing::Availability;

use crate::edge::problem::chain;
use crate::now_ms;
use crate::rollout::course::{Basis, Compared, Course, Look, Stored};
use crate::rollout::moves::Moves;
use crate::rollout::snapshot::Snapshot;
use crate::rollout::sync::Sync;
use crate::rollout::trials::{Trials, observed};
use crate::telemetry::events;

/// How often evidence is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(250);
/// The least time between two looks, however fast a canary fails.
const LOOK_LEAST: Duration = Duration::from_millis(10);
/// How often evidence is stored.
const STORE_EVERY: Duration = Duration::from_secs(1);

/// A rollout as it was looked at last.
#[derive(Debug, Clone)]
pub struct View {
    pub verdict: Verdict,
    pub basis: Basis,
    pub weight: Percent,
    pub requests: Pair<u64>,
    pub rescued: u64,
    pub seen_failures: u64,
    /// To be recorded with a decision that somebody makes now.
    pub evidence: Value,
}

/// The one that moves rollouts.
#[derive(Debug)]
pub struct Controller {
    registry: Arc<dyn Registry>,
    pub moves: Moves,
    sync: Arc<Sync>,
    trials: Arc<Trials>,
    live: Arc<ArcSwap<Snapshot>>,
    views: Mutex<HashMap<String, Arc<View>>>,
    /// Rollouts that somebody wants to be rolled back and the registry could not record.
    aborts: Mutex<HashMap<String, String>>,
    running: Mutex<HashSet<String>>,
    tasks: TaskTracker,
    stop: CancellationToken,
}

impl Controller {
    /// Courses run on `tasks` until `stop`.
    pub fn new(
        registry: Arc<dyn Registry>,
        moves: Moves,
        sync: Arc<Sync>,
        live: Arc<ArcSwap<Snapshot>>,
        tasks: TaskTracker,
        stop: CancellationToken,
    ) -> Arc<Self> {
        let trials = Arc::clone(&sync.trials);
        Arc::new(Self {
            registry,
            moves,
            sync,
            trials,
            live,
            views: Mutex::default(),
            aborts: Mutex::default(),
            running: Mutex::default(),
            tasks,
            stop,
        })
    }

    /// Takes up each rollout that is active, as the registry tells of them.
    pub async fn follow(self: Arc<Self>) {
        let mut seen = self.sync.seen();
        loop {
            let active: Vec<String> =
                seen.borrow_and_update().as_ref().map_or_else(Vec::new, |s| {
                    let rollouts = s.models.iter().filter_map(|m| m.rollout.as_ref());
                    rollouts.filter(|r| r.is_active()).map(|r| r.id.clone()).collect()
                });
            for id in active {
                if lock(&self.running).insert(id.clone()) {
                    let controller = Arc::clone(&self);
                    self.tasks.spawn(async move {
                        controller.drive(&id).await;
                        lock(&controller.running).remove(&id);
                    });
                }
            }
            tokio::select! {
                changed = seen.changed() => if changed.is_err() { return },
                () = self.stop.cancelled() => return,
            }
        }
    }

    /// A rollout as it was looked at last.
    pub fn view(&self, rollout: &str) -> Option<Arc<View>> {
        lock(&self.views).get(rollout).cloned()
    }

    /// The canary gets no traffic here from now on, whatever the registry says so far.
    pub async fn set_aside(&self, rollout: &str) {
        self.trials.set_aside(rollout);
        self.sync.republish().await;
    }

    /// Nothing came of setting it aside.
    pub async fn readmit(&self, rollout: &str) {
        self.trials.readmit(rollout);
        self.sync.republish().await;
    }

    /// The rollout is rolled back as soon as the registry can record it.
    pub fn abort(&self, rollout: &str, reason: String) {
        lock(&self.aborts).insert(rollout.to_owned(), reason);
    }

    /// One rollout, from when it is taken up until it has ended or the process stops.
    async fn drive(&self, id: &str) {
        let mut seen = self.sync.seen();
        let Some(mut course) = self.take_up(id, &seen).await else { return };
        let shared = self.trials.shared(id);
        let storing = Arc::new(AtomicBool::new(false));
        let mut stored_at = Instant::now();
        let mut is_unstored = false;
        loop {
            let found = find(&seen.borrow_and_update(), id);
            let Some((model, rollout, frozen)) = found else { break };
            let now = Instant::now();
            let abort = self.abort_reason(&rollout, &model);
            let trials = self.trials.of(id);
            let compared = self.compared(id);
            let (look, done) = course.look(&rollout, frozen, &trials, compared, abort, now);
            done.iter().for_each(|trial| self.trials.retire(trial));
            let stored = json_of(&course.stored(now), &look);
            self.show(&rollout, &look, &stored);
            if self.act(&mut course, &rollout, look.clone(), stored.clone()).await {
                // The registry has moved on; what it says now decides the next look.
                is_unstored = false;
                continue;
            }
            is_unstored |= look.is_news;
            if is_unstored && stored_at.elapsed() >= STORE_EVERY {
                is_unstored = !self.store(&rollout, stored, &storing);
                stored_at = Instant::now();
            }
            tokio::time::sleep(LOOK_LEAST).await;
            tokio::select! {
                () = tokio::time::sleep(LOOK_EVERY) => {}
                () = shared.failed.notified() => {}
                changed = seen.changed() => if changed.is_err() { break },
                () = self.stop.cancelled() => {
                    self.store_now(&rollout, &course).await;
                    return;
                }
            }
        }
        for trial in self.trials.of(id) {
            trial.canary.set_fault(None);
        }
        self.trials.forget(id);
        lock(&self.views).remove(id);
        lock(&self.aborts).remove(id);
    }

    /// The pairs of the shadow stage so far.
    fn compared(&self, id: &str) -> Compared {
        let Some(sink) = self.trials.sink(id) else { return Compared::default() };
        let counts = sink.counts();
        let pairs = Pairs {
            both_ok: counts.both_ok,
            canary_err: counts.shadow_err,
            stable_err: counts.live_err,
            both_err: counts.both_err,
        };
        let same = counts.both_ok.saturating_sub(counts.differ);
        Compared { pairs, diff: Diff { differ: counts.differ, same } }
    }

    async fn take_up(
        &self,
        id: &str,
        seen: &watch::Receiver<Option<Arc<RegistrySnapshot>>>,
    ) -> Option<Course> {
        let (model, rollout, _) = find(&seen.borrow(), id)?;
        let observed = observed(&rollout.spec, model.settings.sticky.is_some());
        let stored = loop {
            match self.registry.evidence(id).await {
                Ok(stored) => break stored,
                Err(error) => events::registry_unreadable(&error),
            }
            tokio::select! {
                () = tokio::time::sleep(LOOK_EVERY) => {}
                () = self.stop.cancelled() => return None,
            }
        };
        let stored: Option<Stored> =
            stored.and_then(|(_, value)| serde_json::from_value(value).ok());
        let age = now_ms().saturating_sub(rollout.started_at);
        let (shared, now) = (self.trials.shared(id), Instant::now());
        let course = Course::take_up(&rollout, observed, stored, age, Arc::clone(&shared), now);
        match course {
            Ok(course) => Some(course),
            Err(changed) => {
                // The spec of a rollout never changes: another release reads its margins
                // differently. What was seen cannot be carried over; what comes can be judged.
                tracing::warn!(rollout = id, error = %changed, "the stored evidence is left out");
                Course::take_up(&rollout, observed, None, age, shared, now).ok()
            }
        }
    }

    /// Why the rollout cannot go on, whatever the evidence says.
    fn abort_reason(&self, rollout: &Rollout, model: &Model) -> Option<String> {
        if let Some(reason) = lock(&self.aborts).get(&rollout.id) {
            return Some(reason.clone());
        }
        let live = self.live.load();
        let served = live.models.get(&model.name)?;
        match served.route.versions.get(&rollout.to) {
            Some(Availability::Failed(reason)) => {
                Some(format!("version {} cannot be loaded: {reason}", rollout.to))
            }
            _ if rollout.phase == Phase::Shadow => {
                let sink = self.trials.sink(&rollout.id)?;
                let why = sink.off()?;
                Some(format!("version {} is no shadow any more: {why}", rollout.to))
            }
            _ => None,
        }
    }

    /// Does what the look says. True when the registry has changed, or may have.
    async fn act(
        &self,
        course: &mut Course,
        rollout: &Rollout,
        look: Look,
        evidence: Value,
    ) -> bool {
        let step = match &look.verdict.decision {
            Decision::RollBack(_) => {
                if !self.trials.is_set_aside(&rollout.id) {
                    self.set_aside(&rollout.id).await;
                }
                RolloutMove::RollBack
            }
            Decision::Regressed(_) => RolloutMove::Regressed,
            Decision::Stop(_) if !matches!(rollout.standing, Standing::Held { .. }) => {
                RolloutMove::Hold { reason: headline(&look.verdict) }
            }
            Decision::Advance(_) | Decision::Promote(_) => forward(rollout),
            Decision::AskApproval(_) if rollout.approved => forward(rollout),
            Decision::AskApproval(_) if rollout.standing == Standing::Running => {
                RolloutMove::AskApproval
            }
            _ => return false,
        };
        let gives_traffic =
            matches!(step, RolloutMove::BeginSteps | RolloutMove::Advance | RolloutMove::Promote);
        if gives_traffic
            && let Err(reason) =
                self.sync.ensure_loaded(&rollout.model, [rollout.from, rollout.to]).await
        {
            tracing::warn!(model = %rollout.model, reason, "the rollout cannot go on yet");
            return false;
        }
        let record = MoveRecord {
            verdict: serde_json::to_value(&look.verdict).ok(),
            evidence: Some(evidence),
            reason: None,
        };
        let text = look.verdict.to_string();
        let is_told = step == RolloutMove::Regressed;
        match self.moves.make(rollout, step, record, &text, &Actor::system()).await {
            Ok(_) => {
                if is_told {
                    course.has_told();
                }
                true
            }
            Err(Error::Illegal(why)) => {
                // Nothing that another look at once would change.
                tracing::warn!(model = %rollout.model, rollout = rollout.id, why, "not possible");
                false
            }
            Err(Error::Conflict { .. } | Error::NotFound { .. }) => {
                // Somebody was faster: look at what they made of it.
                self.moves.follow().await;
                tokio::time::sleep(LOOK_LEAST).await;
                true
            }
            Err(error) => {
                tracing::error!(
                    model = %rollout.model, rollout = rollout.id, error = chain(&error),
                    "a decision could not be recorded; it is tried again"
                );
                false
            }
        }
    }

    fn show(&self, rollout: &Rollout, look: &Look, evidence: &Value) {
        let weight = match (self.trials.is_set_aside(&rollout.id), rollout.phase) {
            (false, Phase::Live { step }) => rollout.spec.steps.get(step).copied(),
            _ => None,
        };
        let view = View {
            verdict: look.verdict.clone(),
            basis: look.basis.clone(),
            weight: weight.unwrap_or(Percent::points(0)),
            requests: requests(&look.verdict),
            rescued: look.rescued,
            seen_failures: look.seen_failures,
            evidence: evidence.clone(),
        };
        events::rollout_looked_at(rollout, &view);
        lock(&self.views).insert(rollout.id.clone(), Arc::new(view));
    }

    /// Stores evidence without waiting for it. False while the last one is still on its way.
    fn store(&self, rollout: &Rollout, evidence: Value, storing: &Arc<AtomicBool>) -> bool {
        if storing.swap(true, Ordering::AcqRel) {
            return false;
        }
        let (registry, storing) = (Arc::clone(&self.registry), Arc::clone(storing));
        let (model, id, revision) = (rollout.model.clone(), rollout.id.clone(), rollout.revision);
        self.tasks.spawn(async move {
            let put = registry.put_evidence(&model, &id, revision, &evidence, now_ms());
            if let Err(error) = put.await {
                tracing::warn!(rollout = id, error = chain(&error), "evidence could not be stored");
            }
            storing.store(false, Ordering::Release);
        });
        true
    }

    async fn store_now(&self, rollout: &Rollout, course: &Course) {
        let Ok(evidence) = serde_json::to_value(course.stored(Instant::now())) else { return };
        let Rollout { model, id, revision, .. } = rollout;
        let stored = self.registry.put_evidence(model, id, *revision, &evidence, now_ms());
        if let Err(error) = stored.await {
            tracing::warn!(
                rollout = rollout.id,
                error = chain(&error),
                "evidence could not be stored"
            );
        }
    }
}

/// The move to the next weight.
fn forward(rollout: &Rollout) -> RolloutMove {
    match rollout.phase {
        Phase::Shadow => RolloutMove::BeginSteps,
        _ if rollout.is_at_last_step() => RolloutMove::Promote,
        _ => RolloutMove::Advance,
    }
}

/// Evidence as it is recorded: what a restart needs, and what the decision rests on.
fn json_of(stored: &Stored, look: &Look) -> Value {
    let mut value = serde_json::to_value(stored).unwrap_or_else(|_| json!({}));
    value["basis"] = serde_json::to_value(&look.basis).unwrap_or_default();
    value
}

/// The first line of a verdict.
fn headline(verdict: &Verdict) -> String {
    verdict.to_string().lines().next().unwrap_or_default().to_owned()
}

/// Requests so far, warm-up included; of a shadow stage the compared ones.
fn requests(verdict: &Verdict) -> Pair<u64> {
    match &verdict.seen {
        Seen::Live(seen) => Pair { canary: seen.total.canary.n(), stable: seen.total.stable.n() },
        Seen::Shadow(seen) => Pair { canary: seen.compared, stable: seen.compared },
    }
}

/// The rollout, while it is active.
fn find(seen: &Option<Arc<RegistrySnapshot>>, id: &str) -> Option<(Model, Rollout, bool)> {
    let seen = seen.as_ref()?;
    let of = |m: &&Model| m.rollout.as_ref().is_some_and(|r| r.id == id && r.is_active());
    let model = seen.models.iter().find(of)?;
    Some((model.clone(), model.rollout.clone()?, seen.frozen))
}

fn lock<T>(of: &Mutex<T>) -> MutexGuard<'_, T> {
    // Nothing panics while it is held; a poisoned lock would still hold a whole state.
    of.lock().unwrap_or_else(PoisonError::into_inner)
}
