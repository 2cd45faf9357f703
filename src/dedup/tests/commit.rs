use std::{
    path::PathBuf,
    sync::{
        Arc, Condvar, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Instant,
};

use tokio::{task::JoinSet, time::timeout};

use super::*;
use crate::dedup::commit::Committer;

const DELAY: Duration = Duration::from_millis(3);
const PATIENCE: Duration = Duration::from_secs(60);

/// A store that makes writes durable by a slow flush, and checks that flushes never overlap.
#[derive(Default)]
struct SlowStore {
    written: AtomicUsize,
    durable: AtomicUsize,
    flushes: AtomicUsize,
    flushing: AtomicBool,
}

impl SlowStore {
    fn flush(&self) {
        assert!(!self.flushing.swap(true, Ordering::SeqCst), "two flushes at once");
        self.flushes.fetch_add(1, Ordering::SeqCst);
        let covered = self.written.load(Ordering::SeqCst);
        let began = Instant::now();
        while began.elapsed() < Duration::from_micros(500) {
            std::hint::spin_loop();
        }
        self.durable.store(covered, Ordering::SeqCst);
        self.flushing.store(false, Ordering::SeqCst);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn sixty_four_waiters_are_each_covered_by_a_flush_that_began_later() {
    let slow = Arc::new(SlowStore::default());
    let store = Arc::clone(&slow);
    let committer = Arc::new(
        Committer::start(DELAY, move || {
            store.flush();
            Ok(())
        })
        .unwrap(),
    );
    let mut waiters = JoinSet::new();
    for _ in 0..64 {
        let (slow, committer) = (Arc::clone(&slow), Arc::clone(&committer));
        waiters.spawn(async move {
            for _ in 0..50 {
                let mine = slow.written.fetch_add(1, Ordering::SeqCst) + 1;
                timeout(PATIENCE, committer.durable()).await.expect("a lost wake-up").unwrap().unwrap();
                let durable = slow.durable.load(Ordering::SeqCst);
                assert!(durable >= mine, "write {mine} was called durable when {durable} were");
            }
        });
    }
    while let Some(ended) = waiters.join_next().await {
        ended.unwrap();
    }
    // How many of them share a flush depends on the machine, which may let them come back one after another.
    let flushes = slow.flushes.load(Ordering::SeqCst);
    assert!((50..=3_200).contains(&flushes), "{flushes} flushes for 3200 waits of 64 at a time");
}

/// A store whose flush blocks until it is released. It counts the flushes.
#[derive(Default)]
struct BlockingStore {
    begun: Mutex<usize>,
    released: Mutex<usize>,
    changed: Condvar,
}

impl BlockingStore {
    fn flush(&self) {
        let number = {
            *self.begun.lock().unwrap() += 1;
            *self.begun.lock().unwrap()
        };
        let released = self.released.lock().unwrap();
        drop(self.changed.wait_while(released, |released| *released < number).unwrap());
    }

    fn release(&self) {
        *self.released.lock().unwrap() += 1;
        self.changed.notify_all();
    }

    async fn begun(&self, number: usize) {
        let deadline = Instant::now() + PATIENCE;
        while *self.begun.lock().unwrap() < number {
            assert!(Instant::now() < deadline, "flush {number} never began: {}", self.begun.lock().unwrap());
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn waiters_that_come_during_a_flush_share_the_next_one() {
    let store = Arc::new(BlockingStore::default());
    let flush = Arc::clone(&store);
    let committer = Committer::start(DELAY, move || {
        flush.flush();
        Ok(())
    })
    .unwrap();

    let early = tokio::spawn(committer.durable());
    store.begun(1).await;
    let late: Vec<_> = (0..64).map(|_| tokio::spawn(committer.durable())).collect();
    store.release();
    early.await.unwrap().unwrap().unwrap();
    store.begun(2).await;
    assert!(late.iter().all(|one| !one.is_finished()), "answered by a flush that began before it waited");
    store.release();
    for one in late {
        timeout(PATIENCE, one).await.expect("not answered by the second flush").unwrap().unwrap().unwrap();
    }
    assert_eq!(*store.begun.lock().unwrap(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dropped_waiter_takes_no_flush_from_the_others() {
    let store = Arc::new(BlockingStore::default());
    let flush = Arc::clone(&store);
    let committer = Committer::start(DELAY, move || {
        flush.flush();
        Ok(())
    })
    .unwrap();

    let gone = committer.durable();
    drop(gone);
    let stays = tokio::spawn(committer.durable());
    store.begun(1).await;
    // Twice: the first flush may have begun before the second waiter came, which then gets the next one.
    store.release();
    store.release();
    timeout(PATIENCE, stays).await.expect("a lost wake-up").unwrap().unwrap().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_blocking_flush_resolves_the_waiters() {
    let flushes = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&flushes);
    let long = Duration::from_secs(3_600);
    let committer = Committer::start(long, move || {
        counted.fetch_add(1, Ordering::SeqCst);
        Ok(())
    })
    .unwrap();

    let waiter = committer.durable();
    committer.flush_now().unwrap();
    timeout(PATIENCE, waiter).await.expect("not answered").unwrap().unwrap();
    assert_eq!(flushes.load(Ordering::SeqCst), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dropped_committer_flushes_for_the_remaining_waiters() {
    let long = Duration::from_secs(3_600);
    let committer = Committer::start(long, || Ok(())).unwrap();
    let waiter = committer.durable();
    drop(committer);
    timeout(PATIENCE, waiter).await.expect("not answered").unwrap().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn every_waiter_gets_the_failure_of_its_flush() {
    let failure = LedgerError::Io { dir: PathBuf::from("/data"), operation: "flush", reason: "EIO".into() };
    let result = failure.clone();
    let committer = Committer::start(DELAY, move || Err(result.clone())).unwrap();
    let waiters: Vec<_> = (0..8).map(|_| committer.durable()).collect();
    for waiter in waiters {
        assert_eq!(timeout(PATIENCE, waiter).await.unwrap(), Some(Err(failure.clone())));
    }
    assert_eq!(committer.flush_now(), Err(failure));
}
