//! `load-tests steady`: a fixed arrival rate, and what it costs whom.

pub mod open_loop;

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde::Serialize;

use crate::body;
use crate::http::{Header, Target, exchange};
use crate::latency::Percentiles;
use crate::process;
use crate::schedule::{Arrivals, Schedule};
use crate::stop::Stop;

use open_loop::{LATE, OpenLoop, Same, Tally};

/// What to send, where and how often; the command line in typed form.
#[derive(Debug, Clone)]
pub struct Plan {
    pub url: String,
    pub model: String,
    pub version: Option<String>,
    pub headers: Vec<Header>,
    /// Made from the model's metadata when missing.
    pub body: Option<Vec<u8>>,
    pub rate: f64,
    pub duration: Duration,
    pub arrivals: Arrivals,
    pub seed: u64,
    pub connections: usize,
    pub timeout: Duration,
    /// Looked for on the url's port when missing.
    pub server_pid: Option<u32>,
}

/// The figures of one run; README.md says what each means.
#[derive(Debug, Serialize)]
pub struct Report {
    pub url: String,
    pub path: String,
    pub asked_rate: f64,
    pub achieved_rate: f64,
    pub elapsed_seconds: f64,
    pub sent: u64,
    pub ok: u64,
    pub failed: BTreeMap<String, u64>,
    pub not_sent: u64,
    pub sent_late: u64,
    pub latency: Percentiles,
    pub send_delay: Percentiles,
    pub served_versions: BTreeMap<String, u64>,
    pub server: Option<Server>,
}

/// What the run cost the server.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Server {
    pub pid: u32,
    pub cpu_seconds: f64,
    /// Per 1,000 answers of any status; missing when there was none.
    pub cpu_seconds_per_1000: Option<f64>,
    pub rss_mib: f64,
}

/// Carries the plan out.
pub fn run(plan: &Plan, stop: &Stop) -> Result<Report> {
    ensure!(plan.connections > 0, "at least one connection is needed");
    ensure!(!plan.timeout.is_zero(), "the timeout must not be zero");
    let schedule = Schedule::new(plan.arrivals, plan.rate, plan.duration, plan.seed)?;
    let target = Target::resolve(&plan.url)?;
    let model_path = match &plan.version {
        Some(version) => format!("/v2/models/{}/versions/{version}", plan.model),
        None => format!("/v2/models/{}", plan.model),
    };
    let body = match &plan.body {
        Some(body) => body.clone(),
        None => exchange::get(&target, &model_path, &plan.headers, plan.timeout)
            .and_then(exchange::Answer::success)
            .and_then(|metadata| body::one_row(&metadata, plan.seed))
            .with_context(|| format!("make a request for {} from its metadata", plan.model))?,
    };
    let path = format!("{model_path}/infer");
    let requests = [target.post(&path, &plan.headers, &body)];

    let pid = plan.server_pid.or_else(|| process::listener(target.address));
    let cpu_before = pid.and_then(|pid| process::cpu_time(pid).ok());
    let load = OpenLoop {
        target: &target,
        requests: &requests,
        traffic: &mut Same,
        schedule,
        connections: plan.connections,
        timeout: plan.timeout,
    };
    let tally = load.run(stop)?;
    let server = pid.zip(cpu_before).and_then(|(pid, before)| server(pid, before, &tally));
    Ok(report(plan, path, &tally, server))
}

/// `None` when the server has ended meanwhile: the failures tell that story.
fn server(pid: u32, cpu_before: Duration, tally: &Tally) -> Option<Server> {
    let used = process::cpu_time(pid).ok()?.saturating_sub(cpu_before).as_secs_f64();
    let answered = tally.answered();
    Some(Server {
        pid,
        cpu_seconds: used,
        cpu_seconds_per_1000: (answered > 0).then(|| used * 1000.0 / answered as f64),
        rss_mib: process::resident_mib(pid).ok()?,
    })
}

fn report(plan: &Plan, path: String, tally: &Tally, server: Option<Server>) -> Report {
    let elapsed = tally.elapsed.as_secs_f64();
    Report {
        url: plan.url.clone(),
        path,
        asked_rate: plan.rate,
        achieved_rate: if elapsed > 0.0 { tally.answered() as f64 / elapsed } else { 0.0 },
        elapsed_seconds: elapsed,
        sent: tally.sent,
        ok: tally.ok(),
        failed: tally.failed.clone(),
        not_sent: tally.not_sent,
        sent_late: tally.sent_late,
        latency: Percentiles::of(&tally.latencies),
        send_delay: Percentiles::of(&tally.send_delays),
        served_versions: tally.versions.clone(),
        server,
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let listed = |counts: &BTreeMap<String, u64>| {
            let parts: Vec<String> =
                counts.iter().map(|(kind, count)| format!("{kind}: {count}")).collect();
            if parts.is_empty() { "none".to_owned() } else { parts.join(", ") }
        };
        writeln!(f, "POST {}{}", self.url, self.path)?;
        writeln!(
            f,
            "rate        asked {:.1}/s, answered {:.1}/s over {:.2} s",
            self.asked_rate, self.achieved_rate, self.elapsed_seconds
        )?;
        writeln!(f, "requests    {} sent, {} ok, {} not sent", self.sent, self.ok, self.not_sent)?;
        writeln!(f, "failed      {}", listed(&self.failed))?;
        let Percentiles { p50_ms, p90_ms, p99_ms, p999_ms, max_ms, .. } = self.latency;
        writeln!(
            f,
            "latency ms  p50 {p50_ms:.3}  p90 {p90_ms:.3}  p99 {p99_ms:.3}  p99.9 {p999_ms:.3}  \
             max {max_ms:.3}  (from the intended time)"
        )?;
        writeln!(
            f,
            "lateness    {} sent more than {LATE:?} late; p99 {:.3} ms, max {:.3} ms",
            self.sent_late, self.send_delay.p99_ms, self.send_delay.max_ms
        )?;
        writeln!(f, "versions    {}", listed(&self.served_versions))?;
        match &self.server {
            Some(server) => {
                let per_1000 = server
                    .cpu_seconds_per_1000
                    .map_or_else(|| "-".to_owned(), |seconds| format!("{seconds:.3}"));
                write!(
                    f,
                    "server      pid {}, {per_1000} CPU s per 1,000 requests, {:.1} MiB resident",
                    server.pid, server.rss_mib
                )
            }
            None => write!(f, "server      no process of ours listens there: give --server-pid"),
        }
    }
}

#[cfg(test)]
mod tests;
