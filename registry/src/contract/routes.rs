//! Routes: set, promoted, rolled back.

use super::fixture::*;
use crate::{IfRollout, RouteCause, RouteChange};

pub async fn only_ready_versions_take_traffic(registry: Shared) {
    ready_versions(&registry, 1).await;
    push(&registry, "b").await;
    assert!(illegal(promote(&registry, 2).await).contains("check has not ended"));
    end_check(&registry, v(2), false).await;
    let sentence = illegal(route(&registry, &[(1, 9_500), (2, 500)]).await);
    assert!(sentence.contains("golden case 2 differs"), "{sentence}");
    let model = route(&registry, &[(1, 10_000), (2, 0)]).await.expect("a route");
    assert_eq!(split(&model), "1=100%");
}

pub async fn weights_must_make_a_split(registry: Shared) {
    ready_versions(&registry, 2).await;
    assert!(illegal(route(&registry, &[]).await).contains("sum to 0%"));
    assert!(illegal(route(&registry, &[(1, 9_000), (2, 500)]).await).contains("95%"));
    promote(&registry, 1).await.expect("a promotion");
    assert!(illegal(route(&registry, &[(1, 10_000), (2, 1)]).await).contains("100.01%"));
    for cause in [RouteCause::RollBack, RouteCause::Initial, RouteCause::Other] {
        let change = RouteChange { cause, ..RouteChange::promote(v(2)) };
        illegal(registry.set_route(fraud(), change, IfRollout::Refuse, None, ada(), NOON).await);
    }
    assert_eq!(split(&read(&registry).await), "1=100%");
}

pub async fn the_same_route_again_changes_nothing(registry: Shared) {
    ready_versions(&registry, 2).await;
    let first = route(&registry, &[(1, 9_500), (2, 500)]).await.expect("a route");
    let before = (snapshot(&registry).await, events(&registry).await);
    let again = route(&registry, &[(1, 9_500), (2, 500)]).await.expect("the same route");
    assert_eq!(again, first);
    assert_eq!((snapshot(&registry).await, events(&registry).await), before);
}

pub async fn a_promotion_can_be_rolled_back(registry: Shared) {
    ready_versions(&registry, 2).await;
    let first = promote(&registry, 1).await.expect("a promotion");
    let route = first.route.as_ref().expect("a route");
    assert_eq!((route.sequence, route.cause, route.previous), (1, RouteCause::Promote, None));
    assert_eq!((route.set_at, route.set_by.as_str()), (NOON, "key:wbk_ada"));
    assert_eq!(first.previous_route, None);

    let second = promote(&registry, 2).await.expect("a promotion");
    assert_eq!(second.route.as_ref().and_then(|r| r.previous), Some(1));
    assert_eq!(second.previous_route, first.route);
    assert!(second.revision > first.revision);

    let back = roll_back(&registry).await.expect("a rollback");
    let route = back.route.as_ref().expect("a route");
    assert_eq!((route.sequence, route.cause, route.previous), (3, RouteCause::RollBack, None));
    assert_eq!((split(&back), &back.previous_route), ("1=100%".to_owned(), &None));
    assert_eq!(read(&registry).await, back);
}

pub async fn rolling_back_walks_back(registry: Shared) {
    ready_versions(&registry, 3).await;
    illegal(roll_back(&registry).await);
    promote(&registry, 1).await.expect("a promotion");
    route(&registry, &[(1, 9_500), (2, 500)]).await.expect("a route");
    route(&registry, &[(1, 5_000), (2, 5_000)]).await.expect("a route");
    promote(&registry, 3).await.expect("a promotion");
    for there in ["1=50% 2=50%", "1=95% 2=5%", "1=100%"] {
        let back = roll_back(&registry).await.expect("a rollback");
        assert_eq!(split(&back), there);
    }
    let before = (snapshot(&registry).await, events(&registry).await);
    assert!(illegal(roll_back(&registry).await).contains("no earlier route"));
    assert_eq!((snapshot(&registry).await, events(&registry).await), before);
}

pub async fn rolling_back_after_a_set_after_a_rollback(registry: Shared) {
    ready_versions(&registry, 4).await;
    for number in [1, 2, 3] {
        promote(&registry, number).await.expect("a promotion");
    }
    assert_eq!(split(&roll_back(&registry).await.expect("a rollback")), "2=100%");
    promote(&registry, 4).await.expect("a promotion");
    // Back to what was in force before 4, and on from there: 3 was undone and stays undone.
    assert_eq!(split(&roll_back(&registry).await.expect("a rollback")), "2=100%");
    assert_eq!(split(&roll_back(&registry).await.expect("a rollback")), "1=100%");
    illegal(roll_back(&registry).await);
}

pub async fn rolling_back_restores_the_very_segments(registry: Shared) {
    ready_versions(&registry, 3).await;
    promote(&registry, 1).await.expect("a promotion");
    route(&registry, &[(1, 9_000), (2, 1_000)]).await.expect("a route");
    // Segments like these come from history alone: the weights would give others.
    let odd = route(&registry, &[(1, 8_500), (2, 500), (3, 1_000)]).await.expect("a route");
    let segments = |model: &crate::Model| model.route.as_ref().map(|r| r.split.segments().to_vec());
    promote(&registry, 1).await.expect("a promotion");
    let back = roll_back(&registry).await.expect("a rollback");
    assert_eq!(segments(&back), segments(&odd));
    let fresh = weighbridge_config::Split::new(&weights(&[(1, 8_500), (2, 500), (3, 1_000)]));
    assert_ne!(segments(&back), Some(fresh.expect("a split").segments().to_vec()));
}

pub async fn rolling_back_needs_the_versions_of_then(registry: Shared) {
    ready_versions(&registry, 2).await;
    let (ada, fraud) = (ada(), fraud());
    promote(&registry, 1).await.expect("a promotion");
    promote(&registry, 2).await.expect("a promotion");
    let archived = registry.archive(fraud, v(1), None, ada, NOON).await;
    archived.expect("an archived version");
    let sentence = illegal(roll_back(&registry).await);
    assert!(sentence.contains("version 1 of fraud") && sentence.contains("archived"), "{sentence}");
    let deleted = registry.delete_version(fraud, v(1), None, ada, NOON).await;
    deleted.expect("a deleted version");
    let sentence = illegal(roll_back(&registry).await);
    assert!(sentence.contains("version 1 has been deleted"), "{sentence}");
    assert_eq!(split(&read(&registry).await), "2=100%");
}

pub async fn the_initial_route_is_set_once(registry: Shared) {
    push(&registry, "files 1").await;
    let (ada, fraud) = (ada(), fraud());
    illegal(registry.set_initial_route(fraud, v(1), ada, NOON).await);
    end_check(&registry, v(1), true).await;
    assert_eq!(ready(&registry, "files 2").await, v(2));
    let first = registry.set_initial_route(fraud, v(1), ada, NOON).await.expect("a route");
    let cause = first.route.as_ref().map(|route| route.cause);
    assert_eq!((split(&first), cause), ("1=100%".to_owned(), Some(RouteCause::Initial)));
    for number in [1, 2, 9] {
        let again = registry.set_initial_route(fraud, v(number), ada, NOON).await;
        assert_eq!(again.expect("the same route"), first);
    }
    promote(&registry, 2).await.expect("a promotion");
    assert_eq!(split(&roll_back(&registry).await.expect("a rollback")), "1=100%");
}

pub async fn the_history_is_newest_first(registry: Shared) {
    ready_versions(&registry, 2).await;
    let fraud = fraud();
    assert!(registry.route_history(fraud, 9).await.expect("routes").is_empty());
    for number in [1, 2, 1] {
        promote(&registry, number).await.expect("a promotion");
    }
    let sequences = async |limit| {
        let routes = registry.route_history(fraud, limit).await.expect("routes");
        routes.iter().map(|r| r.sequence).collect::<Vec<_>>()
    };
    assert_eq!(sequences(9).await, [3, 2, 1]);
    assert_eq!(sequences(2).await, [3, 2]);
    assert!(sequences(0).await.is_empty());
}
