//! How demand spreads over time.

/// When requests come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pace {
    /// Any time, by chance.
    Steady,
    /// By chance within bursts, so much faster that it is as many over all; between them none.
    Bursts {
        /// How long a burst is, microseconds; above 0.
        on_us: u64,
        /// How long it is quiet after it, microseconds.
        off_us: u64,
        /// How much later the bursts of each node are than those of the node before, microseconds; 0
        /// when all nodes have theirs at once.
        stagger_us: u64,
    },
}

impl Pace {
    /// The share of all time in which requests come, above 0 to 1.
    pub fn share(self) -> f64 {
        match self {
            Self::Steady => 1.0,
            Self::Bursts { on_us, off_us, .. } => on_us as f64 / (on_us + off_us) as f64,
        }
    }

    /// When so much time has passed since `now_us` at a node, the quiet between its bursts not counted.
    /// `now_us` is in time since the demand began, and so is the result; all in microseconds.
    pub fn after(self, now_us: u64, gap_us: u64, node: usize) -> u64 {
        match self {
            Self::Steady => now_us + gap_us,
            Self::Bursts {
                on_us,
                off_us,
                stagger_us,
            } => {
                let period_us = on_us + off_us;
                let late_us = (node as u64 * stagger_us) % period_us;
                // How far into a burst it is, or into the quiet after it.
                let place_us = (now_us + period_us - late_us) % period_us;
                let begin_us = now_us + period_us - place_us;
                let busy_us = place_us.min(on_us) + gap_us;
                begin_us + busy_us / on_us * period_us + busy_us % on_us - period_us
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BURSTS: Pace = Pace::Bursts {
        on_us: 100,
        off_us: 400,
        stagger_us: 200,
    };

    #[test]
    fn steady_demand_is_never_quiet() {
        assert_eq!(Pace::Steady.after(1_000, 7, 3), 1_007);
        assert!((Pace::Steady.share() - 1.0).abs() < f64::EPSILON);
    }

    #[test]
    fn the_quiet_between_bursts_does_not_count() {
        let after = |now_us, gap_us| BURSTS.after(now_us, gap_us, 0);
        assert_eq!([after(0, 30), after(30, 69)], [30, 99]);
        // Over one quiet, over three, and out of the middle of one.
        assert_eq!([after(90, 20), after(90, 215)], [510, 1_505]);
        assert_eq!(after(250, 20), 520);
        assert!((BURSTS.share() - 0.2).abs() < 1e-9);
    }

    #[test]
    fn bursts_of_one_node_come_after_those_of_the_node_before() {
        let first = |node| BURSTS.after(0, 1, node);
        // That of node 2 is at 400; that of node 3 at 600, and 500 before that at 100.
        assert_eq!([0, 1, 2, 3].map(first), [1, 201, 401, 101]);
    }
}
