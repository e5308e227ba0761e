//! What a rule on flows comes to for packets.
//!
//! Not everything that leaves a host passes a hook that knows the process: connections of before, sockets the kernel
//! sends from by itself, headers a program writes. So a rule that refuses `net.connect` or `net.send` by addresses alone
//! is also one on the packets of such flows. A rule that asks for more than a packet shows stays with the process: an
//! exception that could not be judged would otherwise be ignored.

use interdict_abi::ids::{Act, Action, Fact, Family};

use crate::ir::{Clause, Rule, Test};

/// Acts on flows and the packets they come to.
const PACKETS: [(Act, Act); 2] =
    [(Act::NetConnect, Act::PacketConnect), (Act::NetSend, Act::PacketOut)];

/// Adds the clauses on packets to a rule. Answers the names of the acts they are about.
pub(super) fn add(rule: &mut Rule) -> Vec<String> {
    if rule.action < Action::Block || !rule.narrowed.is_empty() {
        return Vec::new();
    }
    let mut names = Vec::new();
    for (flow, packet) in PACKETS {
        let about =
            |clause: &&Clause| clause.family == Family::Net && clause.acts & flow.bit() != 0;
        if !rule.exceptions.iter().filter(about).all(shown) {
            continue;
        }
        let derive = |clauses: &[Clause]| -> Vec<Clause> {
            clauses
                .iter()
                .filter(about)
                .filter(|clause| shown(clause))
                .map(|clause| Clause {
                    family: Family::Packet,
                    acts: packet.bit(),
                    ..clause.clone()
                })
                .collect()
        };
        let clauses = derive(&rule.clauses);
        if clauses.is_empty() {
            continue;
        }
        let exceptions = derive(&rule.exceptions);
        rule.clauses.extend(clauses);
        rule.exceptions.extend(exceptions);
        names.push(packet.name().to_owned());
    }
    names
}

/// Whether a packet shows all that a clause asks.
fn shown(clause: &Clause) -> bool {
    clause.literals.iter().all(|literal| match &literal.test {
        Test::Address { .. } => true,
        Test::Number { fact, .. } => {
            matches!(fact, Fact::RemotePort | Fact::Protocol | Fact::AddressFamily)
        }
        Test::Text { .. }
        | Test::Flags { .. }
        | Test::Capabilities { .. }
        | Test::Ancestor { .. }
        | Test::Argument { .. } => false,
    })
}

#[cfg(test)]
mod tests {
    use interdict_abi::ids::Mode;

    use super::*;
    use crate::ir::{Literal, OnFault, Pattern};

    fn address() -> Literal {
        let test = Test::Address {
            fact: Fact::RemoteIp,
            v4: vec![(1, 2)],
            v6: Vec::new(),
            from: Vec::new(),
        };
        Literal { negated: false, test }
    }

    fn program() -> Literal {
        let test =
            Test::Text { fact: Fact::Exe, patterns: vec![Pattern::Exact(b"/bin/sh".to_vec())] };
        Literal { negated: false, test }
    }

    fn clause(literals: Vec<Literal>) -> Clause {
        let acts = Act::NetConnect.bit() | Act::NetSend.bit();
        Clause { family: Family::Net, acts, literals, origin: 0 }
    }

    fn rule(action: Action, clauses: Vec<Clause>, exceptions: Vec<Clause>) -> Rule {
        Rule {
            id: "R".to_owned(),
            action,
            errno: 1,
            mode: Mode::Enforce,
            on_fault: OnFault::Pass,
            clauses,
            exceptions,
            narrowed: Vec::new(),
        }
    }

    #[test]
    fn a_rule_on_addresses_is_one_on_packets_too() {
        let mut rule = rule(Action::Block, vec![clause(vec![address()])], Vec::new());
        assert_eq!(add(&mut rule), ["packet.connect", "packet.out"]);
        assert_eq!(rule.clauses.len(), 3);
        assert!(rule.clauses[1..].iter().all(|clause| clause.family == Family::Packet));
    }

    #[test]
    fn only_the_alternatives_a_packet_shows_are_for_packets() {
        let clauses = vec![clause(vec![address(), program()]), clause(vec![address()])];
        let mut rule = rule(Action::Block, clauses, Vec::new());
        add(&mut rule);
        assert_eq!(rule.clauses.len(), 4);
    }

    #[test]
    fn an_exception_for_a_program_keeps_a_rule_away_from_packets() {
        let mut rule =
            rule(Action::Kill, vec![clause(vec![address()])], vec![clause(vec![program()])]);
        assert!(add(&mut rule).is_empty());
        assert_eq!(rule.clauses.len(), 1);
    }

    #[test]
    fn an_exception_for_an_address_excuses_packets_too() {
        let mut rule = rule(Action::Block, vec![clause(Vec::new())], vec![clause(vec![address()])]);
        assert_eq!(add(&mut rule).len(), 2);
        assert_eq!((rule.clauses.len(), rule.exceptions.len()), (3, 3));
    }

    #[test]
    fn what_is_only_told_is_told_where_the_process_is_known() {
        let mut rule = rule(Action::Alert, vec![clause(vec![address()])], Vec::new());
        assert!(add(&mut rule).is_empty());
    }
}
