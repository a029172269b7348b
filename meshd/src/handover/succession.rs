//! How soon one meshd follows another, and the end of two that take over from each other without end.
//!
//! Two supervisors that restart their meshd whenever it ends, with one `region.path`, would go on for ever: each
//! start takes over, and the end of the other one is the next start. An upgrade looks the same from hand-over to
//! hand-over, whatever is compared, since two containers may have one name, one configuration and one control
//! group, and two instances of one unit may not. The number of hand-overs tells them apart. So it is carried along:
//! after [`IN_A_ROW_MAX`] hand-overs, each within [`SHORT`] of the one before, the owner keeps the region until
//! nobody has asked for it for as long. Whoever is restarted asks all the time.

use std::fmt;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Hand-overs in a row; upgrades of one host seldom come closer than [`SHORT`], let alone so many of them.
const IN_A_ROW_MAX: u32 = 8;

/// A meshd that is taken over sooner than this after it took over has had a short stay.
const SHORT: Duration = Duration::from_secs(60);

/// One meshd, as another one names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Party {
    /// Its `node.name`; empty for one of an older version.
    pub node: String,
    /// Its process, if that can be seen from here.
    pub pid: Option<u32>,
}

impl fmt::Display for Party {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &*self.node {
            "" => f.write_str("a meshd of an older version")?,
            node => write!(f, "meshd {}", node.escape_debug())?,
        }
        self.pid.map_or(Ok(()), |pid| write!(f, " (process {pid})"))
    }
}

/// How this meshd came to own the region, if from another one.
#[derive(Clone, Debug)]
pub struct TakenOver {
    /// From whom.
    pub from: Party,
    /// When.
    pub at: Instant,
    /// How many hand-overs in a row there have been by then, each soon after the one before.
    pub in_a_row: u32,
}

impl TakenOver {
    /// How long this meshd has owned the region, if that is short.
    fn short_stay(&self, now: Instant) -> Option<Duration> {
        let stay = now.saturating_duration_since(self.at);
        (stay < SHORT).then_some(stay)
    }
}

/// What one owner knows of those before it and after it.
#[derive(Debug)]
pub struct Succession {
    own: Party,
    taken_over: Option<TakenOver>,
    refused: Mutex<Refused>,
}

#[derive(Debug, Default)]
struct Refused {
    /// When somebody asked last and was refused.
    last: Option<Instant>,
    /// When that was logged last.
    logged: Option<Instant>,
}

/// The owner keeps the region.
#[derive(Debug, PartialEq, Eq)]
pub struct Kept {
    /// Why, with both names and the way out.
    pub reason: String,
    /// Whether it is time to log it.
    pub is_news: bool,
}

impl Succession {
    /// That of the meshd with this `node.name`.
    pub fn new(node: &str, taken_over: Option<TakenOver>) -> Self {
        let own = Party {
            node: node.to_owned(),
            pid: Some(std::process::id()),
        };
        Self {
            own,
            taken_over,
            refused: Mutex::default(),
        }
    }

    /// This meshd.
    pub const fn own(&self) -> &Party {
        &self.own
    }

    /// How many hand-overs in a row there will have been with one at this time.
    pub fn with_another(&self, now: Instant) -> u32 {
        let before = self
            .taken_over
            .as_ref()
            .filter(|taken_over| taken_over.short_stay(now).is_some());
        before.map_or(1, |before| before.in_a_row.saturating_add(1))
    }

    /// Whether the newcomer may take over.
    ///
    /// # Errors
    ///
    /// [`Kept`], when there were too many hand-overs in a row and somebody still asks all the time.
    pub fn admit(&self, newcomer: &Party, now: Instant) -> Result<(), Kept> {
        let Some(taken_over) = &self.taken_over else {
            return Ok(());
        };
        // Each field is right by itself.
        let mut refused = self.refused.lock().unwrap_or_else(PoisonError::into_inner);
        let quiet_since = refused
            .last
            .map_or(taken_over.at, |at| at.max(taken_over.at));
        let is_quiet = now.saturating_duration_since(quiet_since) >= SHORT;
        if taken_over.in_a_row < IN_A_ROW_MAX || is_quiet {
            return Ok(());
        }
        refused.last = Some(now);
        let is_news = refused
            .logged
            .is_none_or(|at| now.saturating_duration_since(at) >= SHORT);
        if is_news {
            refused.logged = Some(now);
        }
        let reason = format!(
            "there were {} hand-overs in a row, each within a minute of the one before; {} took over from {} last, and \
             {newcomer} asks now. If supervisors restart both, stop one of them or give it its own region.path; \
             {} hands over again when nobody has asked for a minute",
            taken_over.in_a_row, self.own, taken_over.from, self.own
        );
        Err(Kept { reason, is_news })
    }

    /// What is to be said when this meshd was taken over soon after it took over.
    pub fn short_stay(&self, successor: &Party, now: Instant) -> Option<String> {
        let taken_over = self.taken_over.as_ref()?;
        let stay = taken_over.short_stay(now)?;
        Some(format!(
            "{} took over from {} and was itself taken over by {successor} {:.1} s later ({} hand-overs in a row): if \
             supervisors restart both, stop one of them or give it its own region.path",
            self.own,
            taken_over.from,
            stay.as_secs_f64(),
            self.with_another(now)
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn party(node: &str) -> Party {
        Party {
            node: node.to_owned(),
            pid: Some(7),
        }
    }

    fn after(in_a_row: u32, at: Instant) -> Succession {
        let from = party("edge-a");
        Succession::new("edge-b", Some(TakenOver { from, at, in_a_row }))
    }

    #[test]
    fn hand_overs_are_in_a_row_while_each_is_soon_after_the_one_before() {
        let now = Instant::now();
        assert_eq!(Succession::new("edge-b", None).with_another(now), 1);
        assert_eq!(after(5, now).with_another(now + SHORT / 2), 6);
        assert_eq!(after(5, now).with_another(now + SHORT), 1);
        assert_eq!(after(u32::MAX, now).with_another(now), u32::MAX);
    }

    #[test]
    fn after_too_many_the_owner_stays_until_nobody_has_asked_for_a_while() {
        let begin = Instant::now();
        let at = |seconds| begin + Duration::from_secs(seconds);
        let newcomer = party("edge-a");
        assert_eq!(
            after(IN_A_ROW_MAX - 1, begin).admit(&newcomer, at(1)),
            Ok(())
        );
        assert_eq!(after(IN_A_ROW_MAX, begin).admit(&newcomer, at(60)), Ok(()));

        let owner = after(IN_A_ROW_MAX, begin);
        let mut logged = 0;
        for second in 1..=200 {
            let kept = owner.admit(&newcomer, at(second)).unwrap_err();
            logged += u32::from(kept.is_news);
            for part in ["meshd edge-a (process 7)", "meshd edge-b", "region.path"] {
                assert!(kept.reason.contains(part), "no {part} in {}", kept.reason);
            }
        }
        assert_eq!(logged, 4, "once a minute");
        assert!(owner.admit(&newcomer, at(259)).is_err());
        assert_eq!(owner.admit(&newcomer, at(319)), Ok(()));
    }

    #[test]
    fn a_short_stay_is_told_with_both_names_and_a_long_one_is_not() {
        let begin = Instant::now();
        let owner = after(1, begin);
        let told = owner
            .short_stay(&party("edge-a"), begin + SHORT / 2)
            .unwrap();
        assert!(told.contains("meshd edge-a (process 7)"), "{told}");
        assert!(told.contains("meshd edge-b (process "), "{told}");
        assert_eq!(owner.short_stay(&party("edge-a"), begin + SHORT), None);
        let first = Succession::new("edge-b", None);
        assert_eq!(first.short_stay(&party("edge-a"), begin), None);
    }

    #[test]
    fn a_name_from_elsewhere_cannot_break_a_line_of_the_log() {
        let name = party("a\nb").to_string();
        assert_eq!(name, "meshd a\\nb (process 7)");
        let older = Party {
            node: String::new(),
            pid: None,
        };
        assert_eq!(older.to_string(), "a meshd of an older version");
    }
}
