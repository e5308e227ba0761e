//! What kind of column each fact has: said once, for who writes images and for who checks them.

use interdict_abi::ids::Fact;

use crate::dfa::Chains;

/// What a fact's column is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Expected {
    /// Strings, by an automaton of its own.
    Text,
    /// Programs, by the automaton that families share.
    Program,
    /// Small numbers, each with a row.
    Direct,
    /// Ranges of numbers.
    Ranges,
    /// Ranges of addresses.
    Addresses,
}

/// The column of a fact.
pub(crate) fn expected(fact: Fact) -> Expected {
    match fact {
        Fact::Path
        | Fact::Name
        | Fact::SecondPath
        | Fact::Comm
        | Fact::Cwd
        | Fact::DnsName
        | Fact::ContainerId
        | Fact::ContainerImage
        | Fact::ContainerName
        | Fact::Privileged
        | Fact::PodNamespace
        | Fact::Pod
        | Fact::PodLabels
        | Fact::ServiceAccount => Expected::Text,
        Fact::Exe | Fact::ParentExe | Fact::TargetExe => Expected::Program,
        Fact::Act | Fact::ObjectFlags | Fact::ProcessFlags | Fact::Reserved => Expected::Direct,
        Fact::RemoteIp | Fact::LocalIp => Expected::Addresses,
        Fact::ObjectMode
        | Fact::ObjectOwner
        | Fact::Uid
        | Fact::Euid
        | Fact::Gid
        | Fact::RemotePort
        | Fact::LocalPort
        | Fact::Protocol
        | Fact::AddressFamily
        | Fact::SocketType
        | Fact::Number
        | Fact::ArgCount
        | Fact::LoginUid
        | Fact::FsMagic
        | Fact::Device
        | Fact::Inode
        | Fact::Pid
        | Fact::StartAge
        | Fact::TargetUid
        | Fact::TargetPid
        | Fact::Argument0
        | Fact::Argument1
        | Fact::Argument2
        | Fact::Argument3
        | Fact::Argument4
        | Fact::Argument5
        | Fact::Result
        | Fact::Error
        | Fact::BytesIn
        | Fact::BytesOut
        | Fact::Duration => Expected::Ranges,
    }
}

/// What becomes of chains of states in the automaton of a fact: short strings are not read in pieces in the kernel, and
/// only a walk in pieces knows skips.
pub(crate) fn chains(fact: Fact) -> Chains {
    match (fact, expected(fact)) {
        (Fact::Name | Fact::Comm, _) => Chains::Tails,
        (_, Expected::Text | Expected::Program) => Chains::Skips,
        (_, Expected::Direct | Expected::Ranges | Expected::Addresses) => Chains::Rows,
    }
}
