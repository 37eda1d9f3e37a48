//! A monotonic clock that includes the time for which the machine was suspended.
//!
//! The runtime's clock is CLOCK_MONOTONIC, which stops when the machine is suspended or hibernates. A
//! database on another machine runs on and gives the leases to other relays. CLOCK_BOOTTIME counts that time
//! (clock_gettime(2)), so the ends of leases are moments of this clock. If the host of a virtual machine
//! stops both clocks, nothing shows it.

use tokio::time::Instant;

/// The present moment: the runtime's clock plus the time for which the machine was suspended.
pub(crate) fn now() -> Instant {
    Instant::now() + suspended()
}

/// Converts a moment of the runtime's clock, which was read just now.
pub(crate) fn of_runtime(moment: Instant) -> Instant {
    moment + suspended()
}

/// Converts to a moment of the runtime's clock, if the machine is not suspended before it.
pub(crate) fn to_runtime(moment: Instant) -> Instant {
    moment.checked_sub(suspended()).unwrap_or(moment)
}

#[cfg(not(any(target_os = "linux", target_os = "android")))]
fn suspended() -> std::time::Duration {
    std::time::Duration::ZERO
}

#[cfg(any(target_os = "linux", target_os = "android"))]
use linux::suspended;

/// Tests suspend the machine for their own thread.
#[cfg(test)]
pub(crate) use linux::suspend;

#[cfg(any(target_os = "linux", target_os = "android"))]
mod linux {
    use std::sync::atomic::{AtomicU64, Ordering};
    use std::time::Duration;

    use rustix::time::{ClockId, clock_gettime};

    /// Readings of the clocks that are further apart do not show their difference.
    const MAX_GAP: Duration = Duration::from_millis(5);
    /// The difference of the clocks that may occur without a suspension, in nanoseconds.
    const LEAST: u64 = 50_000_000;

    /// The first difference of the clocks and the greatest since, in nanoseconds. 0: not read yet.
    static FIRST: AtomicU64 = AtomicU64::new(0);
    static LAST: AtomicU64 = AtomicU64::new(0);

    fn read(clock: ClockId) -> Duration {
        let time = clock_gettime(clock);
        let seconds = u64::try_from(time.tv_sec).unwrap_or_default();
        Duration::new(seconds, u32::try_from(time.tv_nsec).unwrap_or_default())
    }

    /// How far CLOCK_BOOTTIME is ahead, if both were read at about the same time.
    fn difference() -> Option<u64> {
        let before = read(ClockId::Monotonic);
        let boot = read(ClockId::Boottime);
        let after = read(ClockId::Monotonic);
        if after - before > MAX_GAP {
            return None;
        }
        // The addend keeps it positive: in a time namespace CLOCK_BOOTTIME may be behind.
        let ahead = boot + Duration::from_secs(1 << 32) - before;
        u64::try_from(ahead.as_nanos()).ok()
    }

    /// How long the machine was suspended since the first call.
    pub(super) fn suspended() -> Duration {
        let now = difference();
        let first = match FIRST.load(Ordering::Relaxed) {
            0 => {
                let first = now.unwrap_or_default();
                let set = FIRST.compare_exchange(0, first, Ordering::Relaxed, Ordering::Relaxed);
                set.map_or_else(|other| other, |_| first)
            }
            first => first,
        };
        let ahead = now.unwrap_or_default().saturating_sub(first);
        let known = LAST.load(Ordering::Relaxed);
        if first != 0 && ahead > known + LEAST {
            LAST.fetch_max(ahead, Ordering::Relaxed);
        }
        Duration::from_nanos(LAST.load(Ordering::Relaxed)) + of_thread()
    }

    #[cfg(not(test))]
    const fn of_thread() -> Duration {
        Duration::ZERO
    }

    #[cfg(test)]
    use tests::of_thread;
    #[cfg(test)]
    pub(crate) use tests::suspend;

    #[cfg(test)]
    mod tests {
        use std::cell::Cell;
        use std::time::Duration;

        use super::super::{now, of_runtime, to_runtime};

        thread_local! {
            static OF_THREAD: Cell<Duration> = const { Cell::new(Duration::ZERO) };
        }

        pub(super) fn of_thread() -> Duration {
            OF_THREAD.get()
        }

        pub(crate) fn suspend(time: Duration) {
            OF_THREAD.set(OF_THREAD.get() + time);
        }

        #[tokio::test(start_paused = true)]
        async fn the_clock_advances_while_the_machine_is_suspended() {
            let minute = Duration::from_secs(60);
            let began = now();
            assert_eq!(to_runtime(of_runtime(began)), began);
            tokio::time::advance(minute).await;
            assert_eq!(now() - began, minute);
            suspend(minute);
            assert_eq!(now() - began, 2 * minute);
            assert_eq!(tokio::time::Instant::now() - to_runtime(began), 2 * minute);
        }

        #[test]
        fn nothing_is_counted_while_the_machine_runs() {
            let before = super::suspended();
            std::thread::sleep(Duration::from_millis(20));
            assert_eq!(super::suspended(), before);
        }
    }
}
