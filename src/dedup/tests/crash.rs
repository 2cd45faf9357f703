use std::{
    collections::BTreeSet,
    io::{BufRead, BufReader, Write},
};

use super::*;

/// The child of the test below: writes, waits for durability, and only then says so, for ever.
#[test]
fn child_that_is_killed() {
    let Some(dir) = std::env::var_os(CHILD_DIR) else { return };
    let round = std::env::var("ROUND").unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_time().build().unwrap();
    runtime.block_on(async {
        let ledger = open(Path::new(&dir));
        let mut writers = tokio::task::JoinSet::new();
        for writer in 0..16 {
            let (ledger, round) = (ledger.clone(), round.clone());
            writers.spawn(async move {
                for n in 0_u64.. {
                    let id = format!("{round}-{writer}-{n}");
                    let mut record = Record::new(n, 1, &plan(&[("rule", "agent"), ("rule", "other")]));
                    ledger.merge(&id, &record).unwrap();
                    record.finish("rule", "agent", DeliveryStatus::Delivered, 9_000);
                    ledger.merge(&id, &record).unwrap();
                    ledger.durable().await.unwrap();
                    // One write, so that a line is whole or absent.
                    std::io::stdout().write_all(format!("\nack {id} {n}\n").as_bytes()).unwrap();
                }
            });
        }
        writers.join_next().await;
    });
}

#[test]
fn nothing_acknowledged_is_missing_after_kills_at_random_moments() {
    let dir = tempfile::tempdir().unwrap();
    let mut acknowledged = BTreeSet::new();
    for round in 0..12 {
        let lines = rand::random_range(1..1_500);
        let mut child = child("dedup::tests::crash::child_that_is_killed", dir.path())
            .env("ROUND", round.to_string())
            .spawn()
            .unwrap();
        let output = BufReader::new(child.stdout.take().unwrap());
        let mut seen = 0;
        let mut killed = false;
        for line in output.lines() {
            let line = line.unwrap();
            let Some(ack) = line.strip_prefix("ack ") else { continue };
            let (id, n) = ack.split_once(' ').unwrap();
            acknowledged.insert((id.to_owned(), n.parse::<u64>().unwrap()));
            seen += 1;
            if seen >= lines && !killed {
                // SIGKILL; what the pipe still holds was acknowledged too, and is read to its end.
                child.kill().unwrap();
                killed = true;
            }
        }
        let status = child.wait().unwrap();
        assert!(killed, "round {round}: the child ended by itself after {seen} lines: {status}");

        let (ledger, opened) = open_with(dir.path(), &options()).unwrap();
        assert!(opened.recovered);
        for (id, n) in &acknowledged {
            let record = ledger.get(id).unwrap();
            let found = record.as_ref().map(|record| (record.digest(), record.state()));
            assert_eq!(found, Some((*n, RecordState::Partial)), "round {round}, killed after {lines} lines: {id}");
        }
        assert!(opened.records >= acknowledged.len() as u64);
    }
    println!("{} acknowledged, none missing", acknowledged.len());
}
