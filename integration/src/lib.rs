//! Shared parts of the guest tests.
