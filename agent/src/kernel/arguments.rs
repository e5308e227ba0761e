//! Arguments of processes that ran before a policy was staged, as the sets of predicates that hold: see
//! `ebpf/src/hooks/arguments.rs`.
//!
//! What the kernel programs read when a program started is better than `/proc`, which shows what the process has made of
//! it since. So if the predicates of the policy in force are those of the new one, its rows are taken over; only what has
//! none is read. Rows are added where none is, as in `labels`.

use std::fs;

use aya::maps::{HashMap, MapData};
use interdict_abi::{
    ids::Generation,
    image::header,
    limits::ARGS_BYTES,
    maps::{KeptArgs, ProcessKey, names},
};
use interdict_engine::{Memory, args};

use super::{
    labels::{LabelError, ONLY_IF_MISSING, PASSES, exists, gone, keys},
    loader::Loaded,
};

/// The map of kept arguments of an instance.
pub struct Arguments {
    rows: HashMap<MapData, ProcessKey, KeptArgs>,
}

impl Arguments {
    /// Opens that of `loaded`.
    ///
    /// # Errors
    /// The map is gone.
    pub fn open(loaded: &Loaded) -> Result<Self, LabelError> {
        let refused = |source| LabelError::Map { map: names::ARGUMENTS, source };
        Ok(Self { rows: HashMap::try_from(loaded.map(names::ARGUMENTS)?).map_err(refused)? })
    }

    /// Gives every process that runs a row under `generation`, if its image asks for rows. `before` is the generation in
    /// force, and what its image has at [`header::KEPT_ARGS`].
    ///
    /// # Errors
    /// The map is full, `/proc` cannot be read, or processes come faster than they are found.
    pub fn seed(
        &mut self,
        generation: Generation,
        image: &[u8],
        (before, digest): (Generation, u32),
    ) -> Result<(), LabelError> {
        let wanted = image.word(header::KEPT_ARGS);
        if wanted == 0 {
            return Ok(());
        }
        for _ in 0..PASSES {
            let mut added = 0;
            for process in processes()? {
                let key = ProcessKey { generation: generation.0, process };
                if self.rows.get(&key, 0).is_ok() {
                    continue;
                }
                let earlier = ProcessKey { generation: before.0, process };
                let row = match self.rows.get(&earlier, 0) {
                    Ok(row) if digest == wanted => row,
                    Ok(_) | Err(_) => row(image, &of(process)),
                };
                added += usize::from(self.add(key, row)?);
            }
            if added == 0 {
                return Ok(());
            }
        }
        Err(LabelError::Restless)
    }

    fn add(&mut self, key: ProcessKey, row: KeptArgs) -> Result<bool, LabelError> {
        match self.rows.insert(key, row, ONLY_IF_MISSING) {
            Ok(()) => {
                if gone(key.process) {
                    let _none = self.rows.remove(&key);
                    return Ok(false);
                }
                Ok(true)
            }
            Err(error) => exists(names::ARGUMENTS, error),
        }
    }

    /// Removes the rows of every generation but those in `keep`.
    pub fn sweep(&mut self, keep: &[Generation]) {
        let stale = |key: &ProcessKey| !keep.contains(&Generation(key.generation));
        for (generation, process) in keys(self.rows.keys(), stale) {
            let _none = self.rows.remove(&ProcessKey { generation, process });
        }
    }
}

/// Every process there is.
fn processes() -> Result<Vec<u32>, LabelError> {
    let names = fs::read_dir("/proc")?.filter_map(Result::ok).map(|entry| entry.file_name());
    Ok(names.filter_map(|name| name.to_str()?.parse().ok()).collect())
}

/// The arguments of a process as `/proc` shows them. `None`: they cannot be read.
fn of(process: u32) -> Option<Vec<u8>> {
    let shown = fs::read(format!("/proc/{process}/cmdline")).ok()?;
    // Kernel threads have no program, and no arguments; a program without any hides them.
    let has_program = fs::read_link(format!("/proc/{process}/exe")).is_ok();
    (!shown.is_empty() || !has_program).then_some(shown)
}

/// The row of a process with these arguments.
fn row(image: &[u8], shown: &Option<Vec<u8>>) -> KeptArgs {
    let Some(shown) = shown else { return KeptArgs { unknown: 1, ..KeptArgs::default() } };
    // As the kernel programs read them.
    let mut text = shown.get(..ARGS_BYTES - 1).unwrap_or(shown).to_vec();
    let truncated = text.len() < shown.len();
    if !truncated && text.last().is_some_and(|last| *last != 0) {
        text.push(0);
    }
    let (automaton, sets) = (image.word(header::ARG_AUTOMATON), image.word(header::ARG_SETS));
    let set = args::gather(image, automaton, sets, &text[..], text.len() as u32);
    KeptArgs { set, unknown: truncated.into() }
}

#[cfg(test)]
mod tests {
    use interdict_abi::ids::{Act, Action, Family, Mode};
    use interdict_rules::{
        ir::{Clause, Literal, OnFault, Pattern, Program, Rule, Test},
        lower::{Budget, lower},
        oracle::generate,
    };

    use super::*;

    fn image() -> Vec<u8> {
        let test = Test::Argument { patterns: vec![Pattern::Exact(b"--serve".to_vec())] };
        let rule = Rule {
            id: "R".to_owned(),
            action: Action::Block,
            errno: 1,
            mode: Mode::Enforce,
            on_fault: OnFault::Block,
            clauses: vec![Clause {
                family: Family::File,
                acts: Act::FileRead.bit(),
                literals: vec![Literal { negated: false, test }],
                origin: 0,
            }],
            exceptions: Vec::new(),
            narrowed: Vec::new(),
        };
        let program = Program { rules: vec![rule] };
        let image = lower(&program, generate::metadata(&program), Budget::default()).unwrap();
        image.kernel().to_vec()
    }

    #[test]
    fn arguments_from_proc_hold_the_predicates_of_the_image() {
        let image = image();
        let row = |shown: &[u8]| row(&image, &Some(shown.to_vec()));
        assert_eq!(row(b"daemon\0--serve\0"), KeptArgs { set: [1, 0, 0, 0], unknown: 0 });
        assert_eq!(row(b"daemon\0--served\0"), KeptArgs::default());
        // A process may have written over its terminator.
        assert_eq!(row(b"daemon\0--serve"), KeptArgs { set: [1, 0, 0, 0], unknown: 0 });
    }

    #[test]
    fn what_proc_does_not_show_in_full_is_not_known() {
        let image = image();
        let mut long = b"--serve\0".to_vec();
        long.resize(ARGS_BYTES, b'x');
        assert_eq!(row(&image, &Some(long)), KeptArgs { set: [1, 0, 0, 0], unknown: 1 });
        assert_eq!(row(&image, &None), KeptArgs { set: [0; 4], unknown: 1 });
    }

    #[test]
    fn this_process_shows_its_arguments() {
        let shown = of(std::process::id()).unwrap();
        let first = std::env::args().next().unwrap();
        assert!(shown.starts_with(first.as_bytes()));
    }
}
