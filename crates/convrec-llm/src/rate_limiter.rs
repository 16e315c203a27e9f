use std::num::NonZeroU32;
use std::time::Duration;

use governor::clock::{Clock, DefaultClock};
use governor::{DefaultDirectRateLimiter, Quota};

use crate::halt::Halt;
use crate::settings::ServerSettings;

/// Limits requests and tokens a minute.
#[derive(Debug)]
pub(crate) struct RateLimiter {
    requests: Option<Limit>,
    tokens: Option<Limit>,
}

#[derive(Debug)]
struct Limit {
    burst: NonZeroU32,
    limiter: DefaultDirectRateLimiter,
    clock: DefaultClock,
}

impl RateLimiter {
    pub fn new(settings: &ServerSettings) -> Self {
        Self {
            requests: settings.requests_per_minute.and_then(Limit::new),
            tokens: settings.tokens_per_minute.and_then(Limit::new),
        }
    }

    /// Waits until one more request of this many tokens may go out.
    pub fn wait(
        &self,
        tokens: u64,
        sleep: impl Fn(Duration) -> Result<(), Halt>,
    ) -> Result<(), Halt> {
        self.requests
            .iter()
            .try_for_each(|limit| limit.wait(1, &sleep))?;
        self.tokens
            .iter()
            .try_for_each(|limit| limit.wait(tokens, &sleep))
    }
}

impl Limit {
    /// A limiter that lets at most a tenth of a minute's worth go out at once. The first minute is
    /// then hardly fuller than the others.
    fn new(per_minute: u32) -> Option<Self> {
        let burst = NonZeroU32::new(per_minute.div_ceil(10))?;
        let limiter = governor::RateLimiter::direct(
            Quota::per_minute(NonZeroU32::new(per_minute)?).allow_burst(burst),
        );
        Some(Self {
            burst,
            limiter,
            clock: DefaultClock::default(),
        })
    }

    fn wait(&self, mut n: u64, sleep: &impl Fn(Duration) -> Result<(), Halt>) -> Result<(), Halt> {
        // A request of more tokens than go out at once takes several turns.
        while let Some(part) = NonZeroU32::new(n.min(u64::from(self.burst.get())) as u32) {
            match self
                .limiter
                .check_n(part)
                .expect("no part is larger than what goes out at once")
            {
                Ok(()) => n -= u64::from(part.get()),
                Err(early) => sleep(early.wait_time_from(self.clock.now()))?,
            }
        }
        Ok(())
    }
}
