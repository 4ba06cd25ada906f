//! This engine beside ONNX Runtime: the same models and rows in one process, one thread each.
//!
//! ```text
//! cargo bench --locked -p weighbridge-engine --bench beside_onnxruntime -- --library PATH
//! ```
//!
//! A call is timed whole for both: from tensors that the caller owns to tensors that the caller
//! owns. Passes of the two are interleaved; read the ratios, for the times move with whatever
//! else the machine does. See [`arguments`] for what can be set.

mod arguments;
mod onnxruntime;
mod rows;
mod table;

#[path = "../../tests/cases/mod.rs"]
mod cases;

use std::hint::black_box;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use arguments::Arguments;
use onnxruntime::Session;
use rows::{Batch, Batches};
use table::{Measured, Pass};
use weighbridge_config::Tensor;
use weighbridge_engine::{LoadOptions, LoadedModel};

/// As in the server's binary, whose calls these are.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// What each engine's share of a pass takes at least.
const SHARE: Duration = Duration::from_millis(4);

/// The rows of a large batch; models with fewer rows beside them take those.
const LARGE: usize = 64;

/// How far answers may differ: the order of summing, exponentials of another library.
fn tolerance(name: &str) -> f64 {
    match name {
        // Ill-conditioned: large terms cancel out, and the order of summing shows.
        "gp_reg" => 1e-2,
        _ => 1e-4,
    }
}

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(reason) => {
            eprintln!("{reason}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<(), String> {
    let arguments = Arguments::read()?;
    let environment = onnxruntime::environment(&arguments.library)?;
    let (mut contests, mut failures) = (Vec::new(), Vec::new());
    for path in arguments.models()? {
        let case = cases::case(&path);
        let name = case.name.clone();
        match Contest::new(&environment, case, &arguments) {
            Ok(contest) => contests.push(contest),
            Err(reason) => failures.push(format!("{name}: {reason}")),
        }
    }
    if contests.is_empty() && failures.is_empty() {
        return Err(format!("no model of {} fits the filter", arguments.folder.display()));
    }
    for pass in 0..arguments.passes {
        for contest in &mut contests {
            contest.pass(pass % 2 == 0)?;
        }
    }
    let measured: Vec<Measured> = contests.into_iter().map(|c| c.measured).collect();
    print!("{}", table::markdown(&measured, arguments.passes));
    if failures.is_empty() { Ok(()) } else { Err(format!("not timed:\n{}", failures.join("\n"))) }
}

/// One model in both engines, with rows to answer.
struct Contest {
    ours: LoadedModel,
    theirs: Session,
    /// Single rows, then large batches.
    batches: [Batches; 2],
    calls: [usize; 2],
    measured: Measured,
}

impl Contest {
    fn new(
        environment: &ort::environment::Environment,
        case: cases::Case,
        arguments: &Arguments,
    ) -> Result<Self, String> {
        let options = LoadOptions { max_batch_rows: LARGE, ..LoadOptions::default() };
        let ours = LoadedModel::load(&case.onnx, &options).map_err(|e| e.to_string())?;
        let mut theirs = Session::load(environment, &case.onnx)?;
        let mut inputs = rows::with_missing(case.inputs, arguments.missing);
        if !ours.signature().batchable {
            // Made for one row at a time.
            inputs = cases::slice(&inputs, 0, 1);
        }
        agree(&ours, &mut theirs, &Batch::new(inputs.clone()), tolerance(&case.name))?;
        let large = inputs.first().map_or(1, Tensor::rows).min(LARGE);
        let pool = rows::pool(&inputs, arguments.source);
        let mut batches = [Batches::new(&pool, 1), Batches::new(&pool, large)];
        let mut calls = [0; 2];
        for (calls, batches) in calls.iter_mut().zip(&mut batches) {
            *calls = calls_per_share(&mut theirs, batches)?;
        }
        let measured = Measured::new(case.name, large);
        Ok(Self { ours, theirs, batches, calls, measured })
    }

    /// Times each engine once at each batch size; `ours_first` alternates, so that neither
    /// always finds the caches as the other left them.
    fn pass(&mut self, ours_first: bool) -> Result<(), String> {
        for size in 0..2 {
            let (batches, calls) = (&mut self.batches[size], self.calls[size]);
            let start = batches.position();
            let mut seconds = [0.0; 2];
            for ours in [ours_first, !ours_first] {
                batches.rewind(start);
                let begin = Instant::now();
                for _ in 0..calls {
                    let batch = batches.next();
                    if ours {
                        black_box(self.ours.run(&[&batch.inputs]).map_err(|e| e.to_string())?);
                    } else {
                        black_box(self.theirs.run(batch)?);
                    }
                }
                seconds[usize::from(!ours)] = begin.elapsed().as_secs_f64() / calls as f64;
            }
            self.measured.add(size, Pass { ours: seconds[0], theirs: seconds[1] });
        }
        Ok(())
    }
}

/// Refuses to time engines that do not agree on the model's rows.
fn agree(
    ours: &LoadedModel,
    theirs: &mut Session,
    batch: &Batch,
    tolerance: f64,
) -> Result<(), String> {
    let got = ours.run(&[&batch.inputs]).map_err(|e| e.to_string())?.remove(0);
    let wanted = theirs.run_with_maps(batch)?;
    cases::compare(&got, &wanted, tolerance).map_err(|e| format!("the engines disagree: {e}"))
}

/// How many calls fill ONNX Runtime's share of a pass; both engines make as many.
fn calls_per_share(theirs: &mut Session, batches: &mut Batches) -> Result<usize, String> {
    let mut calls = 1;
    loop {
        let begin = Instant::now();
        for _ in 0..calls {
            black_box(theirs.run(batches.next())?);
        }
        if begin.elapsed() >= SHARE {
            return Ok(calls);
        }
        calls *= 2;
    }
}
