//! What came of the ramps, what may come of them, and the picture.

use std::fmt;

use serde::Serialize;

use crate::saturate::report::Spread;
use crate::scenario::Plan;
use crate::scenario::bounds::Bound;
use crate::scenario::load::Account;
use crate::scenario::plot::{self, Chart, Line, Panel};

use super::{Priorities, Ramp, SETTINGS, Setting, Step, TURNS, Turn, highest};

/// Of the best step's goodput, what has to be left of it at the highest.
const LEFT_PERCENT: f64 = 90.0;
/// A gateway that gives much more than its saturation was not saturated: others computed then, and
/// three times that rate is no overload.
const MOST_PERCENT: f64 = 130.0;
/// Beyond luck, and beyond what requests refused in rows add to it.
const FAVOUR: f64 = 5.0;

/// What came of all ramps.
#[derive(Debug, Serialize)]
pub struct Report {
    pub models: String,
    pub settings: &'static str,
    pub seed: u64,
    pub wanted_runs: usize,
    pub window_s: f64,
    pub deadline_ms: f64,
    /// Answers per second in a closed loop, without deadlines; the greatest is what counts.
    pub saturation: Spread,
    pub bounds: Vec<Bound>,
    pub ramps: Vec<Ramp>,
    pub turns: Vec<Turn>,
}

impl Report {
    pub(super) fn of(
        plan: &Plan,
        setting: &Setting<'_>,
        models: String,
        saturation: Spread,
        ramps: Vec<Ramp>,
        turns: Vec<Turn>,
    ) -> Self {
        let deadline_ms = setting.deadline.as_secs_f64() * 1e3;
        Self {
            models,
            settings: SETTINGS,
            seed: plan.seed,
            wanted_runs: plan.wanted_runs(),
            window_s: setting.window.as_secs_f64(),
            deadline_ms,
            saturation,
            bounds: bounds(&ramps, &turns, saturation.max, deadline_ms, plan.wanted_runs()),
            ramps,
            turns,
        }
    }

    /// Goodput and p99 against the offered load, as SVG.
    pub fn plot(&self) -> String {
        let line = |name: &str, colour, is_guide, points: Vec<(f64, f64)>| Line {
            name: name.to_owned(),
            colour,
            is_guide,
            points,
        };
        let over = |figure: fn(&Step) -> f64| -> Vec<(f64, f64)> {
            let points = medians(&self.ramps, figure).into_iter();
            points.map(|(factor, y)| (factor * self.saturation.max, y)).collect()
        };
        let answered = |figure: fn(&Step) -> f64| -> Vec<(f64, f64)> {
            // Where nothing was answered there is no latency.
            over(figure).into_iter().filter(|(_, ms)| *ms > 0.0).collect()
        };
        let goodput = over(|step| step.account.goodput);
        let best = goodput.iter().map(|(_, y)| *y).fold(self.saturation.max, f64::max);
        let right = goodput.last().map_or(0.0, |(x, _)| *x);
        let across = |y: f64| vec![(0.0, y), (right, y)];
        let saturation = self.saturation.max;
        let panels = vec![
            Panel {
                y_label: "answered in time, per second".to_owned(),
                lines: vec![
                    line("goodput", "#1f77b4", false, goodput),
                    line("all of it", "#888", true, vec![(0.0, 0.0), (best, best)]),
                    line(
                        "saturation",
                        "#2ca02c",
                        true,
                        vec![(saturation, 0.0), (saturation, best)],
                    ),
                ],
            },
            Panel {
                y_label: "ms, answers with status 200".to_owned(),
                lines: vec![
                    line(
                        "p99",
                        "#d62728",
                        false,
                        answered(|step| step.account.from_intended.p99_ms),
                    ),
                    line(
                        "p50",
                        "#ff7f0e",
                        false,
                        answered(|step| step.account.from_intended.p50_ms),
                    ),
                    line("deadline", "#888", true, across(self.deadline_ms)),
                ],
            },
        ];
        plot::svg(&Chart {
            title: format!("Overload: {} ms deadline, open loop", self.deadline_ms),
            x_label: "offered requests per second".to_owned(),
            panels,
        })
    }
}

/// For each factor the median of a figure over the ramps.
fn medians(ramps: &[Ramp], figure: fn(&Step) -> f64) -> Vec<(f64, f64)> {
    let Some(first) = ramps.first() else { return Vec::new() };
    let points = first.steps.iter().enumerate().filter_map(|(place, step)| {
        let here = ramps.iter().filter_map(move |ramp| ramp.steps.get(place));
        Some((step.factor, Spread::of(here.map(figure))?.median))
    });
    points.collect()
}

/// The factor with the best goodput.
pub(super) fn best_factor(ramps: &[Ramp]) -> Option<f64> {
    let goodput = medians(ramps, |step| step.account.goodput).into_iter();
    goodput.max_by(|one, other| one.1.total_cmp(&other.1)).map(|(factor, _)| factor)
}

fn bounds(
    ramps: &[Ramp],
    turns: &[Turn],
    saturation: f64,
    deadline_ms: f64,
    wanted: usize,
) -> Vec<Bound> {
    let best = best_factor(ramps);
    let highest = highest(ramps);
    let top = format!("at {} times saturation", highest.unwrap_or(0.0));
    // Without any answer nothing is left.
    let lefts = || turns.iter().map(|turn| turn.left().unwrap_or(0.0));
    let mut median = Spread::of(lefts()).map(|spread| spread.median);
    if best == highest && highest.is_some() {
        median = Some(100.0);
    }
    let spread = lefts().map(|left| format!("{left:.1}")).collect::<Vec<_>>().join(", ");
    let of_turns = turns.iter().flat_map(|turn| [&turn.best, &turn.highest]);
    // Without an answer there is no p99; the goodput is missed already.
    let slowest = ramps
        .iter()
        .filter_map(|ramp| ramp.steps.last())
        .chain(turns.iter().map(|turn| &turn.highest))
        .filter(|step| step.account.accepted > 0)
        .map(|step| step.account.from_intended.p99_ms)
        .reduce(f64::max);
    let accounts = ramps.iter().flat_map(|ramp| {
        let steps = ramp.steps.iter().map(|step| &step.account);
        steps.chain([&ramp.priorities.high, &ramp.priorities.low])
    });
    let accounts = accounts.chain(of_turns.map(|step| &step.account));
    let improper = accounts.map(|account| account.improper).sum();
    let asked: u64 = ramps.iter().map(|ramp| ramp.liveness.asked).sum();
    let answered: u64 = ramps.iter().map(|ramp| ramp.liveness.answered).sum();
    // Of nothing at all there is no favour.
    let favours: Vec<f64> = ramps
        .iter()
        .map(|ramp| ramp.priorities.high.favoured_over(&ramp.priorities.low).unwrap_or(0.0))
        .collect();
    let most = ramps
        .iter()
        .flat_map(|ramp| &ramp.steps)
        .map(|step| 100.0 * step.account.goodput / saturation)
        .reduce(f64::max);
    let mut bounds = vec![
        Bound::at_least(
            format!(
                "goodput {top}, percent of that at {}, median of ({spread})",
                best.unwrap_or(0.0)
            ),
            LEFT_PERCENT,
            median,
        ),
        Bound::at_most(format!("p99 of accepted requests {top}, ms"), deadline_ms, slowest),
        Bound::none("failures but 429 and 503 with Retry-After, and 504", improper),
        Bound::new(
            format!("liveness answered {top}"),
            "always",
            format!("{answered} of {asked}"),
            asked > 0 && answered == asked,
        ),
        Bound::at_least(
            "the high priority accepted more often, standard errors",
            FAVOUR,
            favours.into_iter().reduce(f64::min),
        ),
        Bound::at_most("the best step's goodput, percent of saturation", MOST_PERCENT, most),
        Bound::in_all("ramps done", ramps.len(), wanted),
    ];
    if best != highest {
        bounds.push(Bound::in_all("turns done", turns.len(), TURNS * wanted));
    }
    bounds
}

/// What the columns of [`Step::line`] are.
pub(super) const COLUMNS: &str = "\
times  offered/s  good/s      200   late    429     503     504  other unsent |   p50 ms   p99 ms \
sent p50 sent p99 | lag p50  lag p99 | CPU gateway client";

impl Step {
    pub(super) fn line(&self) -> String {
        let account = &self.account;
        let known = ["429", "503", "504"].map(|kind| account.refused_with(kind));
        let other = account.refusals() - known.iter().sum::<u64>();
        let (intended, sent, lag) = (account.from_intended, account.from_sent, account.lag);
        let times = [intended.p50_ms, intended.p99_ms, sent.p50_ms, sent.p99_ms].map(|ms| {
            // Of no answers there is no latency.
            if account.accepted > 0 { format!("{ms:>8.2}") } else { format!("{:>8}", "-") }
        });
        format!(
            "{:>5}  {:>9.0} {:>7.0} {:>8} {:>6} {:>6} {:>7} {:>7} {other:>6} {:>6} | {} | {:>7.2} \
             {:>8.2} | {:>11.2} {:>6.2}",
            self.factor,
            account.offered,
            account.goodput,
            account.accepted,
            account.late,
            known[0],
            known[1],
            known[2],
            account.not_sent,
            times.join(" "),
            lag.p50_ms,
            lag.p99_ms,
            self.gateway_cpu,
            self.client_cpu,
        )
    }
}

impl fmt::Display for Priorities {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "priorities at {} times saturation", self.factor)?;
        for (name, account) in [("high", &self.high), ("low", &self.low)] {
            let percent = |share: f64| format!("{:.1} %", 100.0 * share);
            let share = account.accepted_share().map_or_else(|| "-".to_owned(), percent);
            let Account { due, accepted, refused, from_intended, .. } = account;
            write!(
                f,
                "\n  {name:<5} {accepted} of {due} accepted ({share}), p99 {:.2} ms, refused ",
                from_intended.p99_ms
            )?;
            let kinds: Vec<String> =
                refused.iter().map(|(kind, count)| format!("{kind}: {count}")).collect();
            f.write_str(&if kinds.is_empty() { "none".to_owned() } else { kinds.join(", ") })?;
        }
        if self.not_sent > 0 {
            write!(f, "\n  {} not sent for want of connections", self.not_sent)?;
        }
        Ok(())
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (ramps, window) = (self.ramps.len(), self.window_s);
        writeln!(f, "overload: {ramps} ramps, steps of {window} s, seed {}", self.seed)?;
        writeln!(f, "model       {}", self.models)?;
        writeln!(
            f,
            "settings    {}",
            self.settings.replace("\n\n", "\n").trim().replace('\n', "; ")
        )?;
        writeln!(f, "load        Poisson, open loop, deadline {} ms", self.deadline_ms)?;
        writeln!(f, "saturation  {} answers a second", self.saturation)?;
        for ramp in &self.ramps {
            writeln!(f, "\n{COLUMNS}")?;
            for step in &ramp.steps {
                writeln!(f, "{}", step.line())?;
            }
            let live = &ramp.liveness;
            writeln!(
                f,
                "liveness {} of {} answered, the slowest after {:.1} ms",
                live.answered, live.asked, live.slowest_ms
            )?;
            for (kind, count) in &live.failed {
                writeln!(f, "  {kind}: {count}")?;
            }
            writeln!(f, "{}", ramp.priorities)?;
            for example in &ramp.examples {
                writeln!(f, "  {example}")?;
            }
        }
        if !self.turns.is_empty() {
            writeln!(f, "\nthe best rate and the highest by turns\n{COLUMNS}")?;
        }
        for Turn { best, highest } in &self.turns {
            writeln!(f, "{}\n{}", best.line(), highest.line())?;
        }
        writeln!(
            f,
            "\ngood/s: status 200 within the deadline from the intended time; p50, p99: of status \
             200 from the intended time, then from the sending; lag: how late the client sent"
        )
    }
}

#[cfg(test)]
mod tests;
