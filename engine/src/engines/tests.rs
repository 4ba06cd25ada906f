//! The choice between two engines, with engines made by hand.

use std::time::{Duration, Instant};

use weighbridge_config::{Datatype, Tensor, TensorData, TensorSpec};

use super::*;

/// Doubles each row in `base` plus `row` for each row, adds `off`, or fails.
#[derive(Debug)]
struct Doubler {
    base: Duration,
    row: Duration,
    off: f32,
    fails: bool,
}

impl Run for Doubler {
    fn run(&self, _: &Signature, parts: &[&[Tensor]]) -> Result<Vec<Vec<Tensor>>, Error> {
        let began = Instant::now();
        if self.fails {
            return Err(Error::new(ErrorKind::Run, "no such token"));
        }
        let answer = |part: &&[Tensor]| {
            let TensorData::Fp32(x) = part[0].data() else { panic!("floats are fed") };
            let y = x.iter().map(|x| 2.0 * x + self.off).collect();
            let tensor = Tensor::new(part[0].shape().to_vec(), TensorData::Fp32(y));
            vec![tensor.expect("as many as came")]
        };
        let rows: usize = parts.iter().map(|part| part[0].rows()).sum();
        let answers = parts.iter().map(answer).collect();
        while began.elapsed() < self.base + self.row * rows as u32 {
            std::hint::spin_loop();
        }
        Ok(answers)
    }
}

fn ready(run: Doubler, best_batch_rows: usize) -> Ready {
    let spec = |name: &str| TensorSpec {
        name: name.into(),
        datatype: Datatype::Fp32,
        shape: vec![-1, 2],
        labels: vec![],
    };
    Ready {
        plan: Arc::new(run),
        signature: Signature { inputs: vec![spec("x")], outputs: vec![spec("y")], batchable: true },
        cost: Cost { base_us: 1.0, per_row_us: 1.0, best_batch_rows },
        optimise_ms: 0.0,
        notes: vec![],
        memory: 0,
    }
}

fn doubler(base_us: u64, row_us: u64) -> Doubler {
    let (base, row) = (Duration::from_micros(base_us), Duration::from_micros(row_us));
    Doubler { base, row, off: 0.0, fails: false }
}

#[test]
fn the_first_engine_serves_what_it_does_right_and_not_much_slower() {
    let decision = choose(&ready(doubler(120, 0), 4), &ready(doubler(100, 0), 16));
    assert_eq!(decision.engine, EngineName::Tract, "{decision:?}");
    let rows: Vec<usize> = decision.timings.iter().map(|t| t.rows).collect();
    assert_eq!(rows, [1, 16], "one row, and the larger of the batches that pay");
    assert!(decision.reason.contains("for 1 row") && decision.reason.contains("for 16 rows"));
}

#[test]
fn one_size_at_which_the_first_is_much_slower_is_enough() {
    // 100 and 110 us for one row, 260 and 125 for sixteen.
    let decision = choose(&ready(doubler(90, 10), 16), &ready(doubler(109, 1), 16));
    assert_eq!(decision.engine, EngineName::OnnxRuntime, "{decision:?}");
    assert!(decision.reason.contains("1.5 times"), "{}", decision.reason);
    let alone = choose(&ready(doubler(300, 0), 1), &ready(doubler(100, 0), 1));
    assert_eq!(alone.engine, EngineName::OnnxRuntime);
    assert_eq!(alone.timings.len(), 1);
}

#[test]
fn other_answers_decide_before_any_time_is_taken() {
    let wrong = Doubler { off: 0.5, ..doubler(0, 0) };
    let decision = choose(&ready(wrong, 1), &ready(doubler(50, 0), 1));
    assert_eq!(decision.engine, EngineName::OnnxRuntime);
    assert!(decision.timings.is_empty() && decision.reason.contains("\"y\""), "{decision:?}");
    let rounding = Doubler { off: 1e-5, ..doubler(0, 0) };
    let decision = choose(&ready(rounding, 1), &ready(doubler(50, 0), 1));
    assert_eq!(decision.engine, EngineName::Tract, "{decision:?}");
}

#[test]
fn who_fails_where_the_other_answers_does_not_serve() {
    let failing = || Doubler { fails: true, ..doubler(0, 0) };
    let decision = choose(&ready(failing(), 1), &ready(doubler(50, 0), 1));
    assert_eq!(decision.engine, EngineName::OnnxRuntime);
    assert!(decision.reason.contains("no such token"), "{}", decision.reason);
    // Made-up rows that nobody answers prove nothing.
    let decision = choose(&ready(failing(), 1), &ready(failing(), 1));
    assert_eq!(decision.engine, EngineName::Tract);
    assert!(decision.reason.contains("could not be compared"), "{}", decision.reason);
}
