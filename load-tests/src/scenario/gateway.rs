//! A gateway of the scenario's own, with an empty data folder.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use tempfile::TempDir;

use crate::admin::Admin;
use crate::http::{Target, exchange};
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
        let path = format!("/v2/models/{MODEL}/infer");
        bodies.iter().map(|body| self.target.post(&path, &[], body)).collect()
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
        let measured = || -> Result<f64> {
            let mut load = ClosedLoop::start(self.target.address, request, SATURATING)?;
            load.run(WARM_UP, stop)?;
            let phase = load.run(MEASURE, stop)?;
            load.finish()?;
            ensure!(phase.answered > 0, "no request was answered with 200");
            Ok(phase.answered as f64 / phase.elapsed.as_secs_f64())
        };
        measured().context("measure how much the gateway can take")
    }
}

impl Gateway {
    /// Starts the gateway without any model.
    pub fn start(plan: &Plan, stop: &Stop) -> Result<Self> {
        let folder = tempfile::tempdir().context("make a temporary folder")?;
        let program = plan.gateway.as_deref();
        let launch = gateway_launch(program, folder.path(), None, &plan.gateway_arguments)?;
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
