//! A verdict in words: every line with the value, the limit, the sample sizes and the evidence.

use std::fmt::{self, Display, Formatter};

use super::{Seen, Verdict};
use crate::assessment::{GuardEvidence, StreamEvidence};
use crate::decide::{Cause, Decision, Grounds, HoldReason, NO_DATA, Standing};
use crate::stream::Stream;
use crate::verdict::text::number::{Count, Evidence, Time, percent, points};

mod line;
mod number;

impl Display for Verdict {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let about = &self.about;
        match &self.decision {
            Decision::RollBack(_) => {
                write!(f, "ROLLED BACK  {} {} → {}", about.model, about.to, about.from)?;
            }
            other => {
                self.title(f, other)?;
                write!(f, "\n  {} {} → {}", about.model, about.from, about.to)?;
            }
        }
        self.place(f)?;
        if let Decision::RollBack(cause) | Decision::Regressed(cause) = &self.decision {
            self.cause(f, cause)?;
        }
        if let Seen::Live(seen) = &self.seen {
            self.guard(f, &seen.guard)?;
        }
        for place in 0..self.streams().len() {
            write!(f, "\n{}", line::Line { verdict: self, place })?;
        }
        self.rest(f)
    }
}

impl Verdict {
    fn title(&self, f: &mut Formatter<'_>, decision: &Decision) -> fmt::Result {
        match decision {
            Decision::RollBack(_) => Ok(()),
            Decision::Hold(reason) => {
                write!(f, "HOLD  ")?;
                self.hold(f, *reason)
            }
            Decision::Stop(reason) => {
                write!(f, "HELD until somebody decides  ")?;
                self.hold(f, *reason)
            }
            Decision::Regressed(_) => write!(f, "REGRESSED  it goes on: on_regression = notify"),
            Decision::Advance(grounds) => {
                write!(f, "ADVANCED {}{} %: ", self.weight_before(), self.next())?;
                self.grounds(f, *grounds)
            }
            Decision::AskApproval(grounds) => {
                write!(f, "WAITS FOR APPROVAL of {} %: ", self.next())?;
                self.grounds(f, *grounds)
            }
            Decision::Promote(grounds) => {
                write!(f, "PROMOTED {}{} %: ", self.weight_before(), self.next())?;
                self.grounds(f, *grounds)
            }
            Decision::Stay => f.write_str(match self.situation.standing {
                Standing::Running if self.situation.frozen => "FROZEN  guard and rollback stay on",
                Standing::Running => "RUNNING",
                Standing::Paused => "PAUSED  guard and rollback stay on",
                Standing::WaitsForApproval => "WAITS FOR APPROVAL  guard and rollback stay on",
                Standing::Held => "HELD until somebody decides  guard and rollback stay on",
            }),
        }
    }

    fn hold(&self, f: &mut Formatter<'_>, reason: HoldReason) -> fmt::Result {
        match (reason, &self.seen) {
            (HoldReason::CommonCause, Seen::Live(seen)) => {
                let (canary, stable) = (&seen.total.canary, &seen.total.stable);
                // Stable's open requests were completed as errors that nobody has seen.
                let failed = stable.err.saturating_sub(seen.open.stable);
                let rate = |bad: u64, n: u64| {
                    let share = percent(bad as f64 / n.max(1) as f64);
                    format!("{share} % ({}/{})", Count(bad), Count(n))
                };
                let (canary, stable) = (rate(canary.err, canary.n()), rate(failed, stable.n()));
                write!(f, "common-cause: the canary fails {canary}, stable {stable}; ")?;
                let (came, wanted) =
                    (Evidence(seen.guard.relative_log_e), Evidence(seen.guard.relative_required));
                write!(f, "that it is the canary alone has evidence {came}; {wanted} is required")
            }
            (HoldReason::Split, Seen::Live(seen)) => {
                let (canary, stable) = (seen.counted.canary.n(), seen.counted.stable.n());
                let share = canary as f64 / (canary + stable).max(1) as f64;
                write!(
                    f,
                    "split: {} % of the counted requests were the canary's ({}/{}), drawn were {} % at this step; evidence {}; {} was required",
                    percent(share),
                    Count(canary),
                    Count(canary + stable),
                    f64::from(seen.weight),
                    Evidence(seen.split_log_e),
                    Evidence(crate::decide::SPLIT_EVIDENCE.ln()),
                )
            }
            (HoldReason::NoData, _) => write!(
                f,
                "no-data: no canary request finished for {} (weight {} %, expected {:.2} req/s)",
                Time(self.situation.since_canary_ms.max(NO_DATA.as_millis() as u64)),
                self.weight(),
                self.situation.expected_per_s,
            ),
            (HoldReason::Regression { stream }, _) => {
                write!(f, "regression: {} (on_regression = hold)", stream.word())
            }
            (HoldReason::Inconclusive, _) => {
                let at_step = Time(self.situation.at_step_ms);
                write!(f, "inconclusive: no verdict in {at_step} at this step")
            }
            // Of live steps only.
            (HoldReason::Split | HoldReason::CommonCause, Seen::Shadow(_)) => Ok(()),
        }
    }

    fn grounds(&self, f: &mut Formatter<'_>, grounds: Grounds) -> fmt::Result {
        match (grounds, &self.seen) {
            (Grounds::Proved, _) => self.proof(f)?,
            (Grounds::Inconclusive, _) => {
                write!(f, "no verdict in time and on_inconclusive = promote")?;
            }
            (Grounds::ShadowDone, Seen::Shadow(seen)) => {
                return write!(
                    f,
                    "shadow stage complete, {} copies compared, {}",
                    Count(seen.compared),
                    Time(self.situation.at_step_ms)
                );
            }
            (Grounds::ShadowDone, Seen::Live(_)) => write!(f, "shadow stage complete")?,
        }
        if let Seen::Live(seen) = &self.seen {
            let requests = Count(seen.total.canary.n());
            write!(f, ", {requests} canary requests, {}", Time(self.situation.at_step_ms))?;
        }
        Ok(())
    }

    /// "all 4 checks proved …", with the one that was proved least.
    fn proof(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let streams = self.streams();
        write!(f, "all {} checks proved \"not worse\"", streams.len())?;
        let slack = |of: &StreamEvidence| of.log_v - of.log_v_required;
        let weakest = streams.iter().min_by(|a, b| slack(a).total_cmp(&slack(b)));
        let Some(weakest) = weakest else { return Ok(()) };
        write!(f, " (weakest: {} {}", weakest.stream.word(), Evidence(weakest.log_v))?;
        write!(f, "; {} was required)", Evidence(weakest.log_v_required))
    }

    fn cause(&self, f: &mut Formatter<'_>, cause: &Cause) -> fmt::Result {
        match cause {
            Cause::Manual { reason } => write!(f, "\n  by hand: {reason}"),
            Cause::Inconclusive => {
                let at_step = Time(self.situation.at_step_ms);
                write!(
                    f,
                    "\n  inconclusive: no verdict in {at_step} at this step and on_inconclusive = rollback"
                )
            }
            Cause::Guard | Cause::Regression { .. } => Ok(()),
        }
    }

    /// Step, attempt, how much was seen.
    fn place(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match &self.seen {
            Seen::Live(seen) => {
                let (step, steps, weight) = (seen.step + 1, self.steps.len(), self.weight());
                write!(f, "   step {step}/{steps} ({weight} %)   attempt {}", self.about.attempt)?;
                let (canary, stable) = (seen.total.canary.n(), seen.total.stable.n());
                let (canary, total) = (Count(canary), Count(canary + stable));
                write!(f, "   after {canary} canary / {total} total {}", line::unit(seen))?;
            }
            Seen::Shadow(seen) => {
                let compared = Count(seen.compared);
                write!(f, "   shadow stage   attempt {}", self.about.attempt)?;
                write!(f, "   after {compared} compared copies")?;
            }
        }
        write!(f, ", {}", Time(self.about.elapsed_ms))
    }

    /// The guard's line, where it has something to say.
    fn guard(&self, f: &mut Formatter<'_>, guard: &GuardEvidence) -> fmt::Result {
        if !guard.is_breached() {
            return Ok(());
        }
        let rate = guard.canary_errors as f64 / guard.canary_requests.max(1) as f64;
        write!(
            f,
            "\n  guard   {} % of the canary's requests failed ({}/{})   evidence {}; {} was required",
            percent(rate),
            Count(guard.canary_errors),
            Count(guard.canary_requests),
            Evidence(guard.absolute_log_e),
            Evidence(guard.absolute_required),
        )?;
        if guard.wants_relative {
            let (seen, wanted) =
                (Evidence(guard.relative_log_e), Evidence(guard.relative_required));
            write!(f, "; that stable does not fail too {seen}, {wanted} was required")?;
        } else {
            write!(f, "; above a weight of 50 % that is enough")?;
        }
        let decided = self.decision == Decision::RollBack(Cause::Guard);
        f.write_str(if decided { "   ✗ decided" } else { "" })
    }

    /// Who was hurt and what comes next.
    fn rest(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let Seen::Live(seen) = &self.seen else { return Ok(()) };
        match &self.decision {
            Decision::RollBack(_) | Decision::Regressed(_) | Decision::Promote(_) => {
                let failed = seen.total.canary.err.max(seen.total.canary.unit_err);
                let hit = failed.saturating_sub(self.about.rescued);
                write!(f, "\n  users hit: {} failed requests", Count(hit))?;
                write!(f, " ({} rescued by stable)", Count(self.about.rescued))?;
                if matches!(self.decision, Decision::RollBack(_)) {
                    write!(f, "   next: weighbridge rollout why {}", self.about.model)?;
                }
                Ok(())
            }
            Decision::Stay | Decision::Hold(_) | Decision::Stop(_) => match self.eta_s {
                Some(0) | None if seen.streams.iter().all(StreamEvidence::proved) => Ok(()),
                None => write!(
                    f,
                    "\n  proof: not in sight at the current rates; raise the weight, add a shadow stage or loosen a margin"
                ),
                Some(seconds) => {
                    write!(f, "\n  proof: in ≈ {} at the current rates", Time(seconds * 1000))?;
                    let advice = "; raise the weight, add a shadow stage or loosen a margin to have it sooner";
                    f.write_str(if seconds > 3600 { advice } else { "" })
                }
            },
            Decision::Advance(_) | Decision::AskApproval(_) => Ok(()),
        }
    }

    /// The canary's weight at this step, in percent.
    fn weight(&self) -> f64 {
        match &self.seen {
            Seen::Live(seen) => f64::from(seen.weight),
            Seen::Shadow(_) => 0.0,
        }
    }

    fn weight_before(&self) -> String {
        match &self.seen {
            Seen::Live(_) => format!("{} → ", self.weight()),
            Seen::Shadow(_) => "shadow → ".to_owned(),
        }
    }

    /// The weight after this step, in percent.
    fn next(&self) -> f64 {
        let next = match &self.seen {
            Seen::Live(seen) => self.steps.get(seen.step + 1),
            Seen::Shadow(_) => self.steps.first(),
        };
        next.copied().map_or(100.0, f64::from)
    }

    /// The stream that decided, if one did.
    fn decided_by(&self) -> Option<Stream> {
        match &self.decision {
            Decision::RollBack(Cause::Regression { stream })
            | Decision::Regressed(Cause::Regression { stream })
            | Decision::Stop(HoldReason::Regression { stream }) => Some(*stream),
            _ => None,
        }
    }

    /// A margin in percentage points, signed.
    fn limit(margin: f64) -> String {
        format!("limit {} pp", points(margin))
    }
}
