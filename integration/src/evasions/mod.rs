//! The evasion suite: a program with a technique per subcommand (`evasion/`), tried in guests.
//!
//! [`policy`] protects what the techniques are after, with every act of the language that this version decides.
//! [`ground`] is the guest, [`observe`] boots it and answers what every technique came to and what was told of it.
//! [`open`] lists the techniques that are not refused, with the reason; `SECURITY.md` shows the same list.

pub mod ground;
pub mod observe;
pub mod open;
pub mod policy;
pub mod tried;
