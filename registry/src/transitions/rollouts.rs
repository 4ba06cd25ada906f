//! The state machine of rollouts: which move is legal from where, and what it makes of the
//! rollout and of the route.

use std::collections::BTreeMap;

use weighbridge_config::Split;
use weighbridge_config::rollout::Percent;
use weighbridge_config::split::POINTS;

use super::{NextRoute, existing, named, require_ready};
use crate::error::{Error, Result};
use crate::event::action;
use crate::model::{Millis, Model, Revision};
use crate::rollout::{
    IfRollout, MoveRecord, NewRollout, Phase, Rollout, RolloutMove, RolloutOutcome, Standing,
};
use crate::route::{Route, RouteCause};

/// From this attempt on somebody has to say why the same two versions are tried again: each
/// attempt spends the probability of a wrong verdict anew.
const REASON_FROM_ATTEMPT: u32 = 4;

/// What the change that makes a move knows.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Moment<'a> {
    /// The registry's revision after the change.
    pub(crate) revision: Revision,
    pub(crate) at: Millis,
    /// The id of the actor.
    pub(crate) actor: &'a str,
}

/// What the model's name has seen of rollouts.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Earlier {
    /// The highest number of a rollout.
    pub(crate) highest_number: u64,
    /// Rollouts between the same two versions.
    pub(crate) attempts: u32,
    /// Some rollout has the id that the new one is to have.
    pub(crate) id_is_taken: bool,
}

/// A move that has been decided on.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Moved {
    /// The rollout after the move.
    pub(crate) rollout: Rollout,
    /// The route that the move sets.
    pub(crate) route: Option<NextRoute>,
    pub(crate) action: &'static str,
}

/// Whether a rollout of the model may be started now, as far as its present state decides; the
/// version that would be its `from`.
pub(crate) fn may_start<'m>(model: &'m Model, new: &NewRollout) -> Result<&'m Route> {
    let refuse = |why: String| {
        Err(Error::Illegal(format!("no rollout of {} can be started: {why}", model.name)))
    };
    let Some(route) = &model.route else {
        return refuse("none of its versions takes traffic; promote one first".to_owned());
    };
    if let Some(active) = model.active_rollout() {
        return refuse(format!("{} {}", subject(active), state(active)));
    }
    if let Some(experiment) = &model.experiment {
        return refuse(format!(
            "the experiment {} is running; stop it first, since both decide who gets which version",
            experiment.name
        ));
    }
    require_ready(existing(model, new.to)?, "be rolled out")?;
    let stable = route.split.stable();
    if stable == new.to {
        return refuse(format!("version {stable} is the stable version already"));
    }
    if let Some(third) = route.split.weights().into_keys().find(|v| *v != stable && *v != new.to) {
        return refuse(format!(
            "the route is split ({}), and version {third} is neither stable nor the new one; \
             give its traffic to version {stable} first",
            route.split
        ));
    }
    if let Some(mistake) = new.spec.mistakes().first() {
        return refuse(format!("its spec is wrong: {mistake}"));
    }
    let first = new.spec.steps.first().copied().unwrap_or(Percent::points(0));
    if new.spec.shadow.requests == 0 && new.spec.wants_approval(first) {
        return refuse(format!(
            "its spec wants an approval before {first}, but without a shadow stage the start \
             itself gives the canary {first}; leave {first} out of approve, or add the stage"
        ));
    }
    Ok(route)
}

/// The rollout as it starts.
pub(crate) fn start(
    model: &Model,
    new: NewRollout,
    earlier: Earlier,
    moment: &Moment<'_>,
) -> Result<Moved> {
    let base = may_start(model, &new)?;
    let refuse = |why: String| {
        Err(Error::Illegal(format!("no rollout of {} can be started: {why}", model.name)))
    };
    if earlier.id_is_taken {
        return refuse(format!("there is or was one with the id {}; draw another", new.id));
    }
    let (from, to, attempt) = (base.split.stable(), new.to, earlier.attempts.saturating_add(1));
    let says_why = new.reason.as_ref().is_some_and(|reason| !reason.trim().is_empty());
    if attempt >= REASON_FROM_ATTEMPT && !says_why {
        return refuse(format!(
            "it would be attempt {attempt} from version {from} to {to}; say why it is tried \
             again (reason)"
        ));
    }
    let phase = match new.spec.shadow.requests {
        0 => Phase::Live { step: 0 },
        _ => Phase::Shadow,
    };
    let rollout = Rollout {
        id: new.id,
        model: model.name.clone(),
        number: earlier.highest_number.saturating_add(1),
        attempt,
        from,
        to,
        spec: new.spec,
        phase,
        standing: Standing::Running,
        approved: false,
        revision: moment.revision,
        started_at: moment.at,
        started_by: moment.actor.to_owned(),
        step_since: moment.at,
        ended_at: None,
        reason: new.reason,
        verdict: None,
        // A step that an ended rollout has left in force is none that anybody goes back to.
        base_route: match (base.cause, base.previous) {
            (RouteCause::Step, Some(before)) => before,
            _ => base.sequence,
        },
        undo_until: None,
    };
    let route = match phase {
        Phase::Live { step } => Some(route_of_step(base, &rollout, step)?),
        Phase::Shadow | Phase::Ended { .. } => None,
    };
    Ok(Moved { rollout, route, action: action::ROLLOUT_STARTED })
}

/// What a move makes of the model's rollout; `None` when it stands so already.
pub(crate) fn make_move(
    model: &Model,
    step: &RolloutMove,
    record: &MoveRecord,
    frozen: bool,
    moment: &Moment<'_>,
) -> Result<Option<Moved>> {
    let before = existing_rollout(model)?;
    let Some(next) = next_state(before, step, frozen)? else {
        return Ok(None);
    };
    let gives_traffic = matches!(
        step,
        RolloutMove::BeginSteps
            | RolloutMove::Advance
            | RolloutMove::Promote
            | RolloutMove::PromoteNow
    );
    if gives_traffic {
        require_ready(existing(model, before.to)?, "take traffic")?;
    }
    let mut rollout = Rollout {
        phase: next.phase,
        standing: next.standing,
        approved: next.approved,
        revision: moment.revision,
        reason: record.reason.clone(),
        verdict: record.verdict.clone().or_else(|| before.verdict.clone()),
        ..before.clone()
    };
    if before.phase != rollout.phase || *step == RolloutMove::Resume {
        rollout.step_since = moment.at;
    }
    if let Phase::Ended { outcome } = rollout.phase {
        rollout.ended_at = Some(moment.at);
        let window = u64::try_from(rollout.spec.undo_window.as_millis()).unwrap_or(u64::MAX);
        rollout.undo_until =
            (outcome == RolloutOutcome::Promoted).then(|| moment.at.saturating_add(window));
    }
    let route = next_route(model, before, &rollout)?;
    Ok(Some(Moved { rollout, route, action: action_of(step) }))
}

/// The end of an active rollout because the route is being set, or the refusal to set it.
pub(crate) fn end_for_route(
    model: &Model,
    if_rollout: IfRollout,
    moment: &Moment<'_>,
) -> Result<Option<Moved>> {
    let Some(active) = model.active_rollout() else {
        return Ok(None);
    };
    if if_rollout == IfRollout::Refuse {
        return Err(Error::Illegal(format!(
            "the route of {} cannot be set: a rollout of version {} {}; promote it or roll it \
             back, or set the route with --end-rollout",
            model.name,
            active.to,
            state(active)
        )));
    }
    make_move(model, &RolloutMove::End, &MoveRecord::default(), false, moment)
}

/// The model's latest rollout, or that it has had none.
pub(crate) fn existing_rollout(model: &Model) -> Result<&Rollout> {
    let rollout = model.rollout.as_ref();
    rollout.ok_or_else(|| Error::not_found(format!("a rollout of {}", model.name)))
}

/// What a move changes of a rollout's state.
#[derive(Debug, PartialEq)]
struct State {
    phase: Phase,
    standing: Standing,
    approved: bool,
}

/// The state that a move leads to; `None` when the rollout is in it already.
fn next_state(rollout: &Rollout, step: &RolloutMove, frozen: bool) -> Result<Option<State>> {
    let refuse = |advice: &str| Err(refusal(rollout, step, advice));
    let phase =
        |phase| Ok(Some(State { phase, standing: rollout.standing.clone(), approved: false }));
    let standing = |standing| {
        let (phase, approved) = (rollout.phase, rollout.approved);
        Ok(Some(State { phase, standing, approved }))
    };
    if !rollout.is_active() {
        return refuse("");
    }
    match (step, &rollout.standing) {
        (RolloutMove::PromoteNow, _) => phase(ended(RolloutOutcome::Promoted)),
        (RolloutMove::RollBack, _) => phase(ended(RolloutOutcome::RolledBack)),
        (RolloutMove::End, _) => phase(ended(RolloutOutcome::Ended)),
        (RolloutMove::Regressed, now) => standing(now.clone()),

        (RolloutMove::BeginSteps | RolloutMove::Advance | RolloutMove::Promote, _) => {
            match forward(rollout, step, frozen) {
                Ok(next) => phase(next),
                Err(advice) => refuse(&advice),
            }
        }

        (RolloutMove::Pause, Standing::Paused) => Ok(None),
        (RolloutMove::Pause, _) => standing(Standing::Paused),

        (RolloutMove::Resume, Standing::Running) => Ok(None),
        (RolloutMove::Resume, Standing::WaitsForApproval) => refuse("approve it instead"),
        (RolloutMove::Resume, Standing::Paused | Standing::Held { .. }) => {
            standing(Standing::Running)
        }

        (RolloutMove::AskApproval, Standing::WaitsForApproval) => Ok(None),
        (RolloutMove::AskApproval, Standing::Running) if rollout.lacks_approval() => {
            standing(Standing::WaitsForApproval)
        }
        (RolloutMove::AskApproval, Standing::Running) => {
            refuse("its next weight wants no approval, or has it")
        }
        (RolloutMove::AskApproval, Standing::Paused | Standing::Held { .. }) => {
            refuse("only one that runs asks")
        }

        (RolloutMove::Approve, Standing::WaitsForApproval) => {
            Ok(Some(State { phase: rollout.phase, standing: Standing::Running, approved: true }))
        }
        (RolloutMove::Approve, Standing::Running) if rollout.approved => Ok(None),
        (RolloutMove::Approve, _) => refuse("it does not wait for an approval"),

        (RolloutMove::Hold { reason }, Standing::Held { reason: known }) if reason == known => {
            Ok(None)
        }
        (RolloutMove::Hold { reason }, _) => standing(Standing::Held { reason: reason.clone() }),
    }
}

/// The phase that the evidence leads to, or what stands in its way.
fn forward(
    rollout: &Rollout,
    step: &RolloutMove,
    frozen: bool,
) -> std::result::Result<Phase, String> {
    let next = match (step, rollout.phase) {
        (RolloutMove::BeginSteps, Phase::Shadow) => Phase::Live { step: 0 },
        (RolloutMove::Advance, Phase::Live { step }) if !rollout.is_at_last_step() => {
            Phase::Live { step: step + 1 }
        }
        (RolloutMove::Promote, Phase::Live { .. }) if rollout.is_at_last_step() => {
            ended(RolloutOutcome::Promoted)
        }
        (RolloutMove::Promote, Phase::Live { .. }) => {
            return Err("only that of the last step allows it".to_owned());
        }
        (RolloutMove::Advance, Phase::Live { .. }) => {
            return Err("that is the last one, and the promotion follows".to_owned());
        }
        (_, Phase::Shadow) => return Err("its steps have not begun".to_owned()),
        _ => return Err("its steps have begun".to_owned()),
    };
    match &rollout.standing {
        Standing::Running => {}
        Standing::Paused => return Err("resume it first".to_owned()),
        Standing::WaitsForApproval => return Err("approve it first".to_owned()),
        Standing::Held { .. } => return Err("resume it first, or roll it back".to_owned()),
    }
    if rollout.lacks_approval() {
        let weight = rollout.next_weight().unwrap_or(Percent::whole(100));
        return Err(format!("its spec wants an approval before {weight}"));
    }
    if frozen {
        return Err("rollouts are frozen".to_owned());
    }
    Ok(next)
}

fn ended(outcome: RolloutOutcome) -> Phase {
    Phase::Ended { outcome }
}

/// The route that belongs to the phase a rollout has come to.
fn next_route(model: &Model, before: &Rollout, after: &Rollout) -> Result<Option<NextRoute>> {
    let Some(current) = &model.route else {
        return Err(Error::Illegal(format!("{} has no route", model.name)));
    };
    if before.phase == after.phase {
        return Ok(None);
    }
    let route = match after.phase {
        Phase::Live { step } => route_of_step(current, after, step)?,
        Phase::Ended { outcome: RolloutOutcome::Promoted } => NextRoute {
            split: Split::all_to(after.to),
            cause: RouteCause::Promote,
            previous: Some(after.base_route),
        },
        Phase::Ended { outcome: RolloutOutcome::RolledBack } => {
            let split = Split::all_to(after.from);
            if split == current.split {
                return Ok(None);
            }
            // As after any rollback, the next one leads to where the base would have led: not
            // to the base, in which the canary may have had a part.
            let previous = base_of(model, after).and_then(|base| base.previous);
            NextRoute { split, cause: RouteCause::RollBack, previous }
        }
        Phase::Shadow | Phase::Ended { outcome: RolloutOutcome::Ended } => return Ok(None),
    };
    Ok(Some(route))
}

/// The route that gives the canary the weight of a step, and stable the rest.
fn route_of_step(current: &Route, rollout: &Rollout, step: usize) -> Result<NextRoute> {
    let refuse = |why: String| Error::Illegal(format!("{} has {why}", subject(rollout)));
    let weight = rollout.spec.steps.get(step).map(|step| step.as_points());
    let weight = weight.ok_or_else(|| refuse(format!("no step {}", step + 1)))?;
    let rest = POINTS.saturating_sub(weight);
    let weights = BTreeMap::from([(rollout.from, rest), (rollout.to, weight)]);
    let split = current.split.reweighted(&weights);
    let split = split.map_err(|mistake| refuse(format!("an impossible step: {mistake}")))?;
    Ok(NextRoute { split, cause: RouteCause::Step, previous: Some(rollout.base_route) })
}

/// The route that was in force before the rollout: the present one, or the one before any of
/// the rollout's.
fn base_of<'m>(model: &'m Model, rollout: &Rollout) -> Option<&'m Route> {
    let known = [&model.route, &model.previous_route].into_iter().flatten();
    known.into_iter().find(|route| route.sequence == rollout.base_route)
}

fn action_of(step: &RolloutMove) -> &'static str {
    match step {
        RolloutMove::BeginSteps | RolloutMove::Advance => action::ROLLOUT_ADVANCED,
        RolloutMove::Promote | RolloutMove::PromoteNow => action::ROLLOUT_PROMOTED,
        RolloutMove::RollBack => action::ROLLOUT_ROLLED_BACK,
        RolloutMove::Pause => action::ROLLOUT_PAUSED,
        RolloutMove::Resume => action::ROLLOUT_RESUMED,
        RolloutMove::AskApproval => action::ROLLOUT_WAITS_FOR_APPROVAL,
        RolloutMove::Approve => action::ROLLOUT_APPROVED,
        RolloutMove::Hold { .. } => action::ROLLOUT_HELD,
        RolloutMove::Regressed => action::ROLLOUT_REGRESSED,
        RolloutMove::End => action::ROLLOUT_ENDED,
    }
}

fn refusal(rollout: &Rollout, step: &RolloutMove, advice: &str) -> Error {
    let advice = if advice.is_empty() { String::new() } else { format!("; {advice}") };
    Error::Illegal(format!(
        "{} cannot {}: it {}{advice}",
        subject(rollout),
        step.word(),
        state(rollout)
    ))
}

/// A rollout as sentences name it.
pub(crate) fn subject(rollout: &Rollout) -> String {
    format!("rollout {} ({})", rollout.number, named(&rollout.model, rollout.to))
}

/// Where a rollout stands, as the predicate of a sentence.
pub(crate) fn state(rollout: &Rollout) -> String {
    let place = match rollout.phase {
        Phase::Shadow => "in its shadow phase".to_owned(),
        Phase::Live { step } => {
            let weight = rollout.spec.steps.get(step).copied().unwrap_or(Percent::points(0));
            format!("at step {} of {} ({weight})", step + 1, rollout.spec.steps.len())
        }
        Phase::Ended { outcome } => {
            return match outcome {
                RolloutOutcome::Promoted => "has ended (promoted)",
                RolloutOutcome::RolledBack => "has ended (rolled back)",
                RolloutOutcome::Ended => "has been ended",
            }
            .to_owned();
        }
    };
    match &rollout.standing {
        Standing::Running => format!("is running {place}"),
        Standing::Paused => format!("is paused {place}"),
        Standing::WaitsForApproval => format!("waits for an approval {place}"),
        Standing::Held { reason } => format!("is held {place} ({reason})"),
    }
}

#[cfg(test)]
mod tests;
