//! Hits that are counted only if what is counted already admits them.

use super::Place;
use crate::window::Window;

/// Looks at a key's counts before hits are added to them, and says whether they may be.
///
/// The look and the adding are one step: if the count changes in between, the gate is asked again. So of
/// hits that come at once, no more are added than it admits or charges one after the other. What a gate writes down when
/// asked has to be true whether the hits are added or not.
pub trait Gate {
    /// Whether it admits everything without a look, as [`Open`] does.
    const IS_OPEN: bool;

    /// Whether hits may be added to such a count.
    fn admits(&self, tally: &Tally) -> bool;

    /// How many of the hits are added all the same where it does not admit them: a cost that was spent already.
    fn charges(&self, _: &Tally) -> u64 {
        0
    }
}

/// Admits everything: the hits are counted, whatever is counted already.
#[derive(Clone, Copy, Debug)]
pub struct Open;

impl Gate for Open {
    const IS_OPEN: bool = true;

    #[inline(always)]
    fn admits(&self, _: &Tally) -> bool {
        true
    }
}

/// What is counted for a key, here and by peers, less what was forgiven.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tally {
    /// The window that hits would land in.
    pub window: Window,
    /// Hits in it so far.
    pub current: u64,
    /// Hits in the window before it.
    pub previous: u64,
    /// Where they are counted; `None` when the key has no slot.
    pub slot: Option<Place>,
}
