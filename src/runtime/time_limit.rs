//! The time limit of work that our users have written.

use std::time::Duration;

/// Parts in which a time limit passes.
const PARTS: u32 = 5;

/// Waits until a time limit has passed, and returns it; pending if there is none. Time in which the whole process
/// stood still (SIGSTOP, a frozen container, a paused machine) counts as one part at most, so that work is not
/// blamed for it when the process goes on.
pub(crate) async fn passed(limit: Option<Duration>) -> Duration {
    let Some(limit) = limit else {
        return std::future::pending().await;
    };
    for _ in 0..PARTS {
        tokio::time::sleep(limit / PARTS).await;
    }
    limit
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;

    const LIMIT: Duration = Duration::from_millis(250);

    #[tokio::test]
    async fn a_time_limit_passes_once_it_is_reached() {
        let began = Instant::now();
        assert_eq!(passed(Some(LIMIT)).await, LIMIT);
        assert!(began.elapsed() >= LIMIT, "{:?}", began.elapsed());
    }

    #[tokio::test]
    async fn a_standstill_counts_as_a_part() {
        let mut limit = std::pin::pin!(passed(Some(LIMIT)));
        let begun = tokio::time::timeout(Duration::ZERO, &mut limit).await;
        assert!(begun.is_err());
        // No timer runs in the meantime, as in a process that stands still.
        std::thread::sleep(2 * LIMIT);
        let goes_on = Instant::now();
        limit.await;
        assert!(goes_on.elapsed() >= LIMIT / 2, "{:?}", goes_on.elapsed());
    }
}
