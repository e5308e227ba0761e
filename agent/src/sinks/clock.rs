//! The clock of the runner, behind a trait, so that a test can let an hour of retries pass at once.

use std::{fmt, future::Future, pin::Pin, time::Duration};

use tokio::time::Instant;

/// A clock that only goes forward.
pub trait Clock: Send + Sync + fmt::Debug {
    /// Time since some moment.
    fn now(&self) -> Duration;
    /// Waits.
    fn sleep(&self, pause: Duration) -> Pin<Box<dyn Future<Output = ()> + Send>>;
}

/// The runtime's clock.
#[derive(Debug)]
pub struct RuntimeClock(Instant);

impl Default for RuntimeClock {
    fn default() -> Self {
        Self(Instant::now())
    }
}

impl Clock for RuntimeClock {
    fn now(&self) -> Duration {
        self.0.elapsed()
    }
    fn sleep(&self, pause: Duration) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        Box::pin(tokio::time::sleep(pause))
    }
}
