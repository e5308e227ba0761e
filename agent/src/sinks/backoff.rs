//! How long to wait before trying again: doubling with full jitter, and never less than the receiver asked for.

use std::time::Duration;

use crate::config::Retry;

/// Longest wait a receiver may ask for: a hostile `Retry-After` must not silence a sink for ever.
const ASKED_MAX: Duration = Duration::from_secs(3_600);

/// Failures in a row and the waits they make.
#[derive(Debug)]
pub(super) struct Backoff {
    retry: Retry,
    failures: u32,
}

impl Backoff {
    pub(super) fn new(retry: Retry) -> Self {
        Self { retry, failures: 0 }
    }

    pub(super) fn failures(&self) -> u32 {
        self.failures
    }

    pub(super) fn success(&mut self) {
        self.failures = 0;
    }

    /// Counts a failure and says how long to wait. `random` is uniform over its type.
    pub(super) fn failure(&mut self, asked: Option<Duration>, random: u32) -> Duration {
        let doubled = self.retry.first.saturating_mul(1 << self.failures.min(20));
        let ceiling = doubled.min(self.retry.max);
        self.failures = self.failures.saturating_add(1);
        // Between half of it and all of it: enough to spread a fleet, never near zero.
        let half = ceiling / 2;
        let jitter = half.mul_f64(f64::from(random) / f64::from(u32::MAX));
        (half + jitter).max(asked.unwrap_or_default().min(ASKED_MAX))
    }
}

/// Uniform bits.
pub(super) fn random() -> u32 {
    let mut bytes = [0; 4];
    // Without randomness there is no jitter, which is no reason not to retry.
    let _filled = aws_lc_rs::rand::fill(&mut bytes);
    u32::from_le_bytes(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    const RETRY: Retry =
        Retry { first: Duration::from_millis(100), max: Duration::from_secs(10), down_after: 3 };

    #[test]
    fn waits_double_up_to_the_longest_and_start_over_after_success() {
        let mut backoff = Backoff::new(RETRY);
        let waits: Vec<u128> =
            (0..9).map(|_| backoff.failure(None, u32::MAX).as_millis()).collect();
        assert_eq!(waits, [100, 200, 400, 800, 1_600, 3_200, 6_400, 10_000, 10_000]);
        backoff.success();
        assert_eq!(backoff.failure(None, 0).as_millis(), 50);
    }

    #[test]
    fn a_receiver_may_ask_for_more_but_not_for_ever() {
        let mut backoff = Backoff::new(RETRY);
        assert_eq!(backoff.failure(Some(Duration::from_secs(30)), 0).as_secs(), 30);
        assert_eq!(backoff.failure(Some(Duration::from_secs(1 << 40)), 0), ASKED_MAX);
    }
}
