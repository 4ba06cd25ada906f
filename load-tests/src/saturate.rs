//! `load-tests saturate`: the gateway beside the bare handler, under the same bytes, in turn.
//!
//! A shared machine drifts by more than the difference sought, so the two servers are measured one
//! right after the other and compared round by round. While one is measured the other is idle.

pub mod batches;
pub mod child;
pub mod closed_loop;
pub mod report;
pub mod servers;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use serde::Deserialize;

use crate::body;
use crate::http::exchange;
use crate::onnx_file;
use crate::process;
use crate::stop::Stop;

use batches::{Batches, Metrics};
use child::{Launch, Server};
use closed_loop::ClosedLoop;
use report::{Level, Report, Sample, Start};
use servers::{bare_launch, data_dir, gateway_launch};

/// The model of the comparison, as in the published measurements.
pub const LAYERS: [usize; 5] = [512, 1024, 1024, 512, 10];
const INFER: &str = "/v2/models/mlp/infer";
const SEED: u64 = 7;
/// For single questions outside the measurements.
const ASK_LIMIT: Duration = Duration::from_secs(10);

/// Which servers to measure.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Only {
    Bare,
    Gateway,
}

/// The command line in typed form.
#[derive(Debug, Clone)]
pub struct Plan {
    pub connections: Vec<usize>,
    pub rounds: usize,
    pub measure: Duration,
    pub warm_up: Duration,
    /// Both when missing.
    pub only: Option<Only>,
    pub bare: Option<PathBuf>,
    pub gateway: Option<PathBuf>,
    /// Appended to the gateway's own.
    pub gateway_arguments: Vec<String>,
}

/// A server and what was learned of it.
struct Contender {
    name: &'static str,
    launch: Launch,
    server: Server,
    request: Vec<u8>,
    /// Of the gateway only.
    metrics: Option<Metrics>,
}

/// Carries the plan out, in a temporary folder that is gone afterwards.
pub fn run(plan: &Plan, stop: &Stop) -> Result<Report> {
    ensure!(plan.rounds > 0, "at least one round is needed");
    ensure!(!plan.connections.is_empty(), "at least one number of connections is needed");
    ensure!(plan.connections.iter().all(|&count| count > 0), "no connections, no load");
    ensure!(!plan.measure.is_zero(), "the time to measure must not be zero");
    let folder = tempfile::tempdir().context("make a temporary folder")?;
    let body = body::floats(LAYERS[0], SEED);
    let mut report = Report {
        request_bytes: 0,
        rounds: plan.rounds,
        seconds: plan.measure.as_secs_f64(),
        starts: Vec::new(),
        levels: Vec::new(),
        batches_missing: None,
        interrupted: false,
        samples: Vec::new(),
    };
    let contenders = start_all(plan, folder.path(), &body, &mut report, stop)?;
    report.request_bytes = contenders.first().map_or(0, |first| first.request.len());
    report.samples = measure_all(plan, &contenders, stop)?;
    let levels = plan.connections.iter().map(|&count| Level::of(count, &report.samples));
    report.levels = levels.collect();
    report.interrupted = stop.is_raised();
    for contender in contenders {
        let again = contender.name == "gateway" && !report.interrupted;
        let launch = contender.launch;
        stopped(launch.name, contender.server)?;
        if again {
            let server = launch.start(stop)?;
            report.starts.push(warm(&server, launch.name, "again", &body)?.0);
            stopped(launch.name, server)?;
        }
    }
    Ok(report)
}

/// Starts the servers and asks each one question; two servers must give one answer.
fn start_all(
    plan: &Plan,
    folder: &Path,
    body: &[u8],
    report: &mut Report,
    stop: &Stop,
) -> Result<Vec<Contender>> {
    let model = folder.join("mlp.onnx");
    fs::write(&model, onnx_file::mlp(&LAYERS, SEED)).context("write the model")?;
    let mut launches = Vec::new();
    if plan.only != Some(Only::Gateway) {
        launches.push(bare_launch(plan, folder, &model)?);
    }
    if plan.only != Some(Only::Bare) {
        let (program, more) = (plan.gateway.as_deref(), &plan.gateway_arguments);
        launches.push(gateway_launch(program, folder, Some(("mlp", &model)), more)?);
    }
    let mut contenders = Vec::new();
    let mut answers: Vec<Vec<f32>> = Vec::new();
    for launch in launches {
        let server = launch.start(stop)?;
        let (start, answer) = warm(&server, launch.name, "first", body)?;
        report.starts.push(start);
        answers.push(answer);
        let metrics = if launch.name == "gateway" {
            let metrics = Metrics::find(&data_dir(folder));
            // Asked once now, so that a missing figure has its reason in the report.
            match metrics.and_then(|metrics| metrics.batches().map(|_| metrics)) {
                Ok(metrics) => Some(metrics),
                Err(error) => {
                    report.batches_missing = Some(format!("{error:#}"));
                    None
                }
            }
        } else {
            None
        };
        let request = server.target.post(INFER, &[], body);
        contenders.push(Contender { name: launch.name, launch, server, request, metrics });
    }
    if let [bare, gateway] = &answers[..] {
        let same = bare.len() == gateway.len()
            && bare.iter().zip(gateway).all(|(a, b)| (a - b).abs() <= 1e-3 * (1.0 + a.abs()));
        ensure!(same, "the servers disagree: bare said {bare:?}, the gateway {gateway:?}");
    }
    Ok(contenders)
}

/// All samples; those taken so far when interrupted.
fn measure_all(plan: &Plan, contenders: &[Contender], stop: &Stop) -> Result<Vec<Sample>> {
    let mut samples = Vec::new();
    for &connections in &plan.connections {
        for round in 0..plan.rounds {
            for contender in in_turn(contenders, round) {
                let sample = match contender.measure(connections, round, plan, stop) {
                    Err(_) if stop.is_raised() => return Ok(samples),
                    measured => measured?,
                };
                eprintln!(
                    "{connections:>4} connections, round {}: {:<8} {:>8.0} req/s",
                    round + 1,
                    sample.server,
                    sample.requests_per_second
                );
                samples.push(sample);
            }
        }
    }
    Ok(samples)
}

/// Alternates who comes first, so that no server always follows the other's heat.
fn in_turn(contenders: &[Contender], round: usize) -> Vec<&Contender> {
    let mut order: Vec<&Contender> = contenders.iter().collect();
    if round % 2 == 1 {
        order.reverse();
    }
    order
}

impl Contender {
    fn measure(
        &self,
        connections: usize,
        round: usize,
        plan: &Plan,
        stop: &Stop,
    ) -> Result<Sample> {
        let pid = self.server.pid();
        let measured = || -> Result<Sample> {
            let address = self.server.target.address;
            let mut load = ClosedLoop::start(address, &self.request, connections)?;
            load.run(plan.warm_up, stop)?;
            let batches_before = self.batches();
            let cpu_before = process::cpu_time(pid)?;
            let phase = load.run(plan.measure, stop)?;
            let cpu = process::cpu_time(pid)?.saturating_sub(cpu_before);
            let batches_after = self.batches();
            let rss_mib = process::resident_mib(pid)?;
            load.finish()?;
            ensure!(phase.answered > 0, "no request was answered with 200");
            let answers = phase.answered as f64;
            let requests = answers + phase.errors() as f64;
            let at = |quantile| phase.latencies.value_at_quantile(quantile) as f64 / 1e3;
            let mean_batch =
                batches_after.zip(batches_before).and_then(|(now, then)| now.mean_since(then));
            Ok(Sample {
                server: self.name,
                connections,
                round,
                answers: phase.answered,
                errors: phase.errors(),
                requests_per_second: answers / phase.elapsed.as_secs_f64(),
                p50_us: at(0.5),
                p99_us: at(0.99),
                cpu_seconds_per_1000: cpu.as_secs_f64() * 1e3 / requests,
                rss_mib,
                mean_batch,
                generator_us_per_request: phase.generator_cpu.as_secs_f64() * 1e6 / requests,
            })
        };
        measured().with_context(|| format!("measure {} at {connections} connections", self.name))
    }

    fn batches(&self) -> Option<Batches> {
        self.metrics.as_ref()?.batches().ok()
    }
}

/// Asks one question, and says what the server holds in memory after it.
fn warm(
    server: &Server,
    name: &'static str,
    start: &'static str,
    body: &[u8],
) -> Result<(Start, Vec<f32>)> {
    #[derive(Deserialize)]
    struct Answer {
        outputs: Vec<Output>,
    }
    #[derive(Deserialize)]
    struct Output {
        data: Vec<f32>,
    }
    let asked = exchange::post(&server.target, INFER, body, ASK_LIMIT);
    let said = asked.and_then(exchange::Answer::success).with_context(|| format!("ask {name}"))?;
    let answer: Answer =
        serde_json::from_slice(&said).with_context(|| format!("understand {name}"))?;
    let [output] = &answer.outputs[..] else { bail!("{name} gave other than one output") };
    ensure!(output.data.len() == LAYERS[4], "{name} gave {} values", output.data.len());
    let rss_mib = process::resident_mib(server.pid())?;
    let ready_ms = server.ready_after.as_secs_f64() * 1e3;
    Ok((Start { server: name, start, ready_ms, rss_mib }, output.data.clone()))
}

fn stopped(name: &str, server: Server) -> Result<()> {
    if !server.stop()? {
        eprintln!("{name} did not end after SIGTERM and was killed");
    }
    Ok(())
}

#[cfg(test)]
mod tests;
