//! Bytes that want to be a ring record: decoded or refused; and what is decoded makes an alert that is one line of JSON,
//! canonical as written, and provable after it is sealed.
#![no_main]

use std::cell::RefCell;

use interdict_agent::{
    alert::{
        self, Alert,
        build::Scene,
        canonical,
        key::SigningKey,
        model::HostInfo,
        redact::Redaction,
        render::{self, Format},
        seal::{ChainHead, Sealer},
        verify,
    },
    enrich::Enricher,
    events::{KernelEvent, decode},
};
use libfuzzer_sys::fuzz_target;

thread_local! {
    static STATE: RefCell<(Enricher, Sealer)> = RefCell::new((
        Enricher::new(Redaction::default()),
        Sealer::new(
            SigningKey::generate().expect("randomness"),
            ChainHead::start("0".repeat(32)),
        ),
    ));
}

fuzz_target!(|bytes: &[u8]| {
    let Ok(event) = decode(bytes) else { return };
    STATE.with_borrow_mut(|(enricher, sealer)| match event {
        KernelEvent::Fork(fork) => enricher.forked(&fork),
        KernelEvent::Exec(exec) => enricher.executed(&exec),
        KernelEvent::Exit(exit) => enricher.exited(&exit),
        KernelEvent::Decision(decision) => {
            let scene = scene();
            // A pid of this machine would be looked up in /proc: true, but not repeatable.
            let mut actor = decision.actor;
            actor.pid |= 0x4000_0000;
            let context = enricher.context(&actor);
            let redaction = Redaction::default();
            let told = decision.clauses();
            let alert = alert::build(&decision, told, &context, None, &redaction, &scene);
            prove(alert, sealer);
        }
        KernelEvent::Guard(mut attempt) => {
            attempt.actor.pid |= 0x4000_0000;
            let context = enricher.context(&attempt.actor);
            prove(alert::attempted(&attempt, None, &context, &scene()), sealer);
        }
    });
});

fn scene() -> Scene {
    let host = HostInfo { boot_id: String::new(), kernel: String::new(), name: "fuzz".to_owned() };
    Scene { host: host.into(), wall_minus_boot_ns: 0 }
}

/// One line of JSON, canonical as written, provable once it is sealed, and rendered in every format.
fn prove(alert: Alert, sealer: &mut Sealer) {
    let plain = serde_json::to_vec(&alert).expect("an alert is JSON");
    let mut again = Vec::new();
    let value = canonical::parse(&plain).expect("no name comes twice");
    canonical::write(&mut again, &value).expect("only integers");
    assert_eq!(plain, again);
    let key = sealer.key().public();
    for sealed in sealer.seal(vec![alert]) {
        assert!(!sealed.line().contains(&b'\n'));
        verify::check(sealed.line(), &[key]).expect("what was sealed is proven");
        for format in [Format::Ocsf, Format::Ecs, Format::Cef, Format::Msgpack] {
            let rendered = render::render(sealed.line(), format).expect("every alert renders");
            assert!(!format.is_text() || !rendered.contains(&b'\n'));
        }
    }
}
