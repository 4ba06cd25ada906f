//! A gateway of the scenario's own, with an empty data folder.

use std::fs;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use tempfile::TempDir;

use crate::admin::Admin;
use crate::http::{Header, Target, exchange};
use crate::process;
use crate::saturate::child::{Server, tail};
use crate::saturate::closed_loop::ClosedLoop;
use crate::saturate::servers::{data_dir, gateway_launch};
use crate::stop::Stop;

use super::Plan;

/// The model that every scenario asks.
pub const MODEL: &str = "scenario";

/// Connections at which a server is taken to be saturated.
const SATURATING: usize = 32;
/// The same where the gateway may refuse: the least of them fills all runs of a small machine.
const STEPS: [usize; 3] = [8, 16, 32];
/// More than this share of refusals ends the steps.
const REFUSED: f64 = 0.02;
const WARM_UP: Duration = Duration::from_millis(500);
const MEASURE: Duration = Duration::from_secs(2);

/// Where a gateway is asked and told.
#[derive(Debug)]
pub struct Stage {
    /// Of predictions.
    pub target: Target,
    pub admin: Admin,
}

/// A running gateway. Dropping it stops it and removes its data.
#[derive(Debug)]
pub struct Gateway {
    server: Server,
    pub stage: Stage,
    // Last: it is removed once the server has ended.
    folder: TempDir,
}

impl Stage {
    /// Requests for the model, one per body.
    pub fn requests(&self, bodies: &[Vec<u8>]) -> Vec<Vec<u8>> {
        self.requests_for(MODEL, &[], bodies)
    }

    /// Requests for `model` with these headers, one per body.
    pub fn requests_for(
        &self,
        model: &str,
        headers: &[Header],
        bodies: &[Vec<u8>],
    ) -> Vec<Vec<u8>> {
        let path = format!("/v2/models/{model}/infer");
        bodies.iter().map(|body| self.target.post(&path, headers, body)).collect()
    }

    /// The shortest time from asking to the answer, asked one by one.
    pub fn fastest(&self, body: &[u8]) -> Result<Duration> {
        const ASKED: usize = 60;
        let path = format!("/v2/models/{MODEL}/infer");
        let ask = |_| -> Result<Duration> {
            let started = Instant::now();
            exchange::post(&self.target, &path, body, Duration::from_secs(10))?.success()?;
            Ok(started.elapsed())
        };
        let times = (0..ASKED).map(ask).collect::<Result<Vec<_>>>()?;
        times.into_iter().min().context("nothing was asked")
    }

    /// Answers per second when every answer is followed by the next request.
    pub fn saturation(&self, request: &[u8], stop: &Stop) -> Result<f64> {
        Ok(self.saturated(request, SATURATING, stop)?.per_second)
    }

    /// The same at more and more connections, until some are refused: who is refused asks again
    /// at once in a closed loop, and what that costs is missing in the answers.
    pub fn saturation_by_steps(&self, request: &[u8], stop: &Stop) -> Result<Vec<f64>> {
        let mut found = Vec::new();
        for connections in STEPS {
            let saturated = self.saturated(request, connections, stop)?;
            found.push(saturated.per_second);
            if saturated.refused_share > REFUSED {
                break;
            }
        }
        Ok(found)
    }

    fn saturated(&self, request: &[u8], connections: usize, stop: &Stop) -> Result<Saturated> {
        let measured = || -> Result<Saturated> {
            let mut load = ClosedLoop::start(self.target.address, request, connections)?;
            load.run(WARM_UP, stop)?;
            let phase = load.run(MEASURE, stop)?;
            load.finish()?;
            ensure!(phase.answered > 0, "no request was answered with 200");
            let (answered, errors) = (phase.answered as f64, phase.errors() as f64);
            Ok(Saturated {
                per_second: answered / phase.elapsed.as_secs_f64(),
                refused_share: errors / (answered + errors),
            })
        };
        measured().context("measure how much the gateway can take")
    }
}

/// What a closed loop came to.
struct Saturated {
    per_second: f64,
    refused_share: f64,
}

impl Gateway {
    /// Starts the gateway without any model.
    pub fn start(plan: &Plan, stop: &Stop) -> Result<Self> {
        let folder = tempfile::tempdir().context("make a temporary folder")?;
        Self::start_in(folder, plan, &plan.gateway_arguments, stop)
    }

    /// The same with a settings file.
    pub fn start_with(settings: &str, plan: &Plan, stop: &Stop) -> Result<Self> {
        let folder = tempfile::tempdir().context("make a temporary folder")?;
        let file = folder.path().join("weighbridge.toml");
        fs::write(&file, settings).context("write the settings")?;
        let file = file.to_str().context("the temporary folder's name is not text")?;
        let mut arguments = vec!["--config".to_owned(), file.to_owned()];
        arguments.extend_from_slice(&plan.gateway_arguments);
        Self::start_in(folder, plan, &arguments, stop)
    }

    fn start_in(folder: TempDir, plan: &Plan, arguments: &[String], stop: &Stop) -> Result<Self> {
        let program = plan.gateway.as_deref();
        let launch = gateway_launch(program, folder.path(), None, arguments)?;
        let server = launch.start(stop)?;
        let admin = Admin::find(&data_dir(folder.path()))?;
        let stage = Stage { target: server.target.clone(), admin };
        Ok(Self { server, stage, folder })
    }

    /// CPU time that the process has used so far.
    pub fn cpu_time(&self) -> Result<Duration> {
        process::cpu_time(self.server.pid())
    }

    /// Adds the end of the gateway's log to an error.
    pub fn explain<T>(&self, outcome: Result<T>) -> Result<T> {
        outcome.with_context(|| {
            let log = tail(&self.folder.path().join("gateway.log"));
            format!("the end of the gateway's log:\n{log}\nwhat went wrong")
        })
    }

    /// Stops it; a kill is told, and no error.
    pub fn stop(self) -> Result<()> {
        if !self.server.stop()? {
            eprintln!("the gateway did not end after SIGTERM and was killed");
        }
        Ok(())
    }
}
