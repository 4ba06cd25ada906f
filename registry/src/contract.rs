//! The cases that every backend of [`Registry`](crate::Registry) has to pass.
//!
//! A backend runs all of them with one line, [`registry_contract!`](crate::registry_contract),
//! naming an async function that makes an empty registry and whatever must live as long as it
//! (a temporary folder, or nothing).

pub mod aliases;
pub mod chain;
pub mod concurrency;
pub mod experiments;
pub mod feedback;
pub mod fixture;
pub mod histories;
pub mod keys;
pub mod models;
pub mod operations;
pub mod rollout_histories;
pub mod rollouts;
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
            rollouts: a_rollout_goes_step_by_step_to_all_traffic,
                a_shadow_phase_leaves_the_route_alone, consecutive_rollouts_never_leak_a_route,
                a_rollback_takes_all_traffic_from_the_canary, impossible_starts_change_nothing,
                later_attempts_say_why, moves_that_are_made_already_change_nothing,
                a_move_based_on_an_older_revision_is_a_conflict, approvals_let_one_weight_pass,
                a_route_is_set_only_by_ending_the_rollout, versions_of_an_active_rollout_stay,
                a_deleted_model_ends_its_rollout, evidence_belongs_to_a_revision,
                frozen_rollouts_only_go_back, each_move_leaves_one_event;
            experiments: an_experiment_runs_until_it_is_stopped,
                rollouts_and_experiments_keep_apart, impossible_experiments_change_nothing,
                shares_come_with_an_epoch, versions_of_an_experiment_stay,
                a_deleted_model_stops_its_experiment;
            feedback: the_first_exposure_stays, batches_are_bounded_and_checked,
                feedback_finds_its_unit, feedback_is_taken_once,
                late_feedback_counts_for_the_experiment_of_then, units_can_be_paged,
                units_count_within_a_time, requests_are_forgotten_by_age;
            chain: each_event_has_its_link, the_chain_of_no_events_is_whole;
            aliases: aliases_are_set_moved_and_removed, aliases_need_a_ready_version;
            keys: keys_are_created_used_and_revoked, prefixes_are_never_used_twice,
                keys_have_scopes_and_a_tenant, the_use_of_quotas_adds_up;
            operations: operations_are_written_over, old_operations_are_dropped;
            concurrency: of_many_writers_one_wins, writers_without_expectation_all_win,
                snapshots_are_consistent_while_someone_writes,
                of_two_moves_one_wins, of_many_starts_one_wins,
                evidence_never_follows_a_move;
        }
        #[test]
        fn random_histories_keep_the_invariants() {
            $crate::contract::histories::random_histories_keep_the_invariants($make);
        }
        #[test]
        fn random_rollouts_keep_the_invariants() {
            $crate::contract::rollout_histories::random_rollouts_keep_the_invariants($make);
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
