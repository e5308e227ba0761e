//! Any program that bytes can spell: the engine on the compiled image decides what the oracle says it must.
#![no_main]

use interdict_abi::ids::Mode;
use interdict_rules::{
    lower::{Budget, lower},
    oracle::{
        Oracle,
        generate::{self, Choices},
    },
    run,
};
use libfuzzer_sys::fuzz_target;

const BUDGET: Budget = Budget {
    image_bytes: 8 << 20,
    table_bytes: 1 << 18,
    work_bytes: 1 << 20,
    parts: 8,
    together: 60,
};

fuzz_target!(|bytes: &[u8]| {
    let mut choices = Choices::new(bytes);
    let program = generate::program(&mut choices, 4);
    let Ok(image) = lower(&program, generate::metadata(&program), BUDGET) else { return };
    let oracle = Oracle::new(&program);
    for mode in [Mode::Enforce, Mode::Audit, Mode::Enforce] {
        let event = generate::event(&mut choices);
        let decided = run::decide(&image, &event, mode);
        let expected = oracle.decide(&event, mode);
        let mut matched = decided.matched.clone();
        matched.sort_unstable();
        assert_eq!(decided.verdict, expected.verdict, "{program:#?} {event:#?}");
        assert_eq!(decided.would, expected.would, "{program:#?} {event:#?}");
        assert!(expected.errnos.contains(&decided.errno), "{program:#?} {event:#?}");
        assert!(matched.iter().eq(&expected.matched), "{program:#?} {event:#?}");
        let mut excused = decided.excused.clone();
        excused.sort_unstable();
        assert!(excused.iter().eq(&expected.excused), "{program:#?} {event:#?}");
    }
});
