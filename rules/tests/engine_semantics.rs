//! What a decision is, rule by rule, on compiled images.

use interdict_abi::{
    ids::{Act, Action, Fact, Mode, READ_AND_WRITE},
    limits::RULES_TOLD,
};
use interdict_rules::{
    image::PolicyImage,
    ir::{Clause, Literal, OnFault, Pattern, Program, Rule, Test},
    lower::{Budget, lower},
    oracle::generate,
    run::{self, Decision, Event, Excused, Strings, Value},
};

fn path(glob: &str) -> Literal {
    text(Fact::Path, glob)
}

fn text(fact: Fact, glob: &str) -> Literal {
    let patterns = vec![Pattern::Glob(glob.to_owned())];
    Literal { negated: false, test: Test::Text { fact, patterns } }
}

fn not(literal: Literal) -> Literal {
    Literal { negated: !literal.negated, ..literal }
}

fn clause(acts: &[Act], literals: Vec<Literal>) -> Clause {
    let mask = acts.iter().fold(0, |mask, act| mask | act.bit());
    Clause { family: acts[0].family(), acts: mask, literals, origin: 0 }
}

fn rule(action: Action, clause: Clause) -> Rule {
    Rule {
        id: "R".to_owned(),
        action,
        errno: 13,
        mode: Mode::Enforce,
        on_fault: OnFault::Pass,
        clauses: vec![clause],
        exceptions: Vec::new(),
        narrowed: Vec::new(),
    }
}

fn image(rules: Vec<Rule>) -> PolicyImage {
    let program = Program { rules };
    lower(&program, generate::metadata(&program), Budget::default()).expect("it compiles")
}

fn decide(rules: Vec<Rule>, event: &Event) -> Decision {
    run::decide(&image(rules), event, Mode::Enforce)
}

fn read(path: &str) -> Event {
    Event::new(Act::FileRead).with(Fact::Path, Value::Text(path.as_bytes().to_vec()))
}

const READ: &[Act] = &[Act::FileRead];

#[test]
fn a_rule_decides_about_what_it_names_and_nothing_else() {
    let rules = || vec![rule(Action::Block, clause(READ, vec![path("/etc/shadow")]))];
    let blocked = decide(rules(), &read("/etc/shadow"));
    assert_eq!((blocked.verdict, blocked.errno), (Action::Block, 13));
    for other in ["/etc/shadow-", "/etc/shado", "/etc", "", "etc/shadow", "/etc/shadow/"] {
        assert_eq!(decide(rules(), &read(other)).verdict, Action::Pass, "{other}");
    }
    let write = Event { act: Act::FileWrite.value(), ..read("/etc/shadow") };
    assert_eq!(decide(rules(), &write).verdict, Action::Pass);
    let exec = Event::new(Act::Exec).with(Fact::Path, Value::Text(b"/etc/shadow".into()));
    assert_eq!(decide(rules(), &exec).verdict, Action::Pass);
}

#[test]
fn the_strongest_action_in_force_wins_and_all_rules_are_told() {
    let every = || clause(READ, Vec::new());
    let audited = Rule { mode: Mode::Audit, ..rule(Action::Kill, every()) };
    let rules = vec![rule(Action::Alert, every()), rule(Action::Block, every()), audited];
    let decision = decide(rules, &read("/a"));
    assert_eq!((decision.verdict, decision.would), (Action::Block, Action::Kill));
    assert_eq!(decision.told, [1, 2, 0]);
}

#[test]
fn the_agents_audit_mode_lets_everything_through_but_still_tells() {
    let rules = vec![rule(Action::Kill, clause(READ, Vec::new()))];
    let decision = run::decide(&image(rules), &read("/a"), Mode::Audit);
    assert_eq!((decision.verdict, decision.would), (Action::Pass, Action::Kill));
    assert_eq!((decision.errno, &decision.told[..]), (0, &[0][..]));
}

#[test]
fn an_exception_excuses_its_own_rule_only() {
    let mut excused = rule(Action::Kill, clause(READ, vec![path("/srv/**")]));
    excused.exceptions = vec![
        Clause { origin: 0, ..clause(READ, vec![path("/srv/other")]) },
        Clause { origin: 1, ..clause(READ, vec![path("/srv/a")]) },
    ];
    let other = rule(Action::Alert, clause(READ, vec![path("/srv/**")]));
    let decision = decide(vec![excused, other], &read("/srv/a"));
    assert_eq!(decision.verdict, Action::Alert);
    assert_eq!(decision.matched, [1]);
    assert_eq!(decision.excused, [Excused { rule: 0, exception: 1 }]);
}

#[test]
fn what_excuses_reading_does_not_excuse_an_open_for_reading_and_writing() {
    let acts = &[Act::FileRead, Act::FileWrite];
    let rules = |exception: &[Act]| {
        let mut rule = rule(Action::Block, clause(acts, vec![path("/srv/**")]));
        rule.exceptions = vec![clause(exception, Vec::new())];
        vec![rule]
    };
    let both = Event { act: READ_AND_WRITE, ..read("/srv/a") };
    assert_eq!(decide(rules(READ), &read("/srv/a")).verdict, Action::Pass);
    assert_eq!(decide(rules(READ), &both).verdict, Action::Block);
    assert_eq!(decide(rules(acts), &both).verdict, Action::Pass);
    // A rule about reading alone is not about the other half.
    let mut reading = rule(Action::Block, clause(READ, Vec::new()));
    reading.exceptions = vec![clause(READ, Vec::new())];
    assert_eq!(decide(vec![reading], &both).verdict, Action::Pass);
}

#[test]
fn a_fact_that_could_not_be_learned_is_decided_by_on_fault() {
    let unknown = Event::new(Act::FileRead).with(Fact::Path, Value::Unknown);
    for on_fault in [OnFault::Block, OnFault::Pass] {
        let wanted = if on_fault == OnFault::Block { Action::Block } else { Action::Pass };
        for literal in [path("/etc/*"), not(path("/etc/*"))] {
            let rule = Rule { on_fault, ..rule(Action::Block, clause(READ, vec![literal])) };
            assert_eq!(decide(vec![rule], &unknown).verdict, wanted, "{on_fault:?}");
        }
        // An exception that could not be judged must not open what `on_fault: block` keeps shut.
        let mut rule = Rule { on_fault, ..rule(Action::Block, clause(READ, Vec::new())) };
        rule.exceptions = vec![clause(READ, vec![path("/etc/*")])];
        assert_eq!(decide(vec![rule], &unknown).verdict, wanted, "{on_fault:?}");
        let ancestor = Test::Ancestor { patterns: vec![Pattern::Exact(b"/sbin/init".into())] };
        let literal = Literal { negated: false, test: ancestor };
        let event = Event { ancestors: Strings::Unknown, ..read("/a") };
        for literal in [literal.clone(), not(literal)] {
            let rule = Rule { on_fault, ..self::rule(Action::Block, clause(READ, vec![literal])) };
            assert_eq!(decide(vec![rule], &event).verdict, wanted, "{on_fault:?}");
        }
    }
}

#[test]
fn an_absent_fact_passes_no_test_and_every_negated_one() {
    let absent = Event::new(Act::FileRead);
    for (literal, wanted) in [(path("**"), Action::Pass), (not(path("**")), Action::Block)] {
        let rules = vec![rule(Action::Block, clause(READ, vec![literal]))];
        assert_eq!(decide(rules, &absent).verdict, wanted);
    }
    let rules = vec![rule(Action::Block, clause(READ, vec![path("**")]))];
    assert_eq!(decide(rules, &read("")).verdict, Action::Block);
}

#[test]
fn a_rule_without_tests_in_a_family_of_one_act_is_about_every_such_act() {
    let rules = vec![rule(Action::Block, clause(&[Act::Exec], Vec::new()))];
    let decision = decide(rules, &Event::new(Act::Exec));
    assert_eq!((decision.verdict, decision.clauses.len()), (Action::Block, 1));
}

#[test]
fn ancestors_and_arguments_are_tested_one_by_one() {
    let test = |patterns: &[&str]| {
        patterns.iter().map(|glob| Pattern::Glob((*glob).to_owned())).collect::<Vec<_>>()
    };
    let ancestor =
        Literal { negated: false, test: Test::Ancestor { patterns: test(&["**/sshd"]) } };
    let argument = Literal { negated: true, test: Test::Argument { patterns: test(&["--safe"]) } };
    let acts = &[Act::ExecArgs];
    let rules = || vec![rule(Action::Kill, clause(acts, vec![ancestor.clone(), argument.clone()]))];
    let event = |ancestors: &[&str], args: &[&str]| {
        let strings = |all: &[&str]| {
            Strings::Known(all.iter().map(|text| text.as_bytes().to_vec()).collect())
        };
        Event { ancestors: strings(ancestors), args: strings(args), ..Event::new(Act::ExecArgs) }
    };
    let verdict = |event: &Event| decide(rules(), event).verdict;
    assert_eq!(verdict(&event(&["/bin/sh", "/usr/sbin/sshd"], &["-c"])), Action::Kill);
    assert_eq!(verdict(&event(&["/bin/sh", "/usr/sbin/sshd"], &["-c", "--safe"])), Action::Pass);
    assert_eq!(verdict(&event(&["/bin/sh"], &["-c"])), Action::Pass);
    assert_eq!(verdict(&event(&[], &[])), Action::Pass);
}

#[test]
fn more_rules_than_are_told_still_decide() {
    let rules = (0..300).map(|_| rule(Action::Alert, clause(READ, Vec::new())));
    let rules = rules.chain([rule(Action::Block, clause(READ, vec![path("/a")]))]).collect();
    let decision = decide(rules, &read("/a"));
    assert_eq!(decision.verdict, Action::Block);
    assert_eq!(decision.told.len(), RULES_TOLD);
    assert_eq!(decision.told[0], 300, "the rule that refuses is told first");
    assert_eq!(decision.matched.len(), 301);
}

#[test]
fn a_loop_that_runs_out_with_enforcing_clauses_left_blocks() {
    let excused = |path: &str| {
        let mut rule = rule(Action::Block, clause(READ, Vec::new()));
        rule.exceptions = vec![clause(READ, vec![self::path(path)])];
        rule
    };
    // Each takes two steps: more steps than there are, and not one rule that matches.
    let rules: Vec<Rule> = (0..400).map(|_| excused("/a")).collect();
    let decision = decide(rules, &read("/a"));
    assert!(decision.exhausted);
    assert!(decision.matched.is_empty());
    assert_eq!((decision.verdict, decision.errno), (Action::Block, 1));
    let alerts: Vec<Rule> =
        (0..600).map(|_| rule(Action::Alert, clause(READ, Vec::new()))).collect();
    let decision = decide(alerts, &read("/a"));
    assert!(decision.exhausted);
    assert_eq!(decision.verdict, Action::Alert);
}

#[test]
fn a_label_that_a_long_path_can_no_longer_change_needs_no_end_of_it() {
    let rules = || vec![rule(Action::Block, clause(READ, vec![path("/srv/**")]))];
    let long = |head: &str| read(&format!("{head}/{}", "x".repeat(5_000)));
    assert_eq!(decide(rules(), &long("/srv")).verdict, Action::Block);
    assert_eq!(decide(rules(), &long("/opt")).verdict, Action::Pass);
    let ends = vec![Rule {
        on_fault: OnFault::Block,
        ..rule(Action::Block, clause(READ, vec![path("**/id_rsa")]))
    }];
    assert_eq!(decide(ends, &long("/opt")).verdict, Action::Block, "too long to be known");
}

#[test]
fn the_last_rule_decides_however_many_words_of_its_block_have_clauses() {
    for count in [1usize, 63, 64, 65, 128, 129, 192, 193, 255, 256, 257, 320, 512, 513] {
        let rules: Vec<Rule> = (0..count)
            .map(|number| {
                rule(Action::Block, clause(READ, vec![path(&format!("/secret/{number}"))]))
            })
            .collect();
        let image = image(rules);
        for number in [0, count / 2, count - 1] {
            let event = read(&format!("/secret/{number}"));
            let decision = run::decide(&image, &event, Mode::Enforce);
            assert_eq!(decision.verdict, Action::Block, "{number} of {count}");
        }
        let other = run::decide(&image, &read("/secret/x"), Mode::Enforce);
        assert_eq!(other.verdict, Action::Pass, "{count}");
    }
}
