//! The command line, and from it to the typed plans.

mod make_model;

use std::fmt::Display;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use clap::{Args, Parser, Subcommand, ValueEnum};
use serde::Serialize;

use crate::http::Header;
use crate::scenario::{self, Pressure, Scenario};
use crate::schedule::Arrivals;
use crate::stop::Stop;
use crate::{saturate, steady};

use make_model::ModelArguments;

/// Load and comparisons for Weighbridge, over HTTP.
#[derive(Debug, Parser)]
#[command(version)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Requests at a fixed rate (open loop), latency from the intended send time
    Steady(SteadyArguments),
    /// As many requests as the servers can take (closed loop): the gateway beside the bare handler
    Saturate(SaturateArguments),
    /// Releases good and bad models on a gateway of its own, again and again; exit code 1 when
    /// they do not go as they should
    Scenario(ScenarioArguments),
    /// Writes a small ONNX model
    MakeModel {
        #[command(subcommand)]
        model: ModelArguments,
    },
}

#[derive(Debug, Args)]
struct SteadyArguments {
    /// Requests per second
    #[arg(long)]
    rate: f64,
    /// How long requests are sent
    #[arg(long, value_parser = humantime::parse_duration)]
    duration: Duration,
    /// The server
    #[arg(long, default_value = "http://127.0.0.1:8080")]
    url: String,
    /// The model asked
    #[arg(long, default_value = "digits")]
    model: String,
    /// Asks this version of it, whatever the route says
    #[arg(long)]
    version: Option<String>,
    /// The request's body; without it one random row is made from the model's metadata
    #[arg(long, value_name = "FILE")]
    body: Option<PathBuf>,
    /// At most so many requests at once; what is due beyond that is sent late
    #[arg(long, default_value_t = 64)]
    connections: usize,
    /// How arrivals are spaced
    #[arg(long, value_enum, default_value_t = Arrivals::Uniform)]
    arrivals: Arrivals,
    /// Decides the Poisson gaps and the random row
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// How long an answer may take once its request is sent
    #[arg(long, default_value = "5s", value_parser = humantime::parse_duration)]
    timeout: Duration,
    /// A header of each request; may be repeated
    #[arg(long, value_name = "NAME: VALUE")]
    header: Vec<Header>,
    /// The server's process, if it is not the one that listens on the url's port
    #[arg(long)]
    server_pid: Option<u32>,
    #[command(flatten)]
    output: OutputArguments,
}

#[derive(Debug, Args)]
struct SaturateArguments {
    /// Numbers of connections, one after the other
    #[arg(long, value_delimiter = ',', default_value = "1,16,64")]
    connections: Vec<usize>,
    /// What the gateway is compared with
    #[arg(long, value_enum, default_value_t = Against::Bare)]
    against: Against,
    /// Measures one of the two alone
    #[arg(long, value_enum)]
    only: Option<saturate::Only>,
    /// Rounds at each number of connections
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Seconds of each measurement
    #[arg(long, default_value_t = 3.0)]
    seconds: f64,
    /// Load before each measurement
    #[arg(long, default_value = "500ms", value_parser = humantime::parse_duration)]
    warm_up: Duration,
    /// The gateway's binary, if it is not beside this one
    #[arg(long, value_name = "PATH")]
    gateway: Option<PathBuf>,
    /// One more argument for `weighbridge serve`; may be repeated
    #[arg(long, value_name = "ARG", allow_hyphen_values = true)]
    gateway_arg: Vec<String>,
    /// The bare handler's binary, if it is not in `examples` beside this one
    #[arg(long, value_name = "PATH")]
    bare: Option<PathBuf>,
    #[command(flatten)]
    output: OutputArguments,
}

#[derive(Debug, Args)]
struct ScenarioArguments {
    /// What is played
    #[arg(value_enum)]
    scenario: Scenario,
    /// How often (`shadow`: pairs of windows); without it 20 times, `fairness` 5, `overload` once
    #[arg(long)]
    runs: Option<usize>,
    /// Decides rows, arrivals and the like; each run gets its own from it
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Only this run of them, from 1
    #[arg(long, value_name = "K")]
    only_run: Option<usize>,
    /// The gateway's binary, if it is not beside this one
    #[arg(long, value_name = "PATH")]
    gateway: Option<PathBuf>,
    /// One more argument for `weighbridge serve`; may be repeated
    #[arg(long, value_name = "ARG", allow_hyphen_values = true)]
    gateway_arg: Vec<String>,
    /// No run begins later than this after the first; runs left out are a missed bound
    #[arg(long, default_value = "2h", value_parser = humantime::parse_duration)]
    time_limit: Duration,
    #[command(flatten)]
    output: OutputArguments,
    // Last: its heading is for all that follows.
    #[command(flatten)]
    pressure: PressureArguments,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "fairness and overload")]
struct PressureArguments {
    /// How long each window or step is counted [fairness: 10s, overload: 8s]
    #[arg(long, value_parser = humantime::parse_duration)]
    window: Option<Duration>,
    /// How long each request waits for its answer [fairness: 1s, overload: 200ms]
    #[arg(long, value_parser = humantime::parse_duration)]
    deadline: Option<Duration>,
    /// The models' max_batch_size [fairness: 8, overload: 4]
    #[arg(long, value_name = "ROWS")]
    max_batch_size: Option<usize>,
    /// Of overload, in times of saturation [0.5,0.8,1,1.2,1.5,2,3]
    #[arg(long, value_delimiter = ',', value_name = "TIMES")]
    steps: Vec<f64>,
    /// Of overload: also writes goodput and p99 against the offered load there, as SVG
    #[arg(long, value_name = "FILE")]
    plot: Option<PathBuf>,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Against {
    /// A plain axum handler that runs the model inline
    Bare,
}

#[derive(Debug, Args)]
struct OutputArguments {
    /// Also writes the report there, as JSON
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Prints JSON rather than text
    #[arg(long)]
    json: bool,
}

impl Cli {
    /// Does what the command says.
    pub fn run(self) -> Result<()> {
        match self.command {
            Command::Steady(arguments) => run_steady(arguments),
            Command::Saturate(arguments) => run_saturate(arguments),
            Command::Scenario(arguments) => run_scenario(arguments),
            Command::MakeModel { model } => model.write(),
        }
    }
}

fn run_steady(arguments: SteadyArguments) -> Result<()> {
    let body = match &arguments.body {
        Some(path) => Some(fs::read(path).with_context(|| format!("read {}", path.display()))?),
        None => None,
    };
    let plan = steady::Plan {
        url: arguments.url,
        model: arguments.model,
        version: arguments.version,
        headers: arguments.header,
        body,
        rate: arguments.rate,
        duration: arguments.duration,
        arrivals: arguments.arrivals,
        seed: arguments.seed,
        connections: arguments.connections,
        timeout: arguments.timeout,
        server_pid: arguments.server_pid,
    };
    let report = steady::run(&plan, &Stop::on_signal()?)?;
    arguments.output.deliver(&report)?;
    ensure!(report.ok > 0, "no request was answered with success");
    Ok(())
}

fn run_saturate(arguments: SaturateArguments) -> Result<()> {
    let measure = Duration::try_from_secs_f64(arguments.seconds)
        .with_context(|| format!("{} is not a number of seconds", arguments.seconds))?;
    // One opponent so far; the option is there so that scripts name what they compare with.
    let Against::Bare = arguments.against;
    let plan = saturate::Plan {
        connections: arguments.connections,
        rounds: arguments.rounds,
        measure,
        warm_up: arguments.warm_up,
        only: arguments.only,
        bare: arguments.bare,
        gateway: arguments.gateway,
        gateway_arguments: arguments.gateway_arg,
    };
    let report = saturate::run(&plan, &Stop::on_signal()?)?;
    arguments.output.deliver(&report)?;
    ensure!(!report.interrupted, "interrupted: the figures are of the rounds before");
    Ok(())
}

fn run_scenario(arguments: ScenarioArguments) -> Result<()> {
    let PressureArguments { window, deadline, max_batch_size, steps, plot } = arguments.pressure;
    ensure!(
        plot.is_none() || arguments.scenario == Scenario::Overload,
        "--plot: only overload has a picture"
    );
    let plan = scenario::Plan {
        scenario: arguments.scenario,
        runs: arguments.runs.unwrap_or_else(|| arguments.scenario.usual_runs()),
        seed: arguments.seed,
        only_run: arguments.only_run,
        gateway: arguments.gateway,
        gateway_arguments: arguments.gateway_arg,
        time_limit: arguments.time_limit,
        pressure: Pressure { window, deadline, max_batch_size, steps },
    };
    let report = scenario::run(&plan, &Stop::on_signal()?)?;
    arguments.output.deliver(&report)?;
    if let Some((path, picture)) = plot.zip(report.plot()) {
        write(&path, picture.as_bytes())?;
    }
    let missed = report.bounds().iter().filter(|bound| !bound.met).count();
    ensure!(missed == 0, "{missed} of {} bounds are missed", report.bounds().len());
    Ok(())
}

impl OutputArguments {
    fn deliver(&self, report: &(impl Serialize + Display)) -> Result<()> {
        let json = serde_json::to_string_pretty(report).context("serialise the report")?;
        if self.json {
            println!("{json}");
        } else {
            println!("{report}");
        }
        match &self.out {
            Some(path) => write(path, format!("{json}\n").as_bytes()),
            None => Ok(()),
        }
    }
}

fn write(path: &Path, bytes: &[u8]) -> Result<()> {
    if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        fs::create_dir_all(folder).with_context(|| format!("make {}", folder.display()))?;
    }
    fs::write(path, bytes).with_context(|| format!("write {}", path.display()))
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn the_documented_calls_parse() {
        for call in [
            "load-tests steady --rate 500 --duration 20s",
            "load-tests steady --rate 5 --duration 1m --version 2 --arrivals poisson --json",
            "load-tests saturate --connections 1,16,64 --against bare --rounds 5 --seconds 3",
            "load-tests saturate --only bare --gateway-arg --config --gateway-arg x.toml",
            "load-tests scenario canary-errors --runs 20 --seed 1 --json --out report.json",
            "load-tests scenario shadow --runs 9 --only-run 3 --gateway-arg --config",
            "load-tests scenario fairness --runs 3 --window 5s --deadline 1s --max-batch-size 8",
            "load-tests scenario overload --steps 0.5,1,3 --window 8s --plot out.svg --json",
            "load-tests make-model mlp out.onnx --layers 4,8,2",
            "load-tests make-model part-per-run out.onnx --value 3 --run-steps 25 --row-steps 50",
            "load-tests make-model tag --value -3 out.onnx",
            "load-tests make-model gather-fault --value 2 --limit 2 out.onnx",
            "load-tests make-model other-shape --value 2 --hidden out.onnx",
            "load-tests make-model equal out.onnx --of tag.onnx --remark again",
        ] {
            if let Err(error) = Cli::try_parse_from(call.split(' ')) {
                panic!("{call}: {error}");
            }
        }
    }
}
