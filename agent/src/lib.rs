//! The interdict agent.
