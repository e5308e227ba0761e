//! A host without BPF LSM: this machine's kernel, and those of guests whose agent does without it.
//!
//! Flows, where the cgroup programs and the packets carry the rules: the same cases as on guests, those whose rules ask for
//! nothing but what a packet shows. Acts on files, which are judged as their system calls end: `late`. In namespaces and a
//! cgroup of their own; the rules are about nothing that is outside of these.

use std::path::Path;

use interdict_integration::observe::{all_promises_hold, observe, observe_with};
use interdict_integration::{cases, ground::NATIVE, late};

const CASES: &[&str] = &[
    "a_blocked_ipv4_address_is_not_connected_to",
    "a_blocked_ipv6_network_is_not_connected_to",
    "a_blocked_port_leaves_other_ports_open",
    "a_packet_from_a_blocked_network_is_dropped",
    "a_datagram_to_a_blocked_address_is_not_sent",
    "raw_packets_to_a_blocked_address_are_not_sent",
    "the_header_counts_not_where_a_call_says_it_goes",
    "connections_are_refused_however_they_are_asked_for",
    "a_connection_from_a_blocked_address_does_not_come_about",
    "a_forbidden_name_is_not_looked_up",
    "a_forbidden_name_is_not_looked_up_over_a_stream",
    "the_address_of_a_forbidden_name_is_not_connected_to",
];

/// Namespaces, cgroups and BPF programs of this machine are for root.
fn is_root() -> bool {
    std::fs::metadata("/proc/self")
        .is_ok_and(|about| std::os::unix::fs::MetadataExt::uid(&about) == 0)
}

#[test]
fn flows_are_refused_without_bpf_lsm() {
    if !is_root() {
        eprintln!("not tried: this needs root");
        return;
    }
    let chosen = cases::chosen(CASES);
    let init = Path::new(env!("CARGO_BIN_EXE_guest"));
    let observed = observe(NATIVE, init, &chosen).expect("the run");
    all_promises_hold(&chosen, &observed);
}

fn acts_on_files_are_judged_late_on(kernel: &str) {
    let cases = late::cases();
    let init = Path::new(env!("CARGO_BIN_EXE_guest"));
    let observed = observe_with(kernel, init, &cases, late::CONFIG, &[]).expect("the run");
    all_promises_hold(&cases, &observed);
}

#[test]
fn acts_on_files_are_judged_as_they_end_without_bpf_lsm() {
    if !is_root() {
        eprintln!("not tried: this needs root");
        return;
    }
    acts_on_files_are_judged_late_on(NATIVE);
}

#[test]
fn acts_on_files_are_judged_as_they_end_without_bpf_lsm_on_6_1() {
    acts_on_files_are_judged_late_on("6.1");
}

#[test]
fn acts_on_files_are_judged_as_they_end_without_bpf_lsm_on_6_12() {
    acts_on_files_are_judged_late_on("6.12");
}

#[test]
fn acts_on_files_are_judged_as_they_end_without_bpf_lsm_on_newest() {
    acts_on_files_are_judged_late_on("newest");
}
