//! The whole platform on real files, broken in every way that it promises to survive.
//!
//! Each test runs in a world of its own (`outrigger_testkit::suite`), first shows that what it is about
//! happens without the platform, prints what it measured and fails where a promise is not kept. With
//! `OUTRIGGER_TEST_FULL=1` the races, faults and loads take their full time.

mod act;
mod attack;
mod boot;
mod cache;
mod content_rules;
mod empty;
mod engine;
mod filter;
mod gap;
mod grant;
mod host;
mod ledger;
mod load;
mod mode;
mod notice;
mod policy;
mod reason;
mod replay;
mod scene;
mod swap;
mod trial;
mod update;
mod user;
mod way;
mod yara;

use std::process::ExitCode;

use outrigger_testkit::suite::{self, Test};

/// The tests, each with the seconds after which its world is ended.
macro_rules! tests {
    ($($seconds:literal $subject:ident :: $holds:ident;)+) => {
        &[$(Test {
            name: concat!(stringify!($subject), "::", stringify!($holds)),
            limit_s: $seconds,
            body: $subject::$holds,
        }),+]
    };
}

const TESTS: &[Test] = tests! {
    60 way::none_leads_around_a_denial;
    60 way::a_clean_file_is_served_on_every_way;
    30 way::an_exec_asks_once;
    30 way::monitor_mode_refuses_nothing_and_counts;
    30 way::a_guarded_file_is_served_and_the_conflict_counted;

    30 gap::a_program_in_memory_is_reported;
    30 gap::an_overlay_elsewhere_is_reported;
    30 gap::a_file_opened_before_is_reported;
    30 gap::a_file_system_mounted_later_is_covered;

    120 cache::never_lies_on_tmpfs;
    120 cache::never_lies_on_ext4;
    120 cache::never_lies_on_overlayfs;
    60 cache::a_writer_waits_briefly;
    60 cache::a_writer_is_let_in_without_a_host;
    60 cache::a_writer_is_let_in_though_the_gate_is_stopped;
    60 cache::a_stopped_fuse_server_holds_nobody_up;
    60 cache::an_unreadable_fuse_file_holds_nobody_up;

    30 empty::the_next_file_asks_nobody;
    30 empty::other_content_has_it_asked_again;
    30 empty::a_denied_one_is_asked_every_time;
    30 empty::what_is_written_meanwhile_is_not_taken_for_it;
    30 empty::who_sees_more_than_content_is_always_asked;

    120 notice::every_process_is_told_with_its_lineage;
    120 notice::a_stopped_engine_loses_what_is_counted_exactly;
    60 notice::a_question_is_answered_while_notices_have_no_room;
    60 notice::changes_to_files_are_told;
    30 notice::the_answer_to_an_open_is_told;
    30 notice::an_engine_that_gets_less_than_it_needs_is_told_of;

    90 filter::by_path_the_rest_wakes_nobody;
    90 filter::by_program_the_rest_is_left_out;
    60 filter::by_control_group_the_rest_is_left_out;

    60 engine::stopped_costs_no_more_than_the_budget;
    60 engine::looping_costs_no_more_than_the_budget;
    60 engine::silent_costs_no_more_than_the_budget;
    60 engine::slow_costs_no_more_than_the_budget;
    60 engine::stopped_under_load_keeps_to_the_budget;
    60 engine::looping_under_load_keeps_to_the_budget;
    60 engine::silent_under_load_keeps_to_the_budget;
    60 engine::slow_under_load_keeps_to_the_budget;
    30 engine::killed_ends_its_questions_at_once;
    30 engine::dead_and_required_fails_closed;
    30 engine::killed_docks_again_at_once;
    60 engine::a_poisoned_file_switches_nothing_off;
    60 engine::a_poisoned_file_is_known_to_the_next_host;
    30 engine::quarantine_ends_by_release;

    180 host::killed_fails_closed;
    180 host::killed_fails_open_and_counts;
    180 host::stopped_fails_closed;
    180 host::stopped_fails_open_and_counts;
    60 host::stopped_with_one_question_lets_it_go;
    60 host::stopped_while_idle_is_replaced;
    60 host::decides_on_while_the_gate_is_killed;
    30 host::without_its_keeper_everything_ends;
    60 host::a_new_build_takes_over_under_load;
    30 host::who_keeps_deadlines_is_above_ordinary_threads;
    30 host::ends_without_a_trace;

    60 swap::under_load_loses_no_question;
    60 swap::a_version_that_fails_leaves_the_old_one_in_force;
    60 swap::of_a_stopped_engine_answers_what_it_has_in_hand;
    120 swap::cut_short_leaves_one_version_in_force;
    60 swap::what_was_altered_in_a_slot_is_not_started;
    60 swap::what_is_not_installed_is_counted_until_it_is;
    60 swap::a_version_that_asks_for_more_comes_by_another_host;
    60 swap::without_releases_the_files_are_taken_as_they_lie;

    60 trial::a_good_release_comes_to_decide;
    60 trial::a_false_positive_is_listed_in_shadow_and_refused;
    60 trial::few_differences_are_listed_while_it_runs;
    60 trial::a_crash_in_shadow_costs_nothing;
    60 trial::channel_file_291_ends_in_shadow;
    60 trial::channel_file_291_on_probation_is_undone;
    60 trial::a_storm_of_denials_on_probation_is_undone;
    60 trial::a_slow_release_on_probation_is_undone;
    60 trial::a_leak_on_probation_is_undone;
    90 trial::goes_on_when_the_host_is_killed;
    90 trial::goes_on_after_a_reload;
    120 trial::killed_in_a_rollback_the_next_host_ends_it;
    60 trial::a_full_disk_holds_no_rollback_up;
    60 trial::a_damaged_slot_is_not_gone_back_to;
    60 trial::a_first_release_that_crashes_leaves_nothing_in_force;
    60 trial::two_trials_do_not_touch_each_other;
    60 trial::stopped_on_probation_what_was_before_decides;
    60 trial::going_back_by_hand_takes_a_moment;

    30 mode::a_monitored_tree_refuses_nothing;
    60 mode::a_file_system_left_out_is_not_asked_about;
    60 mode::a_monitored_file_system_is_served_by_the_gate;

    30 policy::files_are_refused_by_their_path_without_an_engine;
    30 policy::programs_are_refused_by_who_runs_them;
    30 policy::programs_that_a_process_has_run_count;
    30 policy::a_permit_asks_no_engine_and_a_forbid_is_stronger;
    60 policy::monitor_refuses_nothing_and_names_the_rule;
    60 policy::no_cached_verdict_hides_a_file_from_rules;
    60 policy::a_wrong_set_of_each_kind_leaves_the_old_in_force;
    60 policy::the_last_good_set_outlives_its_host;
    60 policy::a_change_under_load_loses_no_decision;
    30 policy::explain_names_the_rule;

    60 content_rules::they_deny_without_their_engine;
    30 content_rules::of_a_monitored_engine_are_monitored;
    60 content_rules::what_the_machine_needs_is_spared;
    60 content_rules::a_permit_is_refused_with_its_place;
    60 content_rules::a_mark_is_refused_with_its_place;
    60 content_rules::too_many_are_refused_and_the_administrators_fit;
    60 content_rules::those_that_take_too_much_room_are_refused;
    30 content_rules::a_folder_that_nobody_signed_has_none;
    90 content_rules::they_come_and_go_with_their_release;
    60 content_rules::they_leave_with_their_engine;
    60 content_rules::a_false_positive_ends_in_shadow_and_denies_nothing;
    60 content_rules::a_rule_on_what_the_machine_needs_ends_in_shadow;
    60 content_rules::rules_that_deny_less_end_in_shadow;
    60 content_rules::a_release_whose_rules_are_refused_is_not_tried;
    60 content_rules::a_storm_of_denials_on_probation_is_undone;
    60 content_rules::a_broken_folder_keeps_no_rules_from_leaving;

    60 reason::a_full_disk_is_told_and_got_over;
    60 reason::another_kernel_is_told_once;
    180 reason::coverage_that_shrank_is_told_until_it_is_accepted;
    60 reason::a_file_system_that_cannot_be_covered_is_a_lost_sensor;
    30 reason::an_engine_that_backs_off_costs_nothing;
    60 ledger::names_the_slow_engine;
    60 ledger::adds_up_whatever_engines_do;
    60 ledger::is_served_as_metrics;

    120 load::forty_thousand_files_leave_no_descriptor;
    60 load::one_user_cannot_starve_another;
    30 load::over_the_limit_is_answered_at_once;
    60 load::idle_costs_next_to_nothing;

    30 act::opening_outside_its_root_is_refused;
    30 act::connecting_is_refused;
    30 act::tracing_is_refused;
    30 act::signalling_is_refused;
    30 act::forking_is_refused;
    60 act::forking_on_ends_in_quarantine;
    30 act::threads_beyond_the_limit_are_refused;
    30 act::leaking_descriptors_ends_it;
    30 act::memory_beyond_the_limit_ends_it;
    30 act::locking_content_is_refused;
    30 act::leasing_content_is_refused;
    30 act::reopening_content_is_refused;
    30 act::making_code_is_refused;
    30 act::executing_content_is_refused;

    30 attack::growing_its_ring_is_refused;
    30 attack::executing_its_ring_is_refused;
    30 attack::a_corrupt_cursor_is_found;
    30 attack::a_garbage_record_is_found;
    30 attack::a_garbage_frame_is_found;
    30 attack::a_second_answer_changes_nothing;
    30 attack::a_forged_answer_changes_nothing;
    30 attack::a_late_answer_changes_nothing;

    30 grant::none_shows_nothing;
    30 grant::all_shows_everything_but_key_material;
    30 grant::paths_go_by_the_path_as_opened;

    60 user::cannot_read_its_processes;
    60 user::cannot_stop_its_processes;
    60 user::cannot_slow_its_processes;
    30 user::cannot_connect_to_its_sockets;
    30 user::cannot_read_its_records_or_change_its_files;
    30 user::cannot_change_an_engines_limits;
    30 user::of_an_engines_number_cannot_read_it;
    30 user::two_engines_share_nothing;

    150 update::a_release_decides_by_one_command;
    120 update::the_administrator_holds_the_controls;
    120 update::channel_file_291_is_refused_by_its_schema;
    120 update::channel_file_291_that_fits_its_schema_crashes_in_preflight;
    120 update::trouble_leaves_the_old_in_force;

    120 boot::boots_without_health_lead_to_known_good_and_then_to_none;
    120 boot::health_and_a_clean_end_count_for_nothing;
    60 boot::a_host_that_crashes_again_and_again_comes_to_safe_mode;
    60 boot::a_release_on_probation_goes_back_after_an_unclean_start;
    60 boot::a_damaged_count_leads_to_caution;
    60 boot::a_full_disk_keeps_no_start_from_being_counted;
    60 boot::an_instruction_is_obeyed_in_safe_mode;
    60 boot::an_instruction_that_is_not_to_be_obeyed_is_refused;
    30 boot::an_engine_is_kept_off_by_hand_and_another_goes_on;

    120 replay::is_fast_through_one_engine;
    60 replay::says_the_same_each_time;
    60 replay::names_the_sample_that_an_engine_crashes_on;
    600 replay::yara_says_what_it_said_live;
    60 replay::what_is_recorded_is_counted_and_redacted;
    60 replay::tells_a_slow_engine_from_a_busy_machine;

    60 yara::both_engines_refuse_the_test_file;
    60 yara::it_executes_nothing_but_its_files;
    60 yara::a_web_shell_is_refused_by_yara_alone;
    60 yara::a_bad_rule_file_keeps_the_old_rules;
    60 yara::a_slow_scan_ends_in_time_and_holds_nobody_up;
};

/// Promises that are not kept yet, and what was seen: skipped, loudly, unless asked for by name or by
/// `OUTRIGGER_TEST_FULL=1`. `docs/specification.md` says the same.
const PENDING: &[(&str, &str)] = &[(
    "load::one_user_cannot_starve_another",
    "3.6 to 6.2 times in six runs where 3 are promised",
)];

fn main() -> ExitCode {
    suite::main(TESTS, PENDING)
}
