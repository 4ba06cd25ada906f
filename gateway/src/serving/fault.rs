//! Failures on purpose: a drill makes a canary fail, to see that the rollback works. Never
//! stable: only [`crate::rollout`] sets faults, and only on the version on trial.

use std::fmt;
use std::str::FromStr;
use std::sync::{Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use weighbridge_config::{Tensor, TensorData};

use crate::serving::loaded::RunError;

/// What goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[derive(utoipa::ToSchema)]
pub enum FaultKind {
    /// Runs fail.
    Errors,
    /// Runs take three times as long, at least 20 ms more.
    Slow,
    /// Answers turn into NaN (zero where there is no NaN).
    Wrong,
    /// Runs do not end before the drill does: they hold their compute thread.
    Hang,
    /// Each run keeps memory and takes longer than the one before.
    Leak,
}

impl FaultKind {
    const ALL: [(&str, Self); 5] = [
        ("errors", Self::Errors),
        ("slow", Self::Slow),
        ("wrong", Self::Wrong),
        ("hang", Self::Hang),
        ("leak", Self::Leak),
    ];
}

impl fmt::Display for FaultKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = Self::ALL.iter().find(|(_, kind)| kind == self).map_or("", |(name, _)| name);
        f.write_str(name)
    }
}

impl FromStr for FaultKind {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let known = Self::ALL.iter().find(|(name, _)| *name == text);
        known.map(|(_, kind)| *kind).ok_or_else(|| {
            let shown: String = text.chars().take(40).collect();
            format!("\"{shown}\" is no fault: wanted errors, slow, wrong, hang or leak")
        })
    }
}

/// Memory that a leaking drill keeps with each run, and at most.
const LEAK_BYTES: usize = 1 << 20;
const MOST_LEAKED: usize = 256;
/// How much longer each leaking run takes than the one before.
const LEAK_STEP: Duration = Duration::from_millis(2);
const SLOW_FACTOR: u32 = 3;
const SLOW_LEAST: Duration = Duration::from_millis(20);

/// A fault in force from a moment on until it is ended.
#[derive(Debug)]
pub struct Fault {
    pub kind: FaultKind,
    pub from: Instant,
    /// The share of runs that it strikes.
    pub share: f64,
    state: Mutex<State>,
    ended: Condvar,
}

#[derive(Debug, Default)]
struct State {
    has_ended: bool,
    leaked: Vec<Vec<u8>>,
    runs: u32,
}

impl Fault {
    /// A fault that strikes `share` of the runs after `from`.
    pub fn new(kind: FaultKind, from: Instant, share: f64) -> Self {
        Self { kind, from, share, state: Mutex::default(), ended: Condvar::new() }
    }

    /// Ends it: hanging runs go on, leaked memory is given back.
    pub fn end(&self) {
        let mut state = self.lock();
        state.has_ended = true;
        state.leaked = Vec::new();
        self.ended.notify_all();
    }

    /// Runs, or fails instead.
    pub fn strike(
        &self,
        run: impl FnOnce() -> Result<Vec<Vec<Tensor>>, RunError>,
    ) -> Result<Vec<Vec<Tensor>>, RunError> {
        let is_due = Instant::now() >= self.from && rand::random::<f64>() < self.share;
        if !is_due || self.lock().has_ended {
            return run();
        }
        match self.kind {
            FaultKind::Errors => Err(RunError("a drill makes this version fail".to_owned())),
            FaultKind::Slow => {
                let started = Instant::now();
                let answer = run();
                std::thread::sleep((started.elapsed() * (SLOW_FACTOR - 1)).max(SLOW_LEAST));
                answer
            }
            FaultKind::Wrong => run().map(|answers| {
                answers
                    .into_iter()
                    .map(|outputs| outputs.into_iter().map(spoilt).collect())
                    .collect()
            }),
            FaultKind::Hang => {
                let mut state = self.lock();
                while !state.has_ended {
                    state = self.ended.wait(state).unwrap_or_else(PoisonError::into_inner);
                }
                drop(state);
                Err(RunError("a drill made this run hang".to_owned()))
            }
            FaultKind::Leak => {
                let longer = {
                    let mut state = self.lock();
                    state.runs += 1;
                    if state.leaked.len() < MOST_LEAKED {
                        // Written to, or the system would not really give it.
                        state.leaked.push(vec![1; LEAK_BYTES]);
                    }
                    LEAK_STEP * state.runs
                };
                std::thread::sleep(longer);
                run()
            }
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn spoilt(tensor: Tensor) -> Tensor {
    let mut data = tensor.data().clone();
    match &mut data {
        TensorData::Fp32(v) => v.fill(f32::NAN),
        TensorData::Fp64(v) => v.fill(f64::NAN),
        TensorData::Fp16(v) => v.fill(0x7e00),
        TensorData::Bf16(v) => v.fill(0x7fc0),
        TensorData::Int64(v) => v.fill(0),
        TensorData::Int32(v) => v.fill(0),
        TensorData::Bytes(v) => v.iter_mut().for_each(Vec::clear),
        _ => {}
    }
    Tensor::new(tensor.shape().to_vec(), data).unwrap_or(tensor)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer() -> Result<Vec<Vec<Tensor>>, RunError> {
        let tensor = Tensor::new(vec![1, 2], TensorData::Fp32(vec![1.0, 2.0])).unwrap();
        Ok(vec![vec![tensor]])
    }

    #[test]
    fn names_are_read_and_written() {
        for (name, kind) in FaultKind::ALL {
            assert_eq!(name.parse(), Ok(kind));
            assert_eq!(kind.to_string(), name);
        }
        assert!("sneeze".parse::<FaultKind>().unwrap_err().contains("sneeze"));
    }

    #[test]
    fn a_fault_strikes_from_its_moment_until_it_is_ended() {
        let later = Fault::new(FaultKind::Errors, Instant::now() + Duration::from_secs(60), 1.0);
        assert!(later.strike(answer).is_ok());
        let now = Fault::new(FaultKind::Errors, Instant::now(), 1.0);
        assert!(now.strike(answer).is_err());
        now.end();
        assert!(now.strike(answer).is_ok());
    }

    #[test]
    fn wrong_answers_keep_their_shape() {
        let wrong = Fault::new(FaultKind::Wrong, Instant::now(), 1.0);
        let answers = wrong.strike(answer).unwrap();
        assert_eq!(answers[0][0].shape(), [1, 2]);
        assert!(weighbridge_config::tensor::compare::has_non_finite(answers[0][0].data()));
    }

    #[test]
    fn a_hanging_run_goes_on_when_the_fault_ends() {
        let hang = Fault::new(FaultKind::Hang, Instant::now(), 1.0);
        std::thread::scope(|scope| {
            let run = scope.spawn(|| hang.strike(answer));
            hang.end();
            // Whether it had begun to hang or not, it does not hang now.
            let _ = run.join().unwrap();
        });
    }
}
