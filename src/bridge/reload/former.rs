//! What was in force before, until nobody else has it.

use std::sync::Arc;

/// Keeps values until their last user has let go, so that it does not have to free them: whoever calls
/// [`free`](Self::free) does.
#[derive(Debug)]
pub(super) struct Former<T>(Vec<Arc<T>>);

impl<T> Former<T> {
    pub(super) fn new() -> Self {
        Self(Vec::new())
    }

    pub(super) fn push(&mut self, value: Arc<T>) {
        self.0.push(value);
    }

    /// Frees what nobody else has. Whether some are left.
    pub(super) fn free(&mut self) -> bool {
        // Nobody can share one again that has no other user.
        self.0.retain(|value| Arc::strong_count(value) > 1);
        !self.0.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use std::{
        sync::mpsc,
        thread::{self, ThreadId},
    };

    use super::*;

    struct Large(mpsc::Sender<ThreadId>);

    impl Drop for Large {
        fn drop(&mut self) {
            let _ = self.0.send(thread::current().id());
        }
    }

    #[test]
    fn it_is_freed_here_when_its_last_user_lets_go_elsewhere() {
        let (sender, freed) = mpsc::channel();
        let used = Arc::new(Large(sender));
        let mut former = Former::new();
        former.push(Arc::clone(&used));
        assert!(former.free(), "it is used");
        thread::spawn(move || drop(used)).join().unwrap();
        assert!(freed.try_recv().is_err(), "its user did not free it");
        assert!(!former.free());
        assert_eq!(freed.try_recv(), Ok(thread::current().id()));
    }
}
