//! Versions: pushed, checked, archived, deleted.

use serde_json::json;

use super::fixture::*;
use crate::{CheckOutcome, NewVersion, VersionInfo, VersionState};

fn wanting(number: u32, content: &str) -> NewVersion {
    NewVersion { version: Some(v(number)), ..new_version(content) }
}

pub async fn the_same_files_are_the_same_version(registry: Shared) {
    let first = push(&registry, "a").await;
    assert!(first.is_new && first.needs_check);
    assert_eq!(first.record.state, VersionState::Checking);
    assert_eq!(first.record.digest, files("a").digest());
    let while_checked = push(&registry, "a").await;
    assert!(!while_checked.is_new && while_checked.needs_check);
    end_check(&registry, v(1), true).await;

    let before = snapshot(&registry).await;
    let again = push(&registry, "a").await;
    assert!(!again.is_new && !again.needs_check);
    assert_eq!(again.record.version, v(1));
    assert_eq!(snapshot(&registry).await, before);

    // The same files in another model are another version.
    let elsewhere = NewVersion { model: named("churn"), ..new_version("a") };
    let elsewhere = registry.register_version(elsewhere, ada(), NOON).await;
    assert!(elsewhere.expect("a push").is_new);
}

pub async fn numbers_are_never_used_twice(registry: Shared) {
    ready_versions(&registry, 3).await;
    let (ada, fraud) = (ada(), fraud());
    for number in [3, 1] {
        let deleted = registry.delete_version(fraud, v(number), None, ada, NOON);
        deleted.await.expect("a deleted version");
    }
    // Its files are free again, its number is not.
    assert_eq!(push(&registry, "files 3").await.record.version, v(4));
    let sentence = illegal(registry.register_version(wanting(1, "b"), ada, NOON).await);
    assert!(sentence.contains("was deleted"), "{sentence}");
    let live: Vec<_> = read(&registry).await.versions.iter().map(|r| r.version).collect();
    assert_eq!(live, [v(2), v(4)]);
}

pub async fn wanted_numbers_must_be_free(registry: Shared) {
    let ada = ada();
    let wanted = registry.register_version(wanting(7, "a"), ada, NOON).await;
    assert_eq!(wanted.expect("a push").record.version, v(7));
    let below = registry.register_version(wanting(3, "b"), ada, NOON).await;
    assert_eq!(below.expect("a push").record.version, v(3));
    assert_eq!(push(&registry, "c").await.record.version, v(8));

    let same = registry.register_version(wanting(7, "a"), ada, NOON).await;
    assert!(!same.expect("the same push").is_new);
    let before = snapshot(&registry).await;
    let taken = illegal(registry.register_version(wanting(7, "d"), ada, NOON).await);
    assert!(taken.contains(&files("a").digest().short()), "{taken}");
    let other = illegal(registry.register_version(wanting(9, "a"), ada, NOON).await);
    assert!(other.contains("version 7 already"), "{other}");
    assert_eq!(snapshot(&registry).await, before);

    let highest = registry.register_version(wanting(i32::MAX as u32, "e"), ada, NOON).await;
    assert!(highest.expect("a push").is_new);
    illegal(registry.register_version(new_version("f"), ada, NOON).await);
}

pub async fn checks_end_once(registry: Shared) {
    push(&registry, "a").await;
    let (ada, fraud) = (ada(), fraud());
    let report = json!({ "golden": { "passed": 12 } });
    let good = || CheckOutcome::Ready { report: report.clone() };
    let later = NOON + 5;
    let ended = registry.finish_check(fraud, v(1), good(), ada, later).await;
    let record = ended.expect("a checked version");
    assert_eq!((&record.state, record.checked_at), (&VersionState::Ready, Some(later)));
    assert_eq!(record.report, Some(report.clone()));
    assert_eq!(read(&registry).await.versions, [record]);

    let again = registry.finish_check(fraud, v(1), good(), ada, later).await;
    assert!(illegal(again).contains("ready already"));
    not_found(registry.finish_check(fraud, v(2), good(), ada, later).await);
}

pub async fn rejected_files_can_be_pushed_again(registry: Shared) {
    push(&registry, "a").await;
    end_check(&registry, v(1), false).await;
    let rejected = read(&registry).await.versions.remove(0);
    assert_eq!(rejected.state.reason(), Some("golden case 2 differs"));

    let info = VersionInfo { description: Some("second try".to_owned()), ..VersionInfo::default() };
    let second = NewVersion { info: info.clone(), ..new_version("a") };
    let second = registry.register_version(second, ada(), NOON).await.expect("a push");
    assert!(!second.is_new && second.needs_check);
    assert_eq!(second.record.state, VersionState::Checking);
    assert_eq!((second.record.version, &second.record.info), (v(1), &info));
    assert_eq!((second.record.report.as_ref(), second.record.checked_at), (None, None));
    assert_eq!(read(&registry).await.versions, [second.record]);
    end_check(&registry, v(1), true).await;
    assert_eq!(read(&registry).await.versions[0].state, VersionState::Ready);
}

pub async fn archived_files_can_be_pushed_again(registry: Shared) {
    ready_versions(&registry, 1).await;
    let (ada, fraud) = (ada(), fraud());
    let archived = registry.archive(fraud, v(1), None, ada, NOON).await;
    assert_eq!(archived.expect("an archived version").state, VersionState::Archived);
    let before = snapshot(&registry).await;
    let twice = registry.archive(fraud, v(1), None, ada, NOON).await;
    assert_eq!(twice.expect("the same version").state, VersionState::Archived);
    assert_eq!(snapshot(&registry).await, before);
    assert!(illegal(promote(&registry, 1).await).contains("archived"));

    let again = push(&registry, "files 1").await;
    assert!(!again.is_new && again.needs_check);
    let unchecked = registry.archive(fraud, v(1), None, ada, NOON).await;
    assert!(illegal(unchecked).contains("check has not ended"));
    end_check(&registry, v(1), true).await;
    promote(&registry, 1).await.expect("a promotion");
}

pub async fn used_versions_stay(registry: Shared) {
    ready_versions(&registry, 3).await;
    let (ada, fraud) = (ada(), fraud());
    route(&registry, &[(1, 9_975), (2, 25)]).await.expect("a route");
    let aliased = registry.set_alias(fraud, champion(), v(3), None, ada, NOON);
    aliased.await.expect("an alias");
    let before = snapshot(&registry).await;
    for (number, use_made) in [(1, "99.75%"), (2, "0.25%"), (3, "champion")] {
        let archived = registry.archive(fraud, v(number), None, ada, NOON).await;
        assert!(illegal(archived).contains(use_made), "{number}");
        let deleted = registry.delete_version(fraud, v(number), None, ada, NOON).await;
        assert!(illegal(deleted).contains(use_made), "{number}");
    }
    assert_eq!(snapshot(&registry).await, before);

    promote(&registry, 2).await.expect("a promotion");
    let freed = registry.archive(fraud, v(1), None, ada, NOON).await;
    freed.expect("an archived version");
    illegal(registry.archive(fraud, v(2), None, ada, NOON).await);
}

pub async fn deleting_twice_is_not_found(registry: Shared) {
    ready_versions(&registry, 2).await;
    let (ada, fraud) = (ada(), fraud());
    let deleted = registry.delete_version(fraud, v(1), None, ada, NOON).await;
    deleted.expect("a deleted version");
    let before = snapshot(&registry).await;
    let twice = registry.delete_version(fraud, v(1), None, ada, NOON).await;
    assert!(not_found(twice).contains("version 1 of fraud"));
    not_found(registry.archive(fraud, v(1), None, ada, NOON).await);
    not_found(promote(&registry, 1).await);
    assert_eq!(snapshot(&registry).await, before);
}
