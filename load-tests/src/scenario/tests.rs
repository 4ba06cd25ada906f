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
