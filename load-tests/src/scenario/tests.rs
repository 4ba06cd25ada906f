use super::*;

fn plan() -> Plan {
    Plan {
        scenario: Scenario::CanaryErrors,
        runs: 4,
        seed: 1,
        only_run: None,
        gateway: None,
        gateway_arguments: Vec::new(),
        time_limit: Duration::from_secs(3600),
        pressure: Pressure::default(),
    }
}

#[test]
fn each_run_has_a_seed_of_its_own_that_only_run_keeps() {
    let stop = Stop::default();
    let plan = plan();
    let all: Vec<(usize, u64)> = plan.seeded_runs(&stop).collect();
    assert_eq!(all.len(), 4);
    let only = Plan { only_run: Some(3), ..plan.clone() };
    let one: Vec<(usize, u64)> = only.seeded_runs(&stop).collect();
    assert_eq!((one.as_slice(), only.wanted_runs()), (&all[2..3], 1));
    let other: Vec<(usize, u64)> = Plan { seed: 2, ..plan }.seeded_runs(&stop).collect();
    assert!(other.iter().all(|(_, seed)| all.iter().all(|(_, known)| known != seed)));
}

#[test]
fn time_and_interrupts_end_the_runs() {
    let stop = Stop::default();
    let none = Plan { time_limit: Duration::ZERO, ..plan() };
    assert_eq!(none.seeded_runs(&stop).count(), 0);
    stop.raise();
    assert_eq!(plan().seeded_runs(&stop).count(), 0);
}

#[test]
fn runs_that_do_not_exist_are_refused() {
    for wrong in [Plan { runs: 0, ..plan() }, Plan { only_run: Some(5), ..plan() }] {
        let error = run(&wrong, &Stop::default()).unwrap_err().to_string();
        assert!(error.contains("run"), "{error}");
    }
}

#[test]
fn loads_are_bounded_and_for_those_who_use_them() {
    let second = Duration::from_secs(1);
    let refused = |scenario, pressure: Pressure| {
        let plan = Plan { scenario, pressure, ..plan() };
        // Raised: what is not refused ends before it starts anything.
        let stop = Stop::default();
        stop.raise();
        run(&plan, &stop).unwrap_err().to_string()
    };
    let window = |window| Pressure { window: Some(window), ..Pressure::default() };
    let error = refused(Scenario::CanaryGood, window(second));
    assert!(error.contains("are for fairness and overload"), "{error}");
    for wrong in [second / 2, 601 * second] {
        let error = refused(Scenario::Overload, window(wrong));
        assert!(error.contains("--window"), "{error}");
    }
    let deadline = Some(Duration::from_millis(1));
    let error = refused(Scenario::Fairness, Pressure { deadline, ..Pressure::default() });
    assert!(error.contains("--deadline"), "{error}");
    let steps = Pressure { steps: vec![1.0], ..Pressure::default() };
    assert!(refused(Scenario::Fairness, steps).contains("--steps"));
    let rows = Pressure { max_batch_size: Some(0), ..Pressure::default() };
    assert!(refused(Scenario::Overload, rows).contains("--max-batch-size"));
}
