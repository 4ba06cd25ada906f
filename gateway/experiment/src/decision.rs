//! What follows from the numbers.

use std::fmt;

use serde::{Deserialize, Serialize};
use weighbridge_config::experiment::{Better, Metric, Metrics};

use crate::analysis::{Check, gain};
use crate::effect::{Effect, Unready};

/// What to do about a variant. The experiment goes on until somebody stops it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[cfg_attr(feature = "openapi", schema(as = ExperimentDecision))]
pub enum Decision {
    /// Better than the control, and no guardrail is worse by more than its margin.
    Ship,
    /// Not worse than the control by more than the margin.
    NotWorse,
    /// Neither better nor worse by more than the margin: more units would not tell more.
    Futile,
    /// Worse than the control.
    Worse,
    /// A guardrail is worse by more than its margin.
    GuardrailBroken,
    /// Nothing is settled yet.
    KeepGoing,
    /// Units are not split as they were drawn: nothing here can be believed.
    SampleRatioMismatch,
    /// Feedback comes from some variants rather than from others.
    FeedbackMismatch,
}

impl fmt::Display for Decision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Ship => "ship",
            Self::NotWorse => "not worse",
            Self::Futile => "futile",
            Self::Worse => "worse",
            Self::GuardrailBroken => "guardrail broken",
            Self::KeepGoing => "keep going",
            Self::SampleRatioMismatch => "sample ratio mismatch",
            Self::FeedbackMismatch => "feedback mismatch",
        })
    }
}

/// What is known about one metric of one variant, against the control.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[cfg_attr(feature = "openapi", schema(as = ExperimentFinding))]
pub struct Finding {
    pub metric: String,
    pub better: Better,
    /// In the metric's own unit.
    pub margin: f64,
    /// `None` as long as there is no interval.
    pub effect: Option<Effect>,
    /// Why there is none.
    pub unready: Option<Unready>,
    /// Feedback does not come from both variants alike.
    pub join_is_wrong: bool,
}

impl Finding {
    pub(crate) fn new(
        metric: &Metric,
        effect: Result<Effect, Unready>,
        join_is_wrong: bool,
    ) -> Self {
        Self {
            metric: metric.name.clone(),
            better: metric.better,
            margin: metric.margin,
            effect: effect.ok(),
            unready: effect.err(),
            join_is_wrong,
        }
    }

    /// The interval as a gain: positive is better. `None` as long as there is none to believe.
    fn gains(&self) -> Option<(f64, f64)> {
        let effect = self.effect.as_ref().filter(|_| !self.join_is_wrong)?;
        let ends = [effect.lower, effect.upper].map(|end| gain(self.better, end));
        Some((ends[0].min(ends[1]), ends[0].max(ends[1])))
    }

    /// Whether the metric is known not to be worse by more than its margin.
    pub fn is_within_margin(&self) -> bool {
        self.gains().is_some_and(|(lower, _)| lower > -self.margin)
    }

    /// Whether it is known to be worse by more than its margin.
    pub fn is_broken(&self) -> bool {
        self.gains().is_some_and(|(_, upper)| upper < -self.margin)
    }
}

/// The decision about one variant, and a sentence that says why. The first that holds wins.
pub(crate) fn decide(
    metrics: &Metrics,
    primary: &Finding,
    guardrails: &[Finding],
    split: Check,
) -> (Decision, String) {
    let name = &metrics.primary.name;
    if split.is_wrong {
        let evidence = shown(split.evidence);
        let reason = format!(
            "units are not split as they were drawn (evidence {evidence} : 1): some are lost or counted twice, so the numbers mean nothing"
        );
        return (Decision::SampleRatioMismatch, reason);
    }
    if let Some(broken) = guardrails.iter().find(|g| g.is_broken()) {
        let reason = format!("{} is worse by more than {}", broken.metric, broken.margin);
        return (Decision::GuardrailBroken, reason);
    }
    if primary.join_is_wrong {
        let reason = format!("{name} is reported more often for some variants than for others");
        return (Decision::FeedbackMismatch, reason);
    }
    let Some((lower, upper)) = primary.gains() else {
        return (Decision::KeepGoing, waiting(name, primary.unready));
    };
    let margin = primary.margin;
    let undecided = guardrails.iter().find(|g| !g.is_within_margin());
    if lower > 0.0 {
        return match undecided {
            None => (Decision::Ship, format!("{name} is better")),
            Some(open) => {
                let (metric, margin) = (&open.metric, open.margin);
                let reason = match open.join_is_wrong {
                    true => format!(
                        "{name} is better, but {metric} is reported more often for some variants than for others"
                    ),
                    false => format!(
                        "{name} is better, but {metric} may still be worse by more than {margin}"
                    ),
                };
                (Decision::KeepGoing, reason)
            }
        };
    }
    if lower > -margin && upper < margin {
        return (Decision::Futile, format!("{name} differs by less than {margin}"));
    }
    if upper < 0.0 {
        return (Decision::Worse, format!("{name} is worse"));
    }
    if lower > -margin {
        return (Decision::NotWorse, format!("{name} is not worse by more than {margin}"));
    }
    (Decision::KeepGoing, format!("{name} may be better or worse"))
}

fn waiting(name: &str, unready: Option<Unready>) -> String {
    match unready {
        Some(Unready::Units { has, wants }) => {
            format!(
                "{name}: {has} units of the smaller variant count so far, {wants} are wanted (a unit counts once its window has passed; the first ones only tell the scale)"
            )
        }
        Some(Unready::Variation) => format!("{name} is the same for all units so far"),
        None => format!("{name} has no interval yet"),
    }
}

/// Evidence, as short as it says something.
fn shown(evidence: f64) -> String {
    if evidence >= 1e6 { format!("{evidence:.1e}") } else { format!("{evidence:.0}") }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use weighbridge_config::experiment::MetricKind;

    use super::*;

    fn metric(name: &str, better: Better, margin: f64) -> Metric {
        let (name, window) = (name.to_owned(), Duration::ZERO);
        Metric { name, kind: MetricKind::Real, better, window, margin, per_unit: None }
    }

    fn finding(metric: &Metric, interval: Option<(f64, f64)>) -> Finding {
        let effect = interval.map(|(lower, upper)| Effect {
            estimate: (lower + upper) / 2.0,
            lower,
            upper,
            control_mean: 1.0,
            units: 1000,
        });
        Finding::new(metric, effect.ok_or(Unready::Units { has: 7, wants: 100 }), false)
    }

    fn decided(
        better: Better,
        primary: Option<(f64, f64)>,
        guardrails: &[Option<(f64, f64)>],
        evidence: f64,
    ) -> (Decision, String) {
        let guarded = metric("seconds", Better::Down, 0.5);
        let metrics = Metrics {
            primary: metric("clicks", better, 0.1),
            guardrails: vec![guarded.clone(); guardrails.len()],
        };
        let guardrails: Vec<Finding> = guardrails.iter().map(|i| finding(&guarded, *i)).collect();
        let check = Check { evidence, required: 1000.0, is_wrong: evidence >= 1000.0 };
        decide(&metrics, &finding(&metrics.primary, primary), &guardrails, check)
    }

    #[test]
    fn each_interval_leads_to_its_decision() {
        use Decision::*;
        for (interval, wanted) in [
            ((0.01, 0.3), Ship),
            ((-0.05, 0.05), Futile),
            ((-0.09, -0.01), Futile),
            ((-0.3, -0.01), Worse),
            ((-0.05, 0.3), NotWorse),
            ((-0.3, 0.3), KeepGoing),
            ((-0.3, 0.05), KeepGoing),
        ] {
            let (lower, upper) = interval;
            assert_eq!(decided(Better::Up, Some(interval), &[], 1.0).0, wanted, "{interval:?}");
            let mirrored = Some((-upper, -lower));
            assert_eq!(decided(Better::Down, mirrored, &[], 1.0).0, wanted, "{mirrored:?}");
        }
        let (decision, reason) = decided(Better::Up, None, &[], 1.0);
        assert_eq!(decision, KeepGoing);
        assert!(reason.contains("7 units") && reason.contains("100"), "{reason}");
    }

    #[test]
    fn a_wrong_split_beats_everything_and_guardrails_beat_a_gain() {
        let good = Some((0.01, 0.3));
        let (broken, open, fine) = (Some((0.6, 0.9)), Some((0.1, 0.9)), Some((-0.5, 0.4)));
        let of = |guardrails: &[_], evidence| decided(Better::Up, good, guardrails, evidence);
        assert_eq!(of(&[broken], 2000.0).0, Decision::SampleRatioMismatch);
        assert_eq!(of(&[fine, broken], 1.0).0, Decision::GuardrailBroken);
        let (decision, reason) = of(&[fine, open], 1.0);
        assert_eq!(decision, Decision::KeepGoing);
        assert!(reason.contains("seconds may still be worse by more than 0.5"), "{reason}");
        assert_eq!(of(&[fine, None], 1.0).0, Decision::KeepGoing);
        assert_eq!(of(&[fine, fine], 1.0).0, Decision::Ship);
    }
}
