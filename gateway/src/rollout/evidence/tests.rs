use super::*;

const MS: u64 = 1_000_000;

fn thresholds() -> Arc<Thresholds> {
    let stable = [1, 2, 3, 4, 5, 6, 7, 8].map(|ms| ms * MS);
    let (ceiling, slo) = (Duration::from_secs(1), Some(Duration::from_millis(5)));
    Arc::new(Thresholds::new(Some(stable), 1.1, 1.2, ceiling, slo))
}

fn evidence(units: Option<Arc<Units>>) -> (Arc<Evidence>, Instant) {
    let began = Instant::now();
    let evidence = Evidence::new(began, Duration::from_secs(30), 2, thresholds(), units);
    (Arc::new(evidence), began)
}

#[test]
fn a_request_counts_where_it_arrived() {
    let (evidence, began) = evidence(None);
    let at = |ms| began + Duration::from_millis(ms);
    let first = evidence.admit(Sample::Canary, at(100), None);
    let second = evidence.admit(Sample::Canary, at(2_500), None);
    assert_eq!(evidence.take(0, Sample::Canary), Added { open: 1, ..Added::default() });
    second.end(Outcome::Failed, Duration::from_millis(1));
    first.end(Outcome::Ok, Duration::from_millis(3_000));
    let early = evidence.take(0, Sample::Canary);
    assert_eq!((early.open, early.outcomes.ok, early.outcomes.err), (0, 1, 0));
    assert_eq!(evidence.take(2, Sample::Canary).outcomes.err, 1);
    assert_eq!(evidence.take(0, Sample::Canary), Added::default(), "taken once");
    assert_eq!(evidence.take(0, Sample::Control), Added::default());
}

#[test]
fn a_canarys_time_is_scaled_by_both_margins_and_cut_at_the_ceiling() {
    let (evidence, began) = evidence(None);
    let end = |side, us| {
        evidence.admit(side, began, None).end(Outcome::Ok, Duration::from_micros(us));
        let latencies = evidence.take(0, side).latencies;
        let level = |of: [u64; LEVELS]| of.iter().position(|n| *n == 1);
        (level(latencies.rollback), level(latencies.promote), latencies.slo_missed)
    };
    assert_eq!(end(Sample::Control, 3_500), (Some(3), Some(3), 0));
    // 3.5 ms / 1.1 = 3.2 ms and / 1.2 = 2.9 ms.
    assert_eq!(end(Sample::Canary, 3_500), (Some(3), Some(2), 0));
    assert_eq!(end(Sample::Canary, 60_000_000), (Some(8), Some(8), 1));
    assert_eq!(evidence.late(Side::Canary, 2).rollback[8], 2);
}

#[test]
fn over_its_budget_a_request_has_overrun_it_whichever_way_it_ends() {
    let (evidence, began) = evidence(None);
    let admit = || evidence.admit(Sample::Control, began, None).within(Some(Duration::ZERO));
    for outcome in [Outcome::Ok, Outcome::Failed, Outcome::Overran] {
        admit().end(outcome, Duration::from_millis(20));
    }
    // Its client has left.
    drop(admit());
    let added = evidence.take(0, Sample::Control);
    assert_eq!((added.outcomes.ok, added.outcomes.err), (0, 4));
    assert_eq!(added.latencies.rollback[0], 4, "that of the budget");
    admit().end(Outcome::ClientError, Duration::from_millis(20));
    admit().end(Outcome::Neutral, Duration::from_millis(20));
    let added = evidence.take(0, Sample::Control);
    assert_eq!((added.outcomes.err, added.outcomes.client_error), (0, 1));
}

#[test]
fn of_the_rest_of_stable_only_the_outcome_counts() {
    let (evidence, began) = evidence(None);
    for outcome in [Outcome::Ok, Outcome::Overran] {
        evidence.admit(Sample::Rest, began, None).end(outcome, Duration::from_millis(20));
    }
    let added = evidence.take(0, Sample::Rest);
    assert_eq!((added.outcomes.ok, added.outcomes.err), (1, 1));
    assert_eq!(added.latencies, Latencies::default());
}

#[test]
fn errors_have_no_answer_time_and_overruns_have() {
    let (evidence, began) = evidence(None);
    for outcome in [Outcome::Failed, Outcome::Overran, Outcome::ClientError, Outcome::Neutral] {
        evidence.admit(Sample::Canary, began, None).end(outcome, Duration::from_millis(20));
    }
    let added = evidence.take(0, Sample::Canary);
    let Outcomes { ok, err, client_error, unit_err } = added.outcomes;
    assert_eq!((ok, err, client_error, unit_err, added.open), (0, 2, 1, 2, 0));
    assert_eq!(added.latencies.rollback.iter().sum::<u64>(), 1);
}

#[test]
fn a_client_that_leaves_counts_by_its_age() {
    let (evidence, _) = evidence(None);
    let now = Instant::now();
    drop(evidence.admit(Sample::Control, now, None));
    let second = evidence.second_of(now);
    assert_eq!(evidence.take(second, Sample::Control), Added::default(), "left at once: neutral");
    let long_ago = now - Duration::from_millis(500).min(now - evidence.start_of(0));
    let mut waited = evidence.admit(Sample::Control, now, None);
    waited.arrived = long_ago - Duration::from_millis(4);
    drop(waited);
    let added = evidence.take(second, Sample::Control);
    assert_eq!((added.outcomes.ok, added.open), (1, 0));
}

#[test]
fn of_a_unit_the_first_request_and_the_first_error_count() {
    let (evidence, began) = evidence(Some(Arc::default()));
    for (unit, outcome) in [
        (7, Outcome::Ok),
        (7, Outcome::Failed),
        (7, Outcome::Failed),
        (8, Outcome::Failed),
        (8, Outcome::Ok),
    ] {
        evidence.admit(Sample::Canary, began, Some(unit)).end(outcome, Duration::from_millis(1));
    }
    let outcomes = evidence.take(0, Sample::Canary).outcomes;
    assert_eq!((outcomes.ok, outcomes.err, outcomes.unit_err), (1, 1, 2));
}

#[test]
fn nothing_is_lost_between_many_threads_and_a_reader() {
    const EACH: u32 = 20_000;
    let (evidence, began) = evidence(None);
    let mut seen = 0;
    std::thread::scope(|scope| {
        let writers: Vec<_> = (0..4)
            .map(|_| {
                scope.spawn(|| {
                    for n in 0..EACH {
                        let at = began + Duration::from_secs(u64::from(n % 3));
                        let admitted = evidence.admit(Sample::Canary, at, None);
                        admitted.end(Outcome::Ok, Duration::from_millis(1));
                    }
                })
            })
            .collect();
        while writers.iter().any(|w| !w.is_finished()) {
            seen += (0..3).map(|s| evidence.take(s, Sample::Canary).outcomes.ok).sum::<u64>();
        }
    });
    seen += (0..3).map(|s| evidence.take(s, Sample::Canary).outcomes.ok).sum::<u64>();
    assert_eq!(seen, u64::from(4 * EACH));
}
