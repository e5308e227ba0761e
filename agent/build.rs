//! Says which kernel object becomes part of the agent: the committed one, or another that `INTERDICT_BPF_OBJECT` names,
//! as when it was rebuilt with other tools than the recorded ones and that one is to be tested.

use std::env;

fn main() {
    let variable = "INTERDICT_BPF_OBJECT";
    // Asked for now rather than when this script was compiled: checkouts may share a target directory.
    let here = env::var("CARGO_MANIFEST_DIR").unwrap_or_else(|_| ".".to_owned());
    let committed = format!("{here}/../ebpf/prebuilt/interdict.bpf.o");
    let object = env::var(variable).unwrap_or(committed);
    println!("cargo::rerun-if-env-changed={variable}");
    println!("cargo::rerun-if-changed={object}");
    println!("cargo::rustc-env={variable}_PATH={object}");
}
