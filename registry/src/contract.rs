//! The cases that every backend of [`Registry`](crate::Registry) has to pass.
//!
//! A backend runs all of them with one line, [`registry_contract!`](crate::registry_contract),
//! naming an async function that makes an empty registry and whatever must live as long as it
//! (a temporary folder, or nothing).

pub mod aliases;
pub mod concurrency;
pub mod fixture;
pub mod histories;
pub mod keys;
pub mod models;
pub mod operations;
pub mod routes;
pub mod versions;

/// Runs every case as a test of its own: `registry_contract!(make)`, where `make` is an
/// `async fn() -> (Arc<dyn Registry>, Guard)`.
#[macro_export]
macro_rules! registry_contract {
    ($make:path) => {
        $crate::registry_contract! { @cases $make;
            models: missing_things_are_not_found, settings_are_a_compare_and_swap,
                a_lost_compare_and_swap_changes_nothing, events_can_be_paged,
                each_action_leaves_its_event, a_deleted_model_comes_back_as_a_new_one,
                a_model_with_traffic_is_deleted_only_when_that_is_meant;
            versions: the_same_files_are_the_same_version, numbers_are_never_used_twice,
                wanted_numbers_must_be_free, checks_end_once, rejected_files_can_be_pushed_again,
                archived_files_can_be_pushed_again, used_versions_stay,
                deleting_twice_is_not_found;
            routes: only_ready_versions_take_traffic, weights_must_make_a_split,
                the_same_route_again_changes_nothing, a_promotion_can_be_rolled_back,
                rolling_back_walks_back, rolling_back_after_a_set_after_a_rollback,
                rolling_back_restores_the_very_segments,
                rolling_back_needs_the_versions_of_then,
                the_initial_route_is_set_once, the_history_is_newest_first;
            aliases: aliases_are_set_moved_and_removed, aliases_need_a_ready_version;
            keys: keys_are_created_used_and_revoked, prefixes_are_never_used_twice;
            operations: operations_are_written_over, old_operations_are_dropped;
            concurrency: of_many_writers_one_wins, writers_without_expectation_all_win,
                snapshots_are_consistent_while_someone_writes;
        }
        #[test]
        fn random_histories_keep_the_invariants() {
            $crate::contract::histories::random_histories_keep_the_invariants($make);
        }
    };
    (@cases $make:path; $($noun:ident: $($case:ident),+;)+) => {$(
        mod $noun {
            use super::*;
            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $case() {
                    let (registry, _guard) = $make().await;
                    $crate::contract::$noun::$case(registry).await;
                }
            )+
        }
    )+};
}
