//! Every verdict on every kernel: the act is refused as promised and told, its twin passes, and without the agent both
//! pass. One guest per kernel does all cases; one test per case and kernel looks at what came of them.

use std::path::Path;
use std::sync::LazyLock;

use interdict_integration::case::Case;
use interdict_integration::cases;
use interdict_integration::observe::{Observed, broken_promises, observe};

static CASES: LazyLock<Vec<Case>> = LazyLock::new(cases::all);

fn observed_on(kernel: &str) -> Result<Observed, String> {
    observe(kernel, Path::new(env!("CARGO_BIN_EXE_guest")), &CASES)
        .map_err(|error| format!("{error:#}"))
}

static ON_6_1: LazyLock<Result<Observed, String>> = LazyLock::new(|| observed_on("6.1"));
static ON_6_12: LazyLock<Result<Observed, String>> = LazyLock::new(|| observed_on("6.12"));
static ON_NEWEST: LazyLock<Result<Observed, String>> = LazyLock::new(|| observed_on("newest"));

fn holds(name: &str, observed: &Result<Observed, String>) {
    let observed = observed.as_ref().unwrap_or_else(|error| panic!("{error}"));
    let case = CASES.iter().find(|case| case.name == name).expect("the case is in the list");
    let broken = broken_promises(case, observed);
    assert!(broken.is_empty(), "{}\n(/out is {})", broken.join("\n"), observed.out.display());
}

fn verifies(observed: &Result<Observed, String>) {
    let observed = observed.as_ref().unwrap_or_else(|error| panic!("{error}"));
    assert!(!observed.alerts.is_empty(), "nothing was told");
    observed.verified.as_ref().unwrap_or_else(|error| panic!("{error}"));
}

macro_rules! on_every_kernel {
    ($($case:ident)*) => {
        const NAMES: &[&str] = &[$(stringify!($case)),*];
        // So named that `cargo xtask test verdicts` runs them and nothing else.
        mod verdicts {
            mod on_6_1 {
                use super::super::{ON_6_1, holds, verifies};
                $(#[test] fn $case() { holds(stringify!($case), &ON_6_1); })*
                #[test] fn the_stream_of_alerts_verifies() { verifies(&ON_6_1); }
            }
            mod on_6_12 {
                use super::super::{ON_6_12, holds, verifies};
                $(#[test] fn $case() { holds(stringify!($case), &ON_6_12); })*
                #[test] fn the_stream_of_alerts_verifies() { verifies(&ON_6_12); }
            }
            mod on_newest {
                use super::super::{ON_NEWEST, holds, verifies};
                $(#[test] fn $case() { holds(stringify!($case), &ON_NEWEST); })*
                #[test] fn the_stream_of_alerts_verifies() { verifies(&ON_NEWEST); }
            }
        }
    };
}

on_every_kernel! {
    a_blocked_program_does_not_start
    a_block_gives_the_error_its_rule_names
    a_blocked_directory_runs_nothing
    a_killed_program_does_not_run
    a_program_with_a_forbidden_argument_is_killed
    a_rule_on_the_caller_spares_other_callers
    a_program_that_an_image_came_without_does_not_start
    a_file_on_a_file_system_that_a_rule_names_is_not_read
    a_blocked_file_is_not_read
    a_file_blocked_for_writing_is_still_read
    a_reader_of_a_deadly_file_is_killed
    a_writer_of_a_deadly_file_is_killed
    an_exception_excuses_from_its_own_rule
    nothing_is_made_in_a_kept_directory
    either_end_of_a_rename_or_link_counts
    a_kept_file_is_neither_removed_nor_changed
    the_loader_does_not_run_what_may_not_be_mapped
    a_file_is_known_by_its_hard_link_and_bind_mounts
    a_file_is_known_after_it_was_renamed
    a_file_is_judged_anew_after_a_directory_above_it_was_moved
    a_file_is_judged_anew_after_a_mount_above_it_was_moved
    a_new_file_is_known_by_where_its_directory_belongs
    a_program_is_known_by_its_hard_link
    a_descriptor_is_judged_again_by_whoever_reads_it
    a_descriptor_in_audit_mode_is_told_once
    what_replaces_a_kept_file_is_known_before_it_is_opened
    a_program_mounted_over_another_is_not_taken_for_it
    a_path_of_any_length_and_depth_is_decided
    a_long_path_is_no_fault_of_other_rules
    a_program_with_a_long_path_is_decided
    a_name_of_every_byte_is_decided
    a_blocked_ipv4_address_is_not_connected_to
    a_blocked_ipv6_network_is_not_connected_to
    a_blocked_port_leaves_other_ports_open
    who_names_no_address_reaches_the_loopback
    a_caller_of_a_deadly_address_is_killed
    a_packet_from_a_blocked_network_is_dropped
    a_forbidden_name_is_not_looked_up
    the_address_of_a_forbidden_name_is_not_connected_to
    a_forbidden_name_is_not_looked_up_over_a_stream
    a_datagram_to_a_blocked_address_is_not_sent
    raw_packets_to_a_blocked_address_are_not_sent
    the_header_counts_not_where_a_call_says_it_goes
    connections_are_refused_however_they_are_asked_for
    an_accepted_connection_is_no_way_out
    a_connection_from_a_blocked_address_does_not_come_about
    a_server_is_refused_its_port
    sockets_below_the_network_are_refused_by_rule
    a_rule_in_audit_mode_tells_and_does_not_act
    an_alert_tells_and_lets_through
    the_strongest_of_several_rules_acts_and_all_are_told
    a_process_that_may_not_be_traced_is_not
    a_signal_that_may_not_be_sent_is_not
    a_user_id_that_may_not_be_taken_is_not
    a_group_id_that_may_not_be_taken_is_not
    groups_that_may_not_change_do_not
    a_capability_that_may_not_be_used_is_not
    who_becomes_somebody_deadly_dies
    a_namespace_that_may_not_be_made_is_not
    a_user_namespace_that_may_not_be_made_is_not
    a_namespace_that_may_not_be_entered_is_not
    a_bpf_command_that_is_blocked_fails
    a_performance_event_that_is_blocked_is_not_opened
    a_module_that_is_blocked_is_not_read
    a_module_from_memory_is_blocked_where_files_are_listed
    a_kernel_that_is_blocked_is_not_loaded
    a_rule_on_the_working_directory_sees_it
    a_rule_on_capabilities_sees_those_in_effect
    a_rule_on_the_login_sees_whose_it_was
    a_rule_on_sockets_as_standard_streams_sees_them
    a_cgroup_named_as_a_container_is_one
    a_system_call_is_told_by_its_name
    who_makes_a_deadly_system_call_dies
    a_socket_that_becomes_a_standard_stream_is_told
    a_system_call_that_fails_is_told_by_its_error
    a_system_call_made_the_32_bit_way_has_the_name_it_has_there
}

#[test]
fn every_case_is_tested() {
    let cases: Vec<&str> = CASES.iter().map(|case| case.name).collect();
    assert_eq!(cases, NAMES);
}
