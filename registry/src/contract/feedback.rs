//! Exposures, and what is reported back about units.

use super::fixture::*;
use crate::{
    Experiment, Exposure, FeedbackAbout, FeedbackOutcome, MOST_IN_BATCH, NewFeedback, Recorded,
    RequestUnit, UnitQuery, UnitSum,
};

async fn running(registry: &Shared) -> Experiment {
    if registry.model(fraud()).await.is_err() {
        ready_versions(registry, 2).await;
    }
    experiment(registry, &[1, 2]).await.expect("an experiment")
}

async fn stop(registry: &Shared, id: &str) {
    let stopped = registry.stop_experiment(id, None, None, ada(), NOON).await;
    stopped.expect("a stop");
}

fn exposure(experiment: &str, unit: &str, variant: &str, at: u64) -> Exposure {
    Exposure {
        experiment: experiment.to_owned(),
        unit: unit.to_owned(),
        variant: variant.to_owned(),
        share: 0.1,
        epoch: 3,
        at: NOON + at,
    }
}

fn request(experiment: &str, id: &str, unit: &str, at: u64) -> RequestUnit {
    RequestUnit {
        request: id.to_owned(),
        experiment: experiment.to_owned(),
        unit: unit.to_owned(),
        at: NOON + at,
    }
}

fn clicks(about: FeedbackAbout, value: f64, at: u64, key: Option<&str>) -> NewFeedback {
    NewFeedback {
        model: fraud().clone(),
        about,
        metric: "clicks".to_owned(),
        value,
        at: NOON + at,
        idempotency_key: key.map(str::to_owned),
    }
}

fn unit(name: &str) -> FeedbackAbout {
    FeedbackAbout::Unit(name.to_owned())
}

fn of_request(id: &str) -> FeedbackAbout {
    FeedbackAbout::Request(id.to_owned())
}

async fn expose(registry: &Shared, batch: &[Exposure]) -> Recorded {
    registry.record_exposures(batch).await.expect("recorded exposures")
}

async fn report(registry: &Shared, batch: &[NewFeedback]) -> Vec<FeedbackOutcome> {
    registry.feedback(batch, NOON + 1_000).await.expect("feedback")
}

async fn clicks_of(registry: &Shared, experiment: &str) -> Vec<UnitSum> {
    let query = UnitQuery {
        experiment: experiment.to_owned(),
        metric: "clicks".to_owned(),
        within: None,
        after: None,
        limit: 1_000,
    };
    registry.units(&query).await.expect("units")
}

fn counted(experiment: &str) -> FeedbackOutcome {
    FeedbackOutcome::Recorded { experiment: experiment.to_owned() }
}

pub async fn the_first_exposure_stays(registry: Shared) {
    let id = running(&registry).await.id;
    let before = (snapshot(&registry).await, events(&registry).await);
    let batch = [
        exposure(&id, "ann", "blue", 5),
        exposure("ex-none", "ann", "blue", 5),
        exposure(&id, "bob", "red", 6),
        exposure(&id, "ann", "red", 7),
    ];
    let first = expose(&registry, &batch).await;
    assert_eq!(first, Recorded { new: 2, known: 1, unknown: 1 });
    let again = expose(&registry, &batch).await;
    assert_eq!(again, Recorded { new: 0, known: 3, unknown: 1 });
    assert_eq!(expose(&registry, &[]).await, Recorded::default());
    let units = clicks_of(&registry, &id).await;
    let ann = UnitSum {
        unit: "ann".to_owned(),
        variant: "blue".to_owned(),
        share: 0.1,
        epoch: 3,
        first_seen_at: NOON + 5,
        count: 0,
        sum: 0.0,
    };
    assert_eq!((units.len(), &units[0], units[1].unit.as_str()), (2, &ann, "bob"));
    assert_eq!((snapshot(&registry).await, events(&registry).await), before);
}

pub async fn batches_are_bounded_and_checked(registry: Shared) {
    let id = running(&registry).await.id;
    // More than one statement's worth, up to the bound.
    let many: Vec<_> =
        (0..MOST_IN_BATCH).map(|n| exposure(&id, &format!("unit {n}"), "blue", 0)).collect();
    let recorded = expose(&registry, &many).await;
    assert_eq!(recorded, Recorded { new: MOST_IN_BATCH as u64, ..Recorded::default() });
    let more = [many, vec![exposure(&id, "one more", "blue", 0)]].concat();
    assert!(illegal(registry.record_exposures(&more).await).contains("at most 5000"));
    for share in [0.0, -0.1, 1.01, f64::NAN] {
        let odd = Exposure { share, ..exposure(&id, "odd", "blue", 0) };
        let sentence = illegal(registry.record_exposures(&[odd]).await);
        assert!(sentence.contains("unit odd"), "{sentence}");
    }
    let all = Exposure { share: 1.0, ..exposure(&id, "sure", "blue", 0) };
    assert_eq!(expose(&registry, &[all]).await.new, 1);
    let requests = vec![request(&id, "r", "ann", 0); MOST_IN_BATCH + 1];
    illegal(registry.record_requests(&requests).await);
    let reports = vec![clicks(unit("ann"), 1.0, 0, None); MOST_IN_BATCH + 1];
    illegal(registry.feedback(&reports, NOON).await);
}

pub async fn feedback_finds_its_unit(registry: Shared) {
    let id = running(&registry).await.id;
    let exposures = [exposure(&id, "ann", "blue", 5), exposure(&id, "bob", "red", 5)];
    expose(&registry, &exposures).await;
    let requests = [
        request(&id, "r-1", "ann", 6),
        request(&id, "r-2", "stranger", 6),
        request("ex-none", "r-3", "ann", 6),
        request(&id, "r-1", "bob", 8),
    ];
    let recorded = registry.record_requests(&requests).await.expect("recorded requests");
    assert_eq!(recorded, Recorded { new: 2, known: 1, unknown: 1 });
    let before = (snapshot(&registry).await, events(&registry).await);
    let elsewhere = NewFeedback { model: named("churn"), ..clicks(unit("ann"), 1.0, 9, None) };
    let not_a_number = clicks(unit("ann"), f64::NAN, 9, None);
    let endless = clicks(unit("ann"), f64::INFINITY, 9, None);
    let outcomes = report(
        &registry,
        &[
            clicks(of_request("r-1"), 1.0, 9, None),
            // The clock of whoever reports may be late: the answer was after the exposure.
            clicks(of_request("r-1"), 2.0, 1, None),
            clicks(unit("ann"), 4.0, 5, None),
            clicks(unit("ann"), 100.0, 4, None),
            clicks(unit("eve"), 100.0, 9, None),
            clicks(of_request("r-9"), 100.0, 9, None),
            clicks(of_request("r-2"), 100.0, 9, None),
            clicks(of_request("r-3"), 100.0, 9, None),
            elsewhere,
            not_a_number,
            endless,
            clicks(unit("bob"), -0.5, 9, None),
        ],
    )
    .await;
    assert_eq!(
        outcomes,
        [
            counted(&id),
            counted(&id),
            counted(&id),
            FeedbackOutcome::BeforeExposure,
            FeedbackOutcome::UnknownUnit,
            FeedbackOutcome::UnknownRequest,
            FeedbackOutcome::UnknownUnit,
            FeedbackOutcome::UnknownRequest,
            FeedbackOutcome::UnknownUnit,
            FeedbackOutcome::NotFinite,
            FeedbackOutcome::NotFinite,
            counted(&id),
        ]
    );
    let sums: Vec<_> = clicks_of(&registry, &id).await.iter().map(|u| (u.count, u.sum)).collect();
    assert_eq!(sums, [(3, 7.0), (1, -0.5)]);
    assert_eq!((snapshot(&registry).await, events(&registry).await), before);
}

pub async fn feedback_is_taken_once(registry: Shared) {
    let id = running(&registry).await.id;
    expose(&registry, &[exposure(&id, "ann", "blue", 0), exposure(&id, "bob", "red", 0)]).await;
    let first = clicks(unit("ann"), 1.0, 1, Some("k-1"));
    let later = NewFeedback { at: NOON + 2, ..first.clone() };
    let (more, other) =
        (clicks(unit("ann"), 2.0, 1, Some("k-1")), clicks(unit("bob"), 1.0, 1, Some("k-1")));
    let batch = [first.clone(), later.clone(), more, other];
    let outcomes = report(&registry, &batch).await;
    let (repeated, reused) = (FeedbackOutcome::Repeated, FeedbackOutcome::KeyReused);
    assert_eq!(outcomes, [counted(&id), repeated.clone(), reused.clone(), reused.clone()]);
    assert_eq!(report(&registry, &batch).await[..2], [repeated.clone(), repeated]);
    // Without a key each one counts.
    let plain = clicks(unit("ann"), 1.0, 1, None);
    report(&registry, &[plain.clone(), plain]).await;
    let sums: Vec<_> = clicks_of(&registry, &id).await.iter().map(|u| (u.count, u.sum)).collect();
    assert_eq!(sums, [(3, 3.0), (0, 0.0)]);
}

pub async fn late_feedback_counts_for_the_experiment_of_then(registry: Shared) {
    let old = running(&registry).await.id;
    expose(&registry, &[exposure(&old, "ann", "blue", 10)]).await;
    stop(&registry, &old).await;
    assert_eq!(report(&registry, &[clicks(unit("ann"), 1.0, 20, None)]).await, [counted(&old)]);
    let new = running(&registry).await.id;
    expose(&registry, &[exposure(&new, "ann", "red", 100)]).await;
    let outcomes = report(
        &registry,
        &[
            clicks(unit("ann"), 1.0, 99, None),
            clicks(unit("ann"), 1.0, 100, None),
            clicks(unit("ann"), 1.0, 9, None),
        ],
    )
    .await;
    assert_eq!(outcomes, [counted(&old), counted(&new), FeedbackOutcome::BeforeExposure]);
}

pub async fn units_can_be_paged(registry: Shared) {
    let id = running(&registry).await.id;
    let batch: Vec<_> =
        ["d", "b", "a", "e", "c"].iter().map(|unit| exposure(&id, unit, "blue", 0)).collect();
    expose(&registry, &batch).await;
    let page = async |after: Option<&str>, limit| {
        let query = UnitQuery {
            experiment: id.clone(),
            metric: "clicks".to_owned(),
            within: None,
            after: after.map(str::to_owned),
            limit,
        };
        let units = registry.units(&query).await.expect("units");
        units.into_iter().map(|sum| sum.unit).collect::<String>()
    };
    assert_eq!(page(None, 2).await, "ab");
    assert_eq!(page(Some("b"), 2).await, "cd");
    assert_eq!(page(Some("d"), u32::MAX).await, "e");
    assert_eq!(page(Some("e"), 2).await, "");
    assert_eq!(page(None, 0).await, "");
    let nowhere = UnitQuery {
        experiment: "ex-none".to_owned(),
        metric: String::new(),
        within: None,
        after: None,
        limit: 1,
    };
    not_found(registry.units(&nowhere).await);
}

pub async fn units_count_within_a_time(registry: Shared) {
    let id = running(&registry).await.id;
    expose(&registry, &[exposure(&id, "ann", "blue", 10)]).await;
    let seen = NewFeedback { metric: "views".to_owned(), ..clicks(unit("ann"), 8.0, 11, None) };
    let batch = [
        clicks(unit("ann"), 1.0, 10, None),
        clicks(unit("ann"), 2.0, 15, None),
        clicks(unit("ann"), 4.0, 16, None),
        seen,
    ];
    report(&registry, &batch).await;
    for (metric, within, wanted) in [
        ("clicks", None, (3, 7.0)),
        ("clicks", Some(5), (2, 3.0)),
        ("clicks", Some(0), (1, 1.0)),
        ("views", None, (1, 8.0)),
        ("sales", None, (0, 0.0)),
    ] {
        let query = UnitQuery {
            experiment: id.clone(),
            metric: metric.to_owned(),
            within,
            after: None,
            limit: 9,
        };
        let units = registry.units(&query).await.expect("units");
        assert_eq!((units[0].count, units[0].sum), wanted, "{metric} {within:?}");
    }
}

pub async fn requests_are_forgotten_by_age(registry: Shared) {
    let id = running(&registry).await.id;
    expose(&registry, &[exposure(&id, "ann", "blue", 0)]).await;
    let requests = [request(&id, "r-1", "ann", 1), request(&id, "r-2", "ann", 2)];
    registry.record_requests(&requests).await.expect("recorded requests");
    assert_eq!(registry.forget_requests(NOON + 1).await.expect("none"), 0);
    assert_eq!(registry.forget_requests(NOON + 2).await.expect("one"), 1);
    let batch = [clicks(of_request("r-1"), 1.0, 5, None), clicks(of_request("r-2"), 1.0, 5, None)];
    let outcomes = report(&registry, &batch).await;
    assert_eq!(outcomes, [FeedbackOutcome::UnknownRequest, counted(&id)]);
}
