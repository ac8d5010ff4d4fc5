//! What every store must do, as tests: one list of cases, run against each store of this project and of others. It must
//! not know any store, only the seam.
//!
//! The author of a store implements [`Harness`] and writes one line, [`store_conformance!`](crate::store_conformance).
//! A case that is added here is run against every store from then on.

pub mod append;
pub mod attributes;
pub mod balance;
pub mod chains;
pub mod content;
mod executor;
mod fixture;
pub mod fleets;
pub mod handover;
mod harness;
pub mod inbox;
pub mod lease;
pub mod query;
pub mod recover;
pub mod replies;
pub mod sent;
pub mod submit;
pub mod suspect;
pub mod tasks;
pub mod withdrawal;
mod writer;

pub use self::fixture::Fixture;
pub use self::harness::{ClientTransaction, Harness};
use std::future::Future;

/// Runs one case to its end, on a runtime of its own.
pub fn run<H: Harness + 'static>(harness: impl Future<Output = H>, case: impl AsyncFnOnce(&Fixture)) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let case = async { case(&Fixture::new(harness.await).await).await };
    runtime.expect("a runtime is built").block_on(case);
}

/// Expands to one test per case, in one module per group. The expression makes a
/// [`Harness`](crate::conformance::Harness), once for each test. It may `.await`, and use names in scope where the
/// macro is called.
///
/// ```
/// use std::sync::Arc;
/// use std::time::Duration;
/// use pgworkflows::store::Store;
/// use pgworkflows_memory::{ManualClock, MemoryStore};
/// use pgworkflows_testkit::conformance::Harness;
///
/// #[derive(Debug, Default)]
/// struct MyHarness {
///     clock: Arc<ManualClock>,
/// }
///
/// #[async_trait::async_trait]
/// impl Harness for MyHarness {
///     async fn connect(&self) -> Arc<dyn Store> {
///         Arc::new(MemoryStore::with_clock(self.clock.clone()))
///     }
///
///     async fn let_lease_expire(&self) {
///         self.clock.advance(self.lease_ttl() + Duration::from_secs(1));
///     }
/// }
///
/// pgworkflows_testkit::store_conformance!(MyHarness::default());
/// # fn main() {}
/// ```
#[macro_export]
macro_rules! store_conformance {
    ($harness:expr) => {
        $crate::store_conformance! { @cases $harness;
            append:
                appended_frames_are_the_history,
                body_of_a_frame_is_kept_byte_for_byte,
                frames_of_many_runs_may_interleave_and_positions_are_counted_per_shard,
                append_opens_a_run_whose_start_was_also_submitted,
                late_start_of_a_run_that_is_over_leaves_nothing,
                repeated_append_is_applied_once_whatever_session_sends_it,
                repeated_append_that_consumed_a_message_is_accepted,
                another_batch_with_the_same_number_is_fenced,
                append_number_out_of_turn_is_fenced,
                append_number_may_be_used_again_after_a_conflict,
                append_for_a_foreign_or_a_free_shard_is_fenced,
                append_with_one_foreign_shard_writes_nothing,
                consuming_a_message_of_a_foreign_shard_is_fenced,
                append_under_an_unknown_lease_is_fenced,
                append_is_accepted_until_the_lease_is_taken_over,
                fenced_append_writes_nothing,
                repetition_of_an_applied_append_is_fenced_after_a_takeover,
                append_of_nothing_takes_its_number,
            ;
            content:
                frame_takes_as_many_numbers_as_it_has_events,
                frame_takes_as_many_positions_as_it_has_events,
                frame_without_events_is_a_conflict,
                append_to_an_unknown_run_is_a_conflict,
                append_to_a_run_that_is_over_is_a_conflict,
                run_is_opened_once,
                run_may_begin_and_end_within_one_append_submitted_or_not,
                row_is_that_of_the_last_append,
                taking_a_missing_message_is_a_conflict,
                message_with_the_number_of_another_is_not_consumed,
                consuming_a_message_twice_is_a_conflict,
                conflict_in_one_run_writes_nothing_of_the_others,
                message_that_arrived_too_late_is_undelivered,
            ;
            sent:
                sent_messages_are_read_in_the_order_of_sending,
                sent_start_opens_a_pending_run,
                run_that_a_sent_start_opened_takes_messages,
                sent_start_of_a_run_that_exists_changes_nothing,
                waiting_message_is_not_sent_again,
                repeated_append_sends_once,
                conflicting_append_sends_nothing,
                fenced_append_sends_nothing,
                other_messages_with_the_same_number_are_fenced,
                message_may_be_sent_to_any_shard,
                message_sent_to_a_run_that_is_over_can_be_undelivered,
                oldest_undelivered_messages_of_a_run_are_shown,
                sent_message_is_read_beyond_a_cursor,
                sent_message_can_be_consumed_by_the_run_that_sent_it,
                many_and_large_messages_are_sent_at_once,
                message_sent_to_a_key_goes_to_the_run_that_has_it_open_or_over,
                message_sent_to_a_key_that_no_run_has_goes_to_the_run_that_is_named,
                message_sent_to_a_key_or_run_of_an_open_transaction_waits_for_nobody,
                message_sent_to_a_run_that_does_not_exist_goes_to_the_other_run,
                other_receivers_with_the_same_number_are_fenced,
            ;
            inbox:
                messages_are_read_in_the_order_of_submission,
                reader_reads_a_message_once_and_a_new_reader_until_it_is_consumed,
                reader_sees_its_shards_only,
                page_holds_as_many_messages_as_asked_for,
                page_ends_before_the_message_that_exceeds_its_bytes,
                page_holds_one_message_however_large,
                late_commit_between_pages_of_bytes_is_read_in_order,
                page_after_the_last_full_page_says_that_there_is_no_more,
                page_can_be_read_again,
                repeated_message_waits_once,
                message_in_an_open_transaction_is_not_read,
                late_commit_with_an_early_number_is_not_skipped,
                two_signals_of_one_client_never_swap,
                two_signals_of_one_client_never_swap_across_pages,
                late_commits_are_read_in_the_order_of_numbers,
                rolled_back_message_is_never_read,
                open_transaction_delays_neither_appends_nor_submits,
                heartbeat_tells_of_mail_after_the_cursor,
                heartbeat_tells_nothing_of_the_mail_of_other_shards,
                reader_may_pass_over_starts,
                foreign_cursor_is_corrupt,
            ;
            submit:
                start_opens_a_pending_run,
                repeated_start_with_or_without_a_key_is_accepted_and_changes_nothing,
                repeated_start_of_a_logged_run_is_accepted_and_changes_nothing,
                repeated_start_of_a_run_that_is_over_is_accepted_and_changes_nothing,
                start_with_a_known_key_returns_the_run_and_is_refused_with_another_input,
                input_is_compared_only_where_both_sides_know_it,
                key_is_unique_per_workflow,
                key_outlives_its_run,
                two_starts_with_one_key_in_one_submit_are_one_run,
                message_for_an_unknown_run_or_one_that_is_over_is_refused,
                message_for_a_pending_run_or_one_that_began_without_a_submission_is_accepted,
                start_and_its_signal_may_be_submitted_together,
                refusal_of_one_message_does_not_affect_the_others,
                empty_submit_has_an_empty_answer,
                large_body_is_kept,
                start_in_a_rolled_back_transaction_never_existed,
                start_in_a_committed_transaction_exists,
                transaction_sees_the_runs_that_it_started,
                message_that_follows_a_start_goes_to_the_new_run_once,
                message_that_follows_a_start_goes_to_the_run_that_has_the_key,
                message_that_follows_a_refused_start_goes_to_nobody,
                message_that_follows_a_start_is_as_visible_as_the_start,
            ;
            lease:
                queue_keeps_its_first_number_of_shards,
                queues_share_no_shard,
                queue_without_shards_or_beyond_all_shards_is_refused,
                claim_from_an_unknown_queue_is_refused,
                claim_takes_the_free_shards_of_its_queue_ascending_from_position_one,
                claim_limit_includes_the_shards_owned_already,
                answer_to_a_claim_that_was_lost_is_given_again,
                claim_renews_the_lease_that_it_is_made_under,
                shards_have_one_owner_at_most,
                claim_of_nothing_is_an_answer,
                takeover_does_not_happen_before_the_ttl,
                takeover_happens_after_the_ttl_with_the_next_positions,
                takeover_fences_the_whole_lease_even_if_only_one_shard_is_taken,
                renewed_lease_is_kept,
                heartbeat_without_renewal_keeps_no_lease_and_a_fenced_lease_cannot_be_renewed,
                expired_lease_that_was_not_fenced_can_be_renewed,
                heartbeat_of_another_fences_expired_leases_with_shards_or_without,
                owner_that_a_heartbeat_fenced_died_once_and_is_named,
                fenced_lease_cannot_claim,
                lease_whose_last_append_is_lost_is_not_held,
                unknown_lease_is_not_held_and_cannot_claim,
                release_hands_over_at_once_with_the_next_positions,
                released_lease_is_fenced,
                release_of_a_lease_that_is_over_does_nothing,
                deaths_count_owners_that_ended_without_a_release,
                neither_a_release_nor_a_renewal_takes_a_death_away,
                owner_that_served_long_enough_pays_deaths_off,
                owner_that_lost_its_lease_pays_nothing_off,
                owner_learns_whose_lease_ran_out_before_its_own,
                new_lease_counts_its_appends_from_one,
                heartbeat_counts_claimable_shards,
                one_heartbeat_answers_for_each_lease_in_the_order_asked,
            ;
            balance:
                heartbeat_counts_the_live_leases_of_its_queue,
                lease_that_was_just_renewed_counts_although_it_had_expired,
                leases_above_the_mean_come_first_and_then_the_oldest,
                heartbeat_tells_when_the_next_lease_of_others_expires,
                new_lease_takes_no_more_than_the_mean,
            ;
            fleets:
                lease_shares_its_shards_with_newer_builds_and_those_that_know_more,
                outdated_lease_claims_nothing_until_the_better_one_is_over,
                answer_to_a_claim_names_the_shards_of_an_outdated_lease,
                shard_goes_to_a_lease_that_knows_what_it_needs,
                shard_that_a_live_lease_releases_goes_to_no_worse_build,
                need_that_no_live_lease_knows_keeps_no_shard_from_others,
                claim_tells_what_shards_need,
                need_without_an_open_run_is_forgotten_when_the_owner_does_not_know_it,
                need_of_a_foreign_shard_is_fenced,
                other_needs_with_the_same_number_are_fenced,
                queue_is_described_with_the_builds_of_its_leases,
                queues_are_listed_by_name_with_the_clock_and_none_is_created,
                queues_of_a_workflow_are_those_of_live_leases_or_that_of_the_last_one,
            ;
            handover:
                released_shard_is_free_at_once_and_continues_after_its_last_append,
                shard_is_released_although_nothing_is_written_to_it,
                former_owner_writes_nothing_more_to_a_released_shard_and_keeps_the_others,
                release_in_an_append_counts_no_death_and_names_nobody,
                repeated_append_does_not_release_a_shard_that_was_claimed_again,
                append_under_an_earlier_claim_of_a_shard_is_fenced,
                repeated_append_does_not_release_a_shard_of_another_owner,
                append_that_releases_a_foreign_or_a_free_shard_is_fenced_and_writes_nothing,
                release_at_another_position_is_a_conflict_and_releases_nothing,
                other_releases_with_the_same_number_are_fenced,
                release_of_the_whole_lease_frees_the_shards_that_are_left,
            ;
            recover:
                histories_are_whole_and_ascending_by_run,
                load_holds_open_ended_and_pending_runs_and_no_unknown_ones,
                load_is_cut_before_the_frame_that_exceeds_its_bytes,
                one_frame_is_loaded_however_large,
                empty_history_counts_no_bytes,
                histories_in_parts_are_the_whole_ones,
                rest_of_a_history_is_that_of_the_first_run_alone,
                rest_of_a_history_begins_with_the_first_frame_after_an_event,
                recovery_lists_busy_and_stalled_runs_only,
                recovery_lists_runs_of_the_shards_asked_for_only,
                recovery_is_paged_through_all_shards,
                run_that_began_is_busy_without_another_row,
                run_that_parked_is_not_recovered,
                due_runs_are_ordered_by_deadline_after_a_mark_and_up_to_a_time,
                due_runs_with_one_deadline_are_paged_without_loss,
                run_without_a_deadline_is_never_due,
                run_is_due_only_while_it_is_parked_and_at_its_last_deadline,
                due_runs_are_of_the_shards_asked_for_only,
                heartbeat_tells_of_deadlines_in_its_window,
            ;
            suspect:
                mark_outlives_its_owner,
                run_that_is_not_logged_yet_can_be_marked,
                last_mark_counts,
                cleared_run_is_no_suspect,
                run_that_is_over_is_no_suspect,
                suspects_are_those_of_all_shards_of_the_lease,
                marks_on_runs_of_a_foreign_shard_are_fenced,
                refused_append_marks_no_run,
                another_mark_with_the_same_number_is_fenced,
                release_holds_the_runs_being_tried,
                run_at_fault_gets_a_strike,
                lease_gives_one_strike_however_often_it_is_released,
                run_at_fault_gets_its_strike_although_the_lease_expired,
                unknown_lease_gives_no_strike,
                run_at_fault_that_is_over_is_no_suspect,
            ;
            tasks:
                tasks_are_claimed_first_in_first_out_with_what_the_append_said,
                executor_claims_only_from_its_queues_and_what_it_knows,
                claim_ends_before_the_task_that_exceeds_its_bytes,
                task_has_one_executor_at_a_time,
                tasks_are_inserted_with_their_append_or_not_at_all,
                task_is_inserted_once,
                queue_of_an_executor_is_served_by_it_alone_and_lost_with_it,
                executor_has_a_task_from_the_beginning_if_the_append_says_so,
                task_whose_first_executor_is_over_is_lost_as_soon_as_it_is_inserted,
                other_tasks_with_the_same_number_are_fenced,
                task_of_a_foreign_shard_is_fenced,
                settled_task_tells_its_run_once,
                outcome_for_a_run_that_is_over_is_told_nobody,
                task_of_a_run_that_is_over_is_not_claimed,
                heartbeat_fences_expired_executors_and_frees_their_tasks,
                renewal_fences_the_expired_executors_of_others_and_keeps_the_own,
                task_that_is_lost_too_often_is_over_and_its_run_is_told,
                task_that_survives_no_loss_is_never_claimed_twice,
                returned_task_is_free_again_without_a_loss,
                late_report_on_an_earlier_claim_changes_nothing,
                renewal_says_which_tasks_the_executor_has,
                renewal_that_was_lost_fences_the_executor,
                activity_queues_are_described,
            ;
            withdrawal:
                withdrawn_task_is_gone_whoever_has_it,
                withdrawn_task_tells_its_run_once_if_it_is_asked_to,
                renewal_deletes_tasks_of_runs_that_are_over,
            ;
            chains:
                every_run_of_a_chain_leads_to_the_current_one,
                end_of_a_chain_is_that_of_each_of_its_runs,
                reply_of_any_run_of_a_chain_is_found_by_each_of_its_runs,
            ;
            replies:
                reply_is_kept_and_the_first_one_stays,
                message_that_has_a_reply_is_accepted_and_not_delivered_again,
                answer_with_replies_is_cut_by_its_bytes,
            ;
            attributes:
                run_has_the_attributes_of_its_start_as_soon_as_that_is_accepted,
                start_that_finds_its_key_in_use_changes_no_attributes,
                append_sets_and_removes_attributes_of_open_runs_and_of_those_that_end,
                runs_are_listed_by_all_of_some_attributes_newest_first,
            ;
            query:
                unknown_run_has_no_description,
                queue_is_described_with_its_live_leases,
                run_is_found_by_its_workflow_and_its_key,
                watch_tells_only_of_runs_that_are_over,
                watch_tells_of_views_that_were_published_since,
                newest_value_of_a_view_is_found_in_its_frame,
                repeated_append_publishes_once,
                notices_that_do_not_fit_are_cut_and_asked_for_again,
                every_way_to_end_is_kept,
                key_of_a_run_that_is_over_is_described,
                people_read_histories_as_a_processor_loads_them,
                list_is_newest_first_and_paged,
                list_that_goes_no_further_than_its_horizon_looks_at_so_many_open_runs_and_others,
                list_shows_runs_that_match_every_field_of_the_filter,
                children_of_a_run_are_listed_open_or_over_and_those_of_others_are_not,
                keyed_runs_are_listed_by_prefix_in_the_order_of_the_bytes_of_keys,
            ;
        }
    };
    (@cases $harness:expr; $($group:ident: $($case:ident,)+;)+) => {
        async fn conformance_harness() -> impl $crate::conformance::Harness {
            $harness
        }
        $(mod $group {
            $(
                #[test]
                fn $case() {
                    $crate::conformance::run(super::conformance_harness(), $crate::conformance::$group::$case);
                }
            )+
        })+
    };
}

#[cfg(test)]
mod tests {
    /// A case that is not listed would be run against no store.
    #[test]
    fn every_case_is_listed() {
        let list = include_str!("conformance.rs");
        let groups = std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/src/conformance")).unwrap();
        for group in groups.map(|group| std::fs::read_to_string(group.unwrap().path()).unwrap()) {
            for case in group.lines().filter_map(|line| line.strip_prefix("pub async fn ")) {
                let name = case.split('(').next().unwrap_or_default();
                assert!(list.contains(&format!(" {name},\n")), "`{name}` is not in the list");
            }
        }
    }
}
