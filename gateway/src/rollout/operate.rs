//! What people do to rollouts: checked against the model first, recorded with what the judge
//! knew at that moment.

use std::sync::Arc;

use serde_json::{Value, json};
use weighbridge_config::rollout::{Transition, Unit};
use weighbridge_config::{ModelName, RolloutSpec, Version};
use weighbridge_judge::{Cause, Decision};
use weighbridge_registry::{Actor, Error, Model, MoveRecord, NewRollout, Rollout, RolloutMove};

use crate::control::By;
use crate::edge::problem::{Kind, Problem};
use crate::gateway::Gateway;
use crate::notify::address::AddressPolicy;
use crate::now_ms;
use crate::rollout::controller::Controller;
use crate::rollout::trial::Trial;

/// Moves that lose a race against the rollout's own are tried again so often.
const TRIES: usize = 5;

/// A rollout to start.
#[derive(Debug)]
pub struct Wanted {
    pub to: Version,
    pub spec: Option<Value>,
    pub reason: Option<String>,
}

/// Starts a rollout: the canary is loaded before it gets traffic.
pub async fn start(
    gateway: &Gateway,
    name: &ModelName,
    wanted: Wanted,
    by: &By,
) -> Result<Rollout, Problem> {
    let control = &gateway.control;
    let model = control.registry.model(name).await?;
    let spec = spec_for(&model, wanted.spec, gateway.rollouts.moves.notifier.policy())?;
    control.load_first(name, [wanted.to]).await?;
    let new = NewRollout {
        id: format!("ro-{:016x}", rand::random::<u64>()),
        to: wanted.to,
        spec,
        reason: wanted.reason.clone(),
    };
    let started =
        control.registry.start_rollout(name, new, by.expected, &by.actor, now_ms()).await?;
    control.publish().await;
    control.sync.control_settled(name).await;
    let rollout = started.rollout.ok_or_else(|| Problem::internal("no rollout was started"))?;
    let (number, from, to) = (rollout.number, rollout.from, rollout.to);
    let text = format!("STARTED  {name} v{from} → v{to}   rollout {number}");
    let reason = wanted.reason.as_deref();
    gateway.rollouts.moves.tell(&rollout, Transition::Started, &text, reason, None, &by.actor);
    Ok(rollout)
}

/// The spec that was submitted, or the default one, if it can take effect on this model.
fn spec_for(
    model: &Model,
    submitted: Option<Value>,
    addresses: &AddressPolicy,
) -> Result<RolloutSpec, Problem> {
    let refused = |detail: String| Problem::new(Kind::Unprocessable, detail);
    let names_shadow = submitted.as_ref().is_some_and(|s| s.get("shadow").is_some());
    let document = submitted.unwrap_or_else(|| json!({}));
    let mut spec =
        RolloutSpec::from_json(document).map_err(|mistakes| refused(mistakes.to_string()))?;
    let mut mistakes = Vec::new();
    mistakes.extend(addresses.mistakes(&spec.webhooks).iter().map(ToString::to_string));
    if spec.unit == Unit::Key && model.settings.sticky.is_none() {
        let set = format!("weighbridge configure {} sticky=header:NAME", model.name);
        mistakes.push(format!("unit: \"key\" wants a sticky model ({set})"));
    }
    if model.settings.idempotent == Some(false) && spec.shadow.requests > 0 {
        if names_shadow {
            mistakes
                .push("shadow: the model is not idempotent: requests are not copied".to_owned());
        }
        spec.shadow.requests = 0;
    }
    if mistakes.is_empty() { Ok(spec) } else { Err(refused(mistakes.join("; "))) }
}

/// Makes a move by hand.
pub async fn make(
    gateway: &Gateway,
    name: &ModelName,
    step: RolloutMove,
    reason: Option<String>,
    by: &By,
) -> Result<Rollout, Problem> {
    let is_rollback = step == RolloutMove::RollBack;
    let rollouts = &gateway.rollouts;
    let mut aside = None;
    for _ in 0..TRIES {
        let model = gateway.control.registry.model(name).await?;
        if let Some(expected) = by.expected.filter(|e| *e != model.revision) {
            let found = model.revision;
            return Err(Error::Conflict { model: name.clone(), expected, found }.into());
        }
        let rollout = active(&model)?;
        let told = reason.clone().unwrap_or_else(|| format!("by {}", by.actor.name));
        if is_rollback {
            // Safety before bookkeeping.
            aside.get_or_insert_with(|| Aside::new(rollouts, &rollout.id, &told));
            rollouts.set_aside(&rollout.id).await;
        }
        let (record, text) =
            record(gateway, rollout, is_rollback.then_some(told.as_str()), &reason);
        let made = rollouts.moves.make(rollout, step.clone(), record, &text, &by.actor).await;
        match made {
            Ok(model) => {
                aside.as_mut().map(Aside::is_settled);
                return model.rollout.ok_or_else(|| Problem::internal("the rollout is gone"));
            }
            // The rollout moved by itself meanwhile; what was asked for was not about that.
            Err(Error::Conflict { .. }) if by.expected.is_none() => {}
            Err(error @ (Error::Unavailable { .. } | Error::Busy { .. })) if is_rollback => {
                let mut problem = Problem::from(error);
                problem.detail = format!(
                    "{} (the canary gets no traffic any more; recording it is tried again)",
                    problem.detail
                )
                .into();
                return Err(problem);
            }
            Err(error) => {
                if is_rollback {
                    aside.as_mut().map(Aside::is_settled);
                    rollouts.readmit(&rollout.id).await;
                }
                return Err(error.into());
            }
        }
    }
    Err(Problem::new(Kind::Conflict, format!("the rollout of {name} moves too fast: try again")))
}

/// A canary that somebody has taken out of the table here. Unless that is settled, its rollout is
/// rolled back as soon as the registry can record it: also when whoever asked has left.
struct Aside<'a> {
    rollouts: &'a Controller,
    rollout: String,
    reason: Option<String>,
}

impl<'a> Aside<'a> {
    fn new(rollouts: &'a Controller, rollout: &str, reason: &str) -> Self {
        Self { rollouts, rollout: rollout.to_owned(), reason: Some(reason.to_owned()) }
    }

    /// The registry has it, or it has been undone.
    fn is_settled(&mut self) {
        self.reason = None;
    }
}

impl Drop for Aside<'_> {
    fn drop(&mut self) {
        if let Some(reason) = self.reason.take() {
            self.rollouts.abort(&self.rollout, reason);
        }
    }
}

/// What the judge knew, under the decision of a person if that is a rollback.
fn record(
    gateway: &Gateway,
    rollout: &Rollout,
    rolled_back: Option<&str>,
    reason: &Option<String>,
) -> (MoveRecord, String) {
    let Some(view) = gateway.rollouts.view(&rollout.id) else {
        return (MoveRecord { reason: reason.clone(), ..MoveRecord::default() }, String::new());
    };
    let (mut verdict, mut evidence) = (view.verdict.clone(), view.evidence.clone());
    if let Some(why) = rolled_back {
        verdict.decision = Decision::RollBack(Cause::Manual { reason: why.to_owned() });
        // The decision can be judged again only with what it was made on.
        evidence["basis"] = json!(view.basis.clone().aborted(why));
    }
    let text = verdict.to_string();
    let verdict = serde_json::to_value(verdict).ok();
    (MoveRecord { verdict, evidence: Some(evidence), reason: reason.clone() }, text)
}

/// Lets rollouts advance by themselves, or not.
pub async fn freeze(
    gateway: &Gateway,
    frozen: bool,
    reason: Option<String>,
    actor: &Actor,
) -> Result<(), Problem> {
    gateway.control.registry.set_frozen(frozen, reason, actor, now_ms()).await?;
    gateway.control.publish().await;
    Ok(())
}

/// The active rollout of a model, or the latest.
pub async fn latest(gateway: &Gateway, name: &ModelName) -> Result<Rollout, Problem> {
    let model = gateway.control.registry.model(name).await?;
    model.rollout.ok_or_else(|| {
        let start = format!("weighbridge rollout start {name} --to VERSION");
        Problem::new(Kind::NotFound, format!("{name} has had no rollout: {start}"))
    })
}

/// A rollout of a model by its number.
pub async fn numbered(
    gateway: &Gateway,
    name: &ModelName,
    number: u64,
) -> Result<Rollout, Problem> {
    let all = gateway.control.registry.rollouts(name, weighbridge_registry::MOST_LISTED).await?;
    let found = all.into_iter().find(|r| r.number == number);
    found.ok_or_else(|| Problem::new(Kind::NotFound, format!("{name} has no rollout {number}")))
}

/// The trial in force, for a drill.
pub fn trial(gateway: &Gateway, name: &ModelName) -> Result<Arc<Trial>, Problem> {
    let live = gateway.live.load();
    let trial = live.models.get(name).and_then(|m| m.trial.clone());
    trial.ok_or_else(|| {
        let detail = format!("{name} has no canary that takes traffic in a rollout: a drill never makes a stable version fail");
        Problem::new(Kind::Conflict, detail)
    })
}

fn active(model: &Model) -> Result<&Rollout, Problem> {
    model.rollout.as_ref().filter(|r| r.is_active()).ok_or_else(|| {
        let name = &model.name;
        let detail = match &model.rollout {
            Some(last) => {
                format!("{name} has no active rollout: the last one ({}) has ended", last.number)
            }
            None => format!(
                "{name} has no active rollout: weighbridge rollout start {name} --to VERSION"
            ),
        };
        Problem::new(Kind::Conflict, detail)
    })
}
