//! When the routing folder is to be loaded, decided from what was seen of it. Pure.
//!
//! Owns the rule that a folder is loaded when two successive looks see the same: somebody may be writing it.

use std::time::{Duration, Instant};

/// A folder that was refused is loaded again after this time: a secret or a certificate that it names may have come since.
const TRY_AGAIN: Duration = Duration::from_secs(60);

/// What follows from a look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It is as it was when it was loaded or refused.
    Same,
    /// It has changed, and may be changing still.
    Changing,
    /// It has changed, and two looks saw the same: load it.
    Load,
    /// It is again what is in force, after something else was refused.
    Restored,
}

/// The looks so far. `F` tells the contents of two folders apart.
#[derive(Debug)]
pub(super) struct Looks<F> {
    in_force: F,
    refused: Option<(F, Instant)>,
    last: F,
}

impl<F: Copy + PartialEq> Looks<F> {
    /// This is in force.
    pub(super) fn new(in_force: F) -> Self {
        Self { in_force, refused: None, last: in_force }
    }

    /// What follows from this look, at this time.
    pub(super) fn see(&mut self, seen: F, now: Instant) -> Verdict {
        let settled = std::mem::replace(&mut self.last, seen) == seen;
        match &self.refused {
            Some((refused, at)) if *refused == seen => {
                let is_due = settled && now.duration_since(*at) >= TRY_AGAIN;
                if is_due { Verdict::Load } else { Verdict::Same }
            }
            None if seen == self.in_force => Verdict::Same,
            _ if !settled => Verdict::Changing,
            Some(_) if seen == self.in_force => {
                self.refused = None;
                Verdict::Restored
            }
            _ => Verdict::Load,
        }
    }

    /// Whether it was the last to be loaded, or is what there was at the start.
    pub(super) fn is_in_force(&self, seen: F) -> bool {
        self.in_force == seen
    }

    /// It was loaded.
    pub(super) fn loaded(&mut self, seen: F) {
        (self.in_force, self.refused) = (seen, None);
    }

    /// It was refused.
    pub(super) fn refused(&mut self, seen: F, now: Instant) {
        self.refused = Some((seen, now));
    }

    /// Whether what was seen last is neither in force nor refused, or a refused folder is due again: it has to be read.
    pub(super) fn is_open(&self, now: Instant) -> bool {
        match &self.refused {
            Some((refused, at)) => self.last != *refused || now.duration_since(*at) >= TRY_AGAIN,
            None => self.last != self.in_force,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_is_loaded_when_two_looks_see_the_same_and_only_then() {
        let now = Instant::now();
        let mut looks = Looks::new(0);
        let seen = [0, 1, 2, 2].map(|seen| looks.see(seen, now));
        assert_eq!(seen, [Verdict::Same, Verdict::Changing, Verdict::Changing, Verdict::Load]);
        looks.loaded(2);
        assert_eq!(
            [2, 3, 2, 2].map(|seen| looks.see(seen, now)),
            [Verdict::Same, Verdict::Changing, Verdict::Same, Verdict::Same]
        );
    }

    #[test]
    fn a_refused_folder_is_left_alone_until_it_changes_or_a_minute_has_passed() {
        let now = Instant::now();
        let mut looks = Looks::new(0);
        assert_eq!([1, 1].map(|seen| looks.see(seen, now)), [Verdict::Changing, Verdict::Load]);
        looks.refused(1, now);
        assert_eq!((looks.see(1, now), looks.is_open(now)), (Verdict::Same, false));
        let later = now + TRY_AGAIN;
        assert!(looks.is_open(later));
        assert_eq!(looks.see(1, later), Verdict::Load);
        looks.refused(1, later);
        assert_eq!([2, 2].map(|seen| looks.see(seen, later)), [Verdict::Changing, Verdict::Load]);
    }

    #[test]
    fn a_folder_that_is_put_back_is_restored_and_not_loaded() {
        let now = Instant::now();
        let mut looks = Looks::new(0);
        looks.see(1, now);
        looks.refused(1, now);
        let seen = [0, 0, 0].map(|seen| looks.see(seen, now));
        assert_eq!(seen, [Verdict::Changing, Verdict::Restored, Verdict::Same]);
    }
}
