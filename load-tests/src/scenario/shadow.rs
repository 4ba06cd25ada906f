//! What copies to a shadow version cost the primary: windows with and without, by turns, on one
//! gateway at one rate, so that a drift of the machine falls on both.

use std::collections::BTreeMap;
use std::fmt;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde::Serialize;

use crate::admin::{Admin, page};
use crate::latency::{self, Percentiles};
use crate::onnx_file::{equal, slow};
use crate::saturate::report::Spread;
use crate::schedule::{Arrivals, Schedule};
use crate::steady::open_loop::OpenLoop;
use crate::stop::Stop;

use super::Plan;
use super::bounds::Bound;
use super::crowd::{Crowd, Outcome, Seen, Signal};
use super::gateway::{Gateway, MODEL};
use super::rows::Rows;
use super::run::pause;
use super::story::{STABLE, steps_for};

/// The compute time of both versions.
const MODEL_MS: f64 = 5.0;
/// The load, as a share of what the gateway can take without copies.
const SHARE: f64 = 0.3;
/// Everything is copied: what the budget leaves out is dropped.
const SETTING: &str = "2=100";
const WINDOW: Duration = Duration::from_secs(10);
/// Copies of the window before that are not run by then are counted in the next one.
const DRAIN_LIMIT: Duration = Duration::from_secs(20);
/// Not counted: what the window before left behind.
const SETTLE: Duration = Duration::from_secs(1);
const ANSWER_LIMIT: Duration = Duration::from_secs(10);
const CONNECTIONS: usize = 64;
/// Fewer pairs than this give a figure and no verdict.
const ENOUGH_PAIRS: usize = 9;
/// How much the primary's p99 may move.
const MOST: f64 = 1.25;

/// What came of all windows.
#[derive(Debug, Serialize)]
pub struct Report {
    pub models: String,
    pub setting: &'static str,
    pub seed: u64,
    pub saturation: f64,
    pub rate: f64,
    /// With copies over without, pair by pair.
    pub p99_ratio: Option<Spread>,
    pub p50_ratio: Option<Spread>,
    /// The gateway's CPU seconds per request; the shadow's own work is in it.
    pub cpu_ratio: Option<Spread>,
    pub bounds: Vec<Bound>,
    pub windows: Vec<Window>,
}

/// One window.
#[derive(Debug, Clone, Serialize)]
pub struct Window {
    pub pair: usize,
    pub copies: bool,
    pub requests: u64,
    pub failed: u64,
    pub wrong: u64,
    /// The primary's, from the intended time.
    pub latency: Percentiles,
    pub cpu_ms_per_request: f64,
    /// Requests copied, dropped and compared, by the gateway's metrics.
    pub copied: f64,
    pub dropped: f64,
    pub compared: f64,
}

/// Copies so far, by the gateway's metrics.
#[derive(Debug, Clone, Copy, Default)]
struct Copies {
    copied: f64,
    dropped: f64,
    compared: f64,
}

impl Copies {
    fn read(admin: &Admin) -> Result<Self> {
        let page = admin.metrics()?;
        let of = |what: &str| {
            let name = format!("weighbridge_shadow_{what}");
            // A counter that has not counted yet is not on the page.
            let plain = page::sum(&page, &name);
            plain.or_else(|| page::sum(&page, &format!("{name}_total"))).unwrap_or(0.0)
        };
        Ok(Self { copied: of("copied"), dropped: of("dropped"), compared: of("pairs") })
    }
}

/// Waits until no copy of the window before is left to be run: it would burden the next one.
fn drained(admin: &Admin, stop: &Stop) -> Result<()> {
    let deadline = Instant::now() + DRAIN_LIMIT;
    loop {
        let waiting = page::sum(&admin.metrics()?, "weighbridge_shadow_waiting").unwrap_or(0.0);
        if waiting == 0.0 {
            return Ok(());
        }
        if Instant::now() >= deadline {
            eprintln!("{waiting} copies still wait after {DRAIN_LIMIT:?}");
            return Ok(());
        }
        pause(Duration::from_millis(50), stop)?;
    }
}

/// Measures the pairs of windows.
pub fn run(plan: &Plan, stop: &Stop) -> Result<Report> {
    let steps = steps_for(MODEL_MS, plan, stop)?;
    let gateway = Gateway::start(plan, stop)?;
    let report = measured(plan, steps, &gateway, stop);
    let report = gateway.explain(report)?;
    gateway.stop()?;
    Ok(report)
}

fn measured(plan: &Plan, steps: usize, gateway: &Gateway, stop: &Stop) -> Result<Report> {
    let (stage, admin) = (&gateway.stage, &gateway.stage.admin);
    let file = slow(STABLE, steps);
    let primary = admin.push(MODEL, &file)?;
    admin.promote(MODEL, primary)?;
    let shadow = admin.push(MODEL, &equal(&file, "the shadow"))?;
    ensure!((primary, shadow) == (1, 2), "the versions are {primary} and {shadow}");
    let requests = stage.requests(&Rows::Usual.bodies(plan.seed));
    let saturation = stage.saturation(&requests[0], stop)?;
    let rate = saturation * SHARE;
    eprintln!("{saturation:.0} answers a second at most; asked {rate:.0}");

    let mut windows = Vec::new();
    for (pair, seed) in plan.seeded_runs(stop) {
        // Who comes first alternates.
        let mut turns = [false, true];
        if pair % 2 == 0 {
            turns.reverse();
        }
        for copies in turns {
            let window = window(pair, copies, rate, seed, &requests, gateway, stop)
                .with_context(|| format!("pair {pair}, copies {copies}"))?;
            eprintln!("{}", window.line());
            windows.push(window);
        }
        if stop.is_raised() {
            break;
        }
    }
    ensure!(!windows.is_empty(), "no window was measured");
    let ratio = |figure: fn(&Window) -> f64| ratios(&windows, figure);
    let (p99_ratio, p50_ratio) =
        (ratio(|window| window.latency.p99_ms), ratio(|window| window.latency.p50_ms));
    Ok(Report {
        models: format!("both: {steps} matrix products (about {MODEL_MS} ms)"),
        setting: SETTING,
        seed: plan.seed,
        saturation,
        rate,
        bounds: bounds(&windows, p99_ratio, plan.wanted_runs()),
        p99_ratio,
        p50_ratio,
        cpu_ratio: ratio(|window| window.cpu_ms_per_request),
        windows,
    })
}

fn window(
    pair: usize,
    copies: bool,
    rate: f64,
    seed: u64,
    requests: &[Vec<u8>],
    gateway: &Gateway,
    stop: &Stop,
) -> Result<Window> {
    let (stage, admin) = (&gateway.stage, &gateway.stage.admin);
    admin.configure(MODEL, &[("shadows", if copies { SETTING } else { "default" })])?;
    drained(admin, stop)?;
    let before = Copies::read(admin)?;
    let cpu_before = gateway.cpu_time()?;
    let signal = Signal::default();
    let mut crowd = Crowd::new(&signal, seed, BTreeMap::from([(1, STABLE)]));
    let load = OpenLoop {
        target: &stage.target,
        requests,
        traffic: &mut crowd,
        schedule: Schedule::new(Arrivals::Poisson, rate, SETTLE + WINDOW, seed)?,
        connections: CONNECTIONS,
        timeout: ANSWER_LIMIT,
    };
    load.run(stop)?;
    stop.check()?;
    let cpu = gateway.cpu_time()?.saturating_sub(cpu_before);
    let after = Copies::read(admin)?;

    let seen = &crowd.seen;
    let first = seen.iter().map(|one| one.intended).min().context("nothing was asked")?;
    let mut histogram = latency::histogram();
    let counted = seen.iter().filter(|one| one.intended >= first + SETTLE);
    for one in counted.filter(|one| matches!(one.outcome, Outcome::Right(_))) {
        latency::record(&mut histogram, one.latency());
    }
    let count = |is: fn(&Seen) -> bool| seen.iter().filter(|one| is(one)).count() as u64;
    Ok(Window {
        pair,
        copies,
        requests: seen.len() as u64,
        failed: count(|one| one.failure().is_some()),
        wrong: count(|one| matches!(one.outcome, Outcome::Wrong(_))),
        latency: Percentiles::of(&histogram),
        cpu_ms_per_request: cpu.as_secs_f64() * 1e3 / seen.len().max(1) as f64,
        copied: after.copied - before.copied,
        dropped: after.dropped - before.dropped,
        compared: after.compared - before.compared,
    })
}

/// With copies over without, in the pairs that have both.
fn ratios(windows: &[Window], figure: fn(&Window) -> f64) -> Option<Spread> {
    let with = windows.iter().filter(|window| window.copies);
    Spread::of(with.filter_map(|with| {
        let without = windows.iter().find(|one| one.pair == with.pair && !one.copies)?;
        let ratio = figure(with) / figure(without);
        ratio.is_finite().then_some(ratio)
    }))
}

fn bounds(windows: &[Window], p99_ratio: Option<Spread>, wanted: usize) -> Vec<Bound> {
    let pairs = windows.iter().filter(|window| window.copies).count();
    let of = |copies: bool| windows.iter().filter(move |window| window.copies == copies);
    let mut bounds = Vec::new();
    if wanted >= ENOUGH_PAIRS {
        let what = "the primary's p99, with copies over without, median";
        bounds.push(Bound::at_most(what, MOST, p99_ratio.map(|ratio| ratio.median)));
    }
    let copied = of(true).filter(|window| window.copied > 0.0).count();
    bounds.push(Bound::in_all("windows with copies that saw some", copied, pairs));
    let leaked = of(false).filter(|window| window.copied > 0.0).count();
    bounds.push(Bound::none("windows without that saw some", leaked as u64));
    let sum = |figure: fn(&Window) -> u64| windows.iter().map(figure).sum();
    bounds.push(Bound::none("user-visible failures", sum(|window| window.failed)));
    bounds.push(Bound::none("wrong answers", sum(|window| window.wrong)));
    bounds.push(Bound::in_all("pairs measured", pairs, wanted));
    bounds
}

impl Window {
    fn line(&self) -> String {
        format!(
            "{:>5}  {:<7} {:>8} {:>9.2} {:>9.2} {:>10.2} {:>8} {:>8} {:>8} {:>6}",
            self.pair,
            if self.copies { "with" } else { "without" },
            self.requests,
            self.latency.p50_ms,
            self.latency.p99_ms,
            self.cpu_ms_per_request,
            self.copied,
            self.dropped,
            self.compared,
            self.failed
        )
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "shadow: {} windows of {WINDOW:?}, seed {}", self.windows.len(), self.seed)?;
        writeln!(f, "models   {}", self.models)?;
        writeln!(f, "setting  shadows = {}", self.setting)?;
        writeln!(
            f,
            "load     {:.0} requests a second, Poisson: {:.0} % of {:.0}\n",
            self.rate,
            SHARE * 100.0,
            self.saturation
        )?;
        writeln!(
            f,
            " pair  copies  requests    p50 ms    p99 ms CPU ms/req   copied  dropped compared failed"
        )?;
        for window in &self.windows {
            writeln!(f, "{}", window.line())?;
        }
        writeln!(f, "\nwith copies over without, median (min-max) of the pairs")?;
        for (what, ratio) in
            [("p99", self.p99_ratio), ("p50", self.p50_ratio), ("CPU per request", self.cpu_ratio)]
        {
            let told = ratio.map_or_else(|| "-".to_owned(), |ratio| ratio.to_string());
            writeln!(f, "  {what:<16} {told}")?;
        }
        if self.windows.len() < 2 * ENOUGH_PAIRS {
            writeln!(f, "  fewer than {ENOUGH_PAIRS} pairs: figures, no verdict on them")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn window(pair: usize, copies: bool, p99_ms: f64) -> Window {
        let latency = Percentiles { p99_ms, ..Percentiles::of(&latency::histogram()) };
        Window {
            pair,
            copies,
            requests: 100,
            failed: 0,
            wrong: 0,
            latency,
            cpu_ms_per_request: 5.0,
            copied: if copies { 60.0 } else { 0.0 },
            dropped: 40.0,
            compared: 60.0,
        }
    }

    #[test]
    fn ratios_are_of_pairs_whichever_came_first() {
        let windows = [
            window(1, false, 10.0),
            window(1, true, 12.0),
            window(2, true, 30.0),
            window(2, false, 20.0),
            window(3, false, 5.0),
        ];
        let ratio = ratios(&windows, |window| window.latency.p99_ms).unwrap();
        assert_eq!((ratio.min, ratio.max), (1.2, 1.5));
    }

    #[test]
    fn few_pairs_are_not_judged_and_silent_shadows_are_found_out() {
        let pair = |n: usize| [window(n, false, 10.0), window(n, true, 15.0)];
        let few: Vec<Window> = pair(1).to_vec();
        let ratio = ratios(&few, |window| window.latency.p99_ms);
        assert!(bounds(&few, ratio, 1).iter().all(|bound| bound.met));
        let many: Vec<Window> = (1..=9).flat_map(pair).collect();
        let missed = |windows: &[Window]| -> Vec<String> {
            let ratio = ratios(windows, |window| window.latency.p99_ms);
            let bounds = bounds(windows, ratio, 9);
            bounds.into_iter().filter(|bound| !bound.met).map(|bound| bound.what).collect()
        };
        assert_eq!(missed(&many).len(), 1, "the ratio of 1.5");
        let mut silent = many.clone();
        silent[1].copied = 0.0;
        assert!(missed(&silent).iter().any(|what| what.contains("saw some")));
        assert!(missed(&many[..4]).iter().any(|what| what.contains("pairs measured")));
    }
}
