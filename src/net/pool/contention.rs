//! The contention of a pool: how many commands use it at the same time.

/// The number of recent commands that the moving average covers, about.
const WINDOW: u32 = 32;
/// The weight of one other command in the average.
const UNIT: u32 = 1024;
/// A pool becomes contended when a command finds more than 1.8 others on average. Eight threads that share three nodes
/// exceed that, four do not.
const ENTER: u32 = 9 * UNIT / 5;
/// A pool stays contended until a command finds fewer than half as many. A thread that has just been woken is not
/// counted, although its command would be in flight if it had a connection of its own.
const EXIT: u32 = ENTER / 2;

/// A moving average of how many other commands a new command finds at its pool, and what follows from it: a contended
/// pool combines commands into batches.
#[derive(Debug, Default)]
pub(super) struct Contention {
    /// In units of [`UNIT`].
    average: u32,
    is_contended: bool,
}

impl Contention {
    #[inline]
    pub(super) fn is_contended(&self) -> bool {
        self.is_contended
    }

    /// Whether the last commands have found no others at all.
    #[inline]
    pub(super) fn is_zero(&self) -> bool {
        self.average == 0
    }

    /// Records that a command has found this number of others.
    pub(super) fn record(&mut self, others: u32) {
        // Rounded up, so that the average reaches 0 where commands find no others.
        self.average -= self.average.div_ceil(WINDOW);
        self.average += others * UNIT / WINDOW;
        self.is_contended = self.average > if self.is_contended { EXIT } else { ENTER };
    }

    /// Makes the pool contended, as if each command had found this number of others.
    pub(super) fn force(&mut self, others: u32) {
        self.average = others * UNIT;
        self.is_contended = true;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The number of commands that find `others` until the pool is contended, or not contended; at most 1000.
    fn commands(contention: &mut Contention, others: u32, contended: bool) -> Option<usize> {
        (0..1000).find(|_| {
            contention.record(others);
            contention.is_contended() == contended
        })
    }

    #[test]
    fn contention_ends_only_below_exit_threshold() {
        let mut contention = Contention::default();
        assert_eq!(commands(&mut contention, 1, true), None);
        assert!(commands(&mut contention, 2, true).is_some_and(|n| n > WINDOW as usize));
        assert_eq!(commands(&mut contention, 1, false), None);
        assert!(commands(&mut contention, 0, false).is_some());
        assert_eq!(commands(&mut contention, 1, true), None);
        assert_eq!(commands(&mut contention, 0, true), None);
        assert!(
            contention.is_zero(),
            "the average reaches 0 without other commands"
        );
    }
}
