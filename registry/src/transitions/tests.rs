use super::*;
use crate::contract::fixture::{champion, files, fraud, new_version, v, weights};
use crate::model::Millis;
use crate::route::Route;
use crate::version::VersionInfo;

fn rejected() -> VersionState {
    VersionState::Rejected { reason: "slow".to_owned() }
}

fn record(number: u32, state: VersionState) -> VersionRecord {
    let manifest = files(&format!("files {number}"));
    VersionRecord {
        model: fraud().clone(),
        version: v(number),
        digest: manifest.digest(),
        manifest,
        state,
        report: None,
        info: VersionInfo::default(),
        created_at: 0,
        created_by: "system".to_owned(),
        checked_at: None,
    }
}

/// A model with one version of each state: 1 ready, 2 checking, 3 rejected, 4 archived, and
/// 5 ready as well.
pub(super) fn model() -> Model {
    let states = [
        VersionState::Ready,
        VersionState::Checking,
        rejected(),
        VersionState::Archived,
        VersionState::Ready,
    ];
    Model {
        name: fraud().clone(),
        revision: 7,
        settings: Default::default(),
        route: None,
        previous_route: None,
        aliases: BTreeMap::new(),
        versions: (1..).zip(states).map(|(n, state)| record(n, state)).collect(),
        created_at: 0,
        rollout: None,
        experiment: None,
    }
}

pub(super) fn route(sequence: u64, version: u32, previous: Option<u64>) -> Route {
    const LONG_AGO: Millis = 1;
    Route {
        sequence,
        split: Split::all_to(v(version)),
        cause: RouteCause::Set,
        set_at: LONG_AGO,
        set_by: "system".to_owned(),
        previous,
    }
}

pub(super) fn sentence<T: std::fmt::Debug>(answer: Result<T>) -> Option<String> {
    match answer {
        Ok(_) => None,
        Err(Error::Illegal(sentence)) => Some(sentence),
        Err(other) => panic!("{other:?}"),
    }
}

/// Every state against every verb; an empty word stands for a move that is allowed.
#[test]
fn each_state_allows_and_refuses_what_it_should() {
    let model = model();
    let good = CheckOutcome::Ready { report: Default::default() };
    let bad = CheckOutcome::Rejected { reason: "slow".to_owned(), report: None };
    // version, end of check, route, alias, archive, delete
    let table = [
        (1, "ready already", "", "", "", ""),
        (2, "", "has not ended", "has not ended", "has not ended", ""),
        (3, "rejected already", "slow", "slow", "", ""),
        (4, "archived already", "archived", "archived", "", ""),
    ];
    for (number, check, routed, aliased, archived, deleted) in table {
        let version = v(number);
        let record = model.version(version).expect("a version");
        let change = RouteChange::promote(version);
        let answers = [
            (check, sentence(finish_check(record, &good))),
            (check, sentence(finish_check(record, &bad))),
            (routed, sentence(set_route(&model, &change))),
            (routed, sentence(initial_route(&model, version))),
            (aliased, sentence(set_alias(&model, champion(), version))),
            (archived, sentence(archive(&model, version))),
            (deleted, sentence(delete_version(&model, version))),
        ];
        for (place, (wanted, answer)) in answers.into_iter().enumerate() {
            assert_eq!(wanted.is_empty(), answer.is_none(), "{number} {place}: {answer:?}");
            let answer = answer.unwrap_or_default();
            assert!(answer.contains(wanted), "{number} {place}: {answer}");
        }
    }
    assert_eq!(archive(&model, v(4)).ok(), Some(false));
    let checking = &model.versions[1];
    assert_eq!(finish_check(checking, &good).ok(), Some(VersionState::Ready));
    assert_eq!(finish_check(checking, &bad).ok(), Some(rejected()));
}

#[test]
fn pushes_come_to_the_version_with_the_same_files() {
    let live = model().versions;
    // Version 9 was deleted.
    let used: BTreeSet<_> = [1, 2, 3, 4, 5, 9].map(v).into();
    let push = |content: &str, wanted: Option<u32>| {
        let mut new = new_version(content);
        new.version = wanted.map(v);
        register(&new, &live, &used)
    };
    for (content, wanted, answer) in [
        ("files 1", None, Registration::Existing(&live[0])),
        ("files 2", None, Registration::Existing(&live[1])),
        ("files 3", Some(3), Registration::Revived(&live[2])),
        ("files 4", None, Registration::Revived(&live[3])),
        ("files 9", None, Registration::New(v(10))),
        ("new", None, Registration::New(v(10))),
        ("new", Some(7), Registration::New(v(7))),
    ] {
        assert_eq!(push(content, wanted).ok(), Some(answer), "{content} {wanted:?}");
    }
    for (content, wanted, why) in [
        ("files 1", 2, "version 1 already"),
        ("new", 1, "has other files"),
        ("files 9", 9, "was deleted"),
    ] {
        let answer = sentence(push(content, Some(wanted))).unwrap_or_default();
        assert!(answer.contains(why), "{answer}");
    }
    let first = register(&new_version("new"), &[], &BTreeSet::new());
    assert_eq!(first.ok(), Some(Registration::New(v(1))));
}

#[test]
fn a_route_remembers_where_it_came_from() {
    let mut model = model();
    let first = set_route(&model, &RouteChange::promote(v(1))).expect("a route");
    assert_eq!(first.expect("a new route").previous, None);
    model.route = Some(route(4, 1, Some(2)));
    assert_eq!(set_route(&model, &RouteChange::promote(v(1))).ok(), Some(None));
    let split = RouteChange::set(weights(&[(1, 9_500), (5, 500), (2, 0)]));
    let next = set_route(&model, &split).expect("a route").expect("a new route");
    assert_eq!((next.previous, next.cause), (Some(4), RouteCause::Set));
    assert_eq!(next.split.segments()[0].version, v(5));
}

#[test]
fn a_rollback_goes_on_from_where_the_restored_route_came_from() {
    let mut model = model();
    model.route = Some(route(4, 5, Some(2)));
    assert!(sentence(roll_back(&model)).is_some_and(|s| s.contains("no earlier route")));
    model.previous_route = Some(route(2, 1, Some(1)));
    let next = roll_back(&model).expect("a route");
    assert_eq!(next.previous, Some(1));
    assert_eq!((next.split, next.cause), (Split::all_to(v(1)), RouteCause::RollBack));
    for (gone, why) in [(2, "has not ended"), (3, "slow"), (4, "archived"), (8, "deleted")] {
        model.previous_route = Some(route(2, gone, Some(1)));
        let answer = sentence(roll_back(&model)).unwrap_or_default();
        assert!(answer.contains(why) && answer.contains("fraud"), "{answer}");
    }
}

#[test]
fn versions_in_use_stay_and_the_sentence_names_the_use() {
    let mut model = model();
    model.route = Some(route(1, 1, None));
    model.aliases.insert(champion().clone(), v(5));
    for (number, why) in [(1, "takes 100%"), (5, "alias champion")] {
        let answers = [
            sentence(archive(&model, v(number)).map(drop)),
            sentence(delete_version(&model, v(number))),
        ];
        for answer in answers {
            let answer = answer.unwrap_or_default();
            assert!(answer.contains(why), "{answer}");
        }
    }
    assert!(sentence(delete_model(&model, IfRouted::Refuse)).is_some());
    assert!(delete_model(&model, IfRouted::Delete).is_ok());
}

#[test]
fn a_stale_revision_is_a_conflict() {
    let model = model();
    assert!(require_revision(&model, None).is_ok());
    assert!(require_revision(&model, Some(7)).is_ok());
    for stale in [6, 8] {
        let answer = require_revision(&model, Some(stale));
        assert!(
            matches!(answer, Err(Error::Conflict { expected, found: 7, .. }) if expected == stale)
        );
    }
}
