//! What came of the rounds, and what may come of them.

use std::fmt;

use serde::Serialize;

use crate::scenario::Plan;
use crate::scenario::bounds::Bound;
use crate::scenario::load::Account;

use super::{Capacity, FullBatch, Phase, SETTINGS, Setting, Window};

/// Fewer rounds than this give figures and no verdict on them.
const ENOUGH_ROUNDS: usize = 3;
/// The victim's p99 may be so many times its p99 alone, plus one full batch.
const TIMES: f64 = 2.0;
/// An aggressor that could not send this share of what was due was none.
const SENT_PERCENT: f64 = 90.0;
/// A gateway that gives much more than its capacity was not measured well: others computed then,
/// and ten times that share is less than it says.
const MOST_PERCENT: f64 = 130.0;

/// What came of all rounds.
#[derive(Debug, Serialize)]
pub struct Report {
    pub models: String,
    pub settings: &'static str,
    pub seed: u64,
    pub wanted_rounds: usize,
    pub window_s: f64,
    pub deadline_ms: f64,
    pub capacity: Capacity,
    /// The most that the victim's p99 may be.
    pub limit_ms: f64,
    /// The victim's requests over all rounds.
    pub victim: Vec<Pooled>,
    pub bounds: Vec<Bound>,
    pub windows: Vec<Window>,
}

/// The victim's requests of one phase over all rounds.
#[derive(Debug, Serialize)]
pub struct Pooled {
    pub phase: Phase,
    pub errors: u64,
    pub account: Account,
}

impl Report {
    pub(super) fn of(
        plan: &Plan,
        setting: &Setting<'_>,
        models: String,
        capacity: Capacity,
        pooled: [Account; 3],
        windows: Vec<Window>,
    ) -> Self {
        let limit_ms = TIMES * pooled[0].from_intended.p99_ms + capacity.full_batch_ms();
        let victim: Vec<Pooled> = Phase::ALL
            .into_iter()
            .zip(pooled)
            .map(|(phase, account)| {
                let own = windows.iter().filter(|window| window.phase == phase);
                Pooled { phase, errors: own.map(|window| window.victim_errors).sum(), account }
            })
            .collect();
        Self {
            models,
            settings: SETTINGS,
            seed: plan.seed,
            wanted_rounds: plan.wanted_runs(),
            window_s: setting.window.as_secs_f64(),
            deadline_ms: setting.deadline.as_secs_f64() * 1e3,
            limit_ms,
            bounds: bounds(&victim, limit_ms, capacity.per_second, &windows, plan.wanted_runs()),
            capacity,
            victim,
            windows,
        }
    }
}

fn bounds(
    victim: &[Pooled],
    limit_ms: f64,
    per_second: f64,
    windows: &[Window],
    wanted: usize,
) -> Vec<Bound> {
    let rounds = windows.iter().filter(|window| window.phase == Phase::Solo).count();
    let mut bounds = Vec::new();
    for pooled in victim {
        let name = pooled.phase.name();
        if wanted >= ENOUGH_ROUNDS && pooled.phase != Phase::Solo {
            let p99 = pooled.account.from_intended.p99_ms;
            let came = (pooled.account.accepted > 0).then_some(p99);
            let what = format!("the victim's p99 in ms, {name}");
            bounds.push(Bound::at_most(what, (limit_ms * 100.0).round() / 100.0, came));
        }
        let what = format!("the victim's requests refused, lost or not sent, {name}");
        bounds.push(Bound::none(what, pooled.errors + pooled.account.not_sent));
    }
    let least = windows
        .iter()
        .filter_map(|window| window.aggressor.as_ref())
        .map(|account| 100.0 * (1.0 - account.not_sent as f64 / account.due.max(1) as f64))
        .reduce(f64::min);
    bounds.push(Bound::at_least(
        "the aggressor's requests that were sent, percent, in its worst window",
        SENT_PERCENT,
        least,
    ));
    let best = windows
        .iter()
        .map(|window| window.victim.goodput + window.aggressor.as_ref().map_or(0.0, |a| a.goodput))
        .reduce(f64::max);
    let percent = best.map(|best| 100.0 * best / per_second);
    bounds.push(Bound::at_most(
        "answers in the best window, percent of capacity",
        MOST_PERCENT,
        percent,
    ));
    bounds.push(Bound::in_all("rounds measured", rounds, wanted));
    bounds
}

/// What the columns of [`Window::line`] are.
pub(super) const COLUMNS: &str = "\
round  phase        victim ok errors   p50 ms   p99 ms lag p99 | aggr/s  sent %  good/s     429     \
503     504   other | CPU gateway client";

impl Window {
    pub(super) fn line(&self) -> String {
        let round = self.round.to_string();
        let aggressor = match &self.aggressor {
            Some(account) => {
                let known = ["429", "503", "504"].map(|kind| account.refused_with(kind));
                format!(
                    "{:>6.0} {:>7.1} {:>7.0} {:>7} {:>7} {:>7} {:>7}",
                    account.offered,
                    100.0 * (1.0 - account.not_sent as f64 / account.due.max(1) as f64),
                    account.goodput,
                    known[0],
                    known[1],
                    known[2],
                    account.refusals() - known.iter().sum::<u64>(),
                )
            }
            None => format!("{:>54}", "-"),
        };
        format!(
            "{} | {aggressor} | {:>11.2} {:>6.2}",
            victim_line(&round, self.phase, &self.victim, self.victim_errors),
            self.gateway_cpu,
            self.client_cpu
        )
    }
}

fn victim_line(round: &str, phase: Phase, victim: &Account, errors: u64) -> String {
    format!(
        "{round:>5}  {:<12} {:>9} {errors:>6} {:>8.2} {:>8.2} {:>7.2}",
        phase.name(),
        victim.accepted,
        victim.from_intended.p50_ms,
        victim.from_intended.p99_ms,
        victim.lag.p99_ms,
    )
}

impl Capacity {
    pub(super) fn told(&self) -> String {
        let Self { models, per_second, victim_rate, aggressor_rate, .. } = self;
        let told = |batch: FullBatch| {
            let compute = batch.compute_ms.map(|compute| format!("{compute:.2} ms"));
            let compute = compute.unwrap_or_else(|| "unknown".to_owned());
            let split = if batch.is_split() { ", in several runs" } else { "" };
            format!("{compute}, answered after {:.2} ms{split}", batch.answer_ms)
        };
        format!(
            "capacity    {per_second:.0} requests a second for one tenant (victim's model {}, \
             other {})\n\
             victim      {victim_rate:.0} requests a second\n\
             aggressor   {aggressor_rate:.0} requests a second\n\
             full batch  {}; other model {}",
            models[0],
            models[1],
            told(self.full_batch),
            told(self.other_full_batch)
        )
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let rounds = self.windows.len() / Phase::ALL.len();
        writeln!(
            f,
            "fairness: {rounds} rounds of 3 windows of {} s, seed {}",
            self.window_s, self.seed
        )?;
        writeln!(f, "models      {}", self.models)?;
        writeln!(
            f,
            "settings    {}",
            self.settings.replace("\n\n", "\n").trim().replace('\n', "; ")
        )?;
        writeln!(f, "load        Poisson, open loop, deadline {} ms", self.deadline_ms)?;
        writeln!(f, "{}\n", self.capacity.told())?;
        writeln!(f, "{COLUMNS}")?;
        for window in &self.windows {
            writeln!(f, "{}", window.line())?;
        }
        writeln!(f, "\nthe victim over all rounds")?;
        for pooled in &self.victim {
            let line = victim_line("all", pooled.phase, &pooled.account, pooled.errors);
            writeln!(f, "{line} | from the sending: p99 {:.2}", pooled.account.from_sent.p99_ms)?;
        }
        writeln!(
            f,
            "\nlimit       {TIMES} x {:.2} ms (p99 alone) + {:.2} ms (full batch) = {:.2} ms",
            self.victim[0].account.from_intended.p99_ms,
            self.capacity.full_batch_ms(),
            self.limit_ms
        )?;
        for pooled in &self.victim[1..] {
            let p99 = pooled.account.from_intended.p99_ms;
            let holds = if p99 <= self.limit_ms { "holds" } else { "does not hold" };
            writeln!(f, "            {:<12} {p99:.2} ms: {holds}", pooled.phase.name())?;
        }
        writeln!(
            f,
            "latencies run from the intended time; `lag` is how late the client itself sent, which \
             is in them"
        )?;
        if rounds < ENOUGH_ROUNDS {
            writeln!(f, "fewer than {ENOUGH_ROUNDS} rounds: figures, no verdict on the p99")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use crate::latency::{Percentiles, histogram};

    use super::*;

    fn account(p99_ms: f64) -> Account {
        let mut account = Account::of([].iter(), Some(0), 10.0, Duration::from_secs(1));
        account.accepted = 100;
        account.from_intended = Percentiles { p99_ms, ..Percentiles::of(&histogram()) };
        account
    }

    fn round(round: usize) -> impl Iterator<Item = Window> {
        Phase::in_turn(round).into_iter().map(move |phase| Window {
            round,
            phase,
            victim: account(5.0),
            victim_errors: 0,
            aggressor: (phase != Phase::Solo).then(|| Account { due: 100, ..account(900.0) }),
            gateway_cpu: 1.9,
            client_cpu: 0.1,
        })
    }

    fn missed(p99s: [f64; 3], errors: u64, windows: &[Window], wanted: usize) -> Vec<String> {
        let victim: Vec<Pooled> = Phase::ALL
            .into_iter()
            .zip(p99s)
            .map(|(phase, p99)| Pooled { phase, errors, account: account(p99) })
            .collect();
        let bounds = bounds(&victim, 34.0, 600.0, windows, wanted);
        bounds.into_iter().filter(|bound| !bound.met).map(|bound| bound.what).collect()
    }

    #[test]
    fn the_phases_take_turns() {
        let orders: Vec<[Phase; 3]> = (0..3).map(Phase::in_turn).collect();
        for place in 0..3 {
            let mut there: Vec<Phase> = orders.iter().map(|order| order[place]).collect();
            there.sort();
            assert_eq!(there, Phase::ALL);
        }
    }

    #[test]
    fn a_slow_or_refused_victim_is_a_miss_in_whichever_phase() {
        let windows: Vec<Window> = (1..=3).flat_map(round).collect();
        assert!(missed([5.0, 34.0, 34.0], 0, &windows, 3).is_empty());
        let slow = missed([5.0, 34.1, 35.0], 0, &windows, 3);
        assert!(slow.len() == 2 && slow[0].contains("same model"), "{slow:?}");
        assert_eq!(missed([5.0; 3], 1, &windows, 3).len(), 3, "one refusal in each phase");
        assert_eq!(missed([5.0; 3], 0, &windows[..3], 3), ["rounds measured"]);
        assert!(missed([5.0, 99.0, 99.0], 0, &windows[..3], 1).is_empty(), "too few for a verdict");
    }

    #[test]
    fn an_aggressor_that_did_not_ask_is_no_proof() {
        let mut windows: Vec<Window> = (1..=3).flat_map(round).collect();
        for aggressor in windows.iter_mut().filter_map(|window| window.aggressor.as_mut()).take(1) {
            aggressor.not_sent = 11;
        }
        let missed = missed([5.0; 3], 0, &windows, 3);
        assert!(missed.len() == 1 && missed[0].contains("that were sent"), "{missed:?}");
    }
}
