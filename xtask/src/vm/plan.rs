//! What the host asks a guest to do, and what the guest answers: the two files both sides share.

use serde::{Deserialize, Serialize};

/// What the first process of a guest says first, on the console.
pub const BEGUN: &str = "guest: begins";

/// Where this program lies in the guest. Started under this name, it is the guest's first process.
pub const INIT: &str = "/usr/lib/guest/init";
/// Where the plan lies in the guest.
pub const PLAN: &str = "/usr/lib/guest/plan.json";
/// The answer, in the archive that the guest writes to its disk.
pub const ANSWER: &str = ".guest-answer.json";

/// What a guest is to do from start to end.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Plan {
    /// Kernel modules, as paths in the guest, in order.
    pub modules: Vec<String>,
    /// Run by the shell as root before the agent starts.
    pub before: Option<String>,
    /// Started and kept alive, waited for until it enforces.
    pub agent: Option<Agent>,
    /// What the guest is there for.
    pub command: Vec<String>,
    /// More environment for `before`, agent and command.
    pub environment: Vec<(String, String)>,
}

/// The agent as the guest's supervisor sees it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Agent {
    /// Program and arguments.
    pub command: Vec<String>,
    /// The file that says it enforces.
    pub ready: String,
    /// How long that may take.
    pub ready_within_seconds: u64,
}

/// How it went.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Answer {
    /// Exit status of the command, 128 and the signal if it was killed by one.
    pub status: Option<i32>,
    /// Why the command was not run, if it was not.
    pub error: Option<String>,
    /// Seconds since boot at which the guest had its file systems and modules.
    pub up_seconds: f64,
    /// Seconds since boot at which the agent was started.
    pub agent_started_seconds: Option<f64>,
    /// Seconds since boot at which the agent enforced.
    pub enforcing_seconds: Option<f64>,
    /// How often the agent had to be started again.
    pub agent_restarts: u32,
}
