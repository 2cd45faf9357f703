//! What goes wrong and when, drawn from a seed before anything is started.
//!
//! A lane is a series of faults that may not overlap each other: those of one replica's process, of the cluster, of one
//! replica's network, of one agent. Faults of different lanes overlap as they fall. Each lane draws from a generator of its
//! own, so a longer run of the same seed begins as a shorter one, and deals its kinds like cards: none comes twice before
//! each of the lane came once. Seeds differ in how long a lane is left alone: where that is short the group hardly ever
//! settles, where it is long there is more to lose.
//!
//! Each agent is down for more than a minute once, at a time of its own: the one in the first two minutes, the other in the
//! third, and so again every ten minutes.

use std::{fmt, time::Duration};

use rand::{RngExt, SeedableRng, rngs::StdRng, seq::SliceRandom};

use super::fault::{Fault, Lane};
use crate::kit::{Flavor, Link, cluster::BROKERS};

/// The replicas that are there from the start.
pub const REPLICAS: usize = 3;
/// The replica that joins and leaves.
pub const JOINER: usize = REPLICAS;
/// The consumer group's session time-out.
pub const SESSION: Duration = Duration::from_secs(6);
/// How often partitions are added.
const MAX_ADDED: usize = 2;
/// How long a lane is left alone, in halves of the usual time, by the seed's remainder.
const PACES: [u32; 3] = [2, 3, 5];
/// When the long outage of the one agent begins, and of the other, in ms.
const OUTAGES: [Range; 2] = [(30_000, 45_000), (95_000, 110_000)];
/// How often it comes.
const OUTAGE_EVERY: Duration = Duration::from_secs(600);
/// How long an agent works at least before its long outage.
const BEFORE_OUTAGE: Duration = Duration::from_secs(2);

/// One fault of the schedule.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Step {
    /// What it happens to.
    pub lane: Lane,
    /// When it begins, from the start of the run.
    pub at: Duration,
    /// How long it lasts.
    pub lasts: Duration,
    /// What it is.
    pub fault: Fault,
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (from, to) = (self.at.as_secs_f64(), (self.at + self.lasts).as_secs_f64());
        write!(
            f,
            "{from:7.1} s to {to:6.1} s  {:<12}  {} {:?}",
            format!("{:?}", self.lane),
            self.fault.name(),
            self.fault
        )
    }
}

/// Every step of a run of this length with this LangGraph server, in the order of their begin. Each has ended when the length is over.
pub fn schedule(seed: u64, server: Flavor, length: Duration) -> Vec<Step> {
    let mut lanes: Vec<Lane> = (0..=JOINER).flat_map(|n| [Lane::Replica(n), Lane::Network(n)]).collect();
    lanes.extend([Lane::Cluster, Lane::Http, Lane::LangGraph]);
    let mut steps: Vec<Step> = lanes.into_iter().flat_map(|lane| deal(lane, (seed, server), length)).collect();
    steps.sort_by_key(|step| (step.at, step.lane));
    steps
}

/// The least and the most, in ms.
type Range = (u64, u64);

fn draw(random: &mut StdRng, (least, most): Range) -> Duration {
    Duration::from_millis(random.random_range(least..most))
}

/// The `number`th long outage of a lane, if it is an agent's: when it begins, and how long it lasts.
fn outage(lane: Lane, seed: u64, number: u32) -> Option<(Duration, Duration)> {
    let of_http = usize::try_from(seed / 3 % 2).unwrap_or_default();
    let from = match lane {
        Lane::Http => OUTAGES[of_http],
        Lane::LangGraph => OUTAGES[1 - of_http],
        _ => return None,
    };
    let mut random = StdRng::seed_from_u64(seed ^ salt(lane) ^ (u64::from(number) << 32));
    Some((OUTAGE_EVERY * number + draw(&mut random, from), duration(Fault::Outage, &mut random)))
}

/// The steps of one lane.
fn deal(lane: Lane, (seed, server): (u64, Flavor), length: Duration) -> Vec<Step> {
    let mut random = StdRng::seed_from_u64(seed ^ salt(lane));
    let mut steps = Vec::new();
    let mut deck: Vec<Fault> = Vec::new();
    let mut added = 0;
    let pause = |random: &mut StdRng| pause(lane, random) * PACES[usize::try_from(seed % 3).unwrap_or_default()] / 2;
    let mut at = pause(&mut random);
    let mut outages = (0..).map_while(|number| outage(lane, seed, number));
    let mut next = outages.next();
    loop {
        if deck.is_empty() {
            deck = cards(lane, server, &mut random);
            deck.shuffle(&mut random);
        }
        let Some(fault) = deck.pop() else { return steps };
        let lasts = duration(fault, &mut random);
        // What would last into the long outage comes after it.
        if let Some((from, lasts)) = next.filter(|(from, _)| at + lasts + BEFORE_OUTAGE > *from) {
            deck.push(fault);
            if from + lasts > length {
                return steps;
            }
            steps.push(Step { lane, at: from, lasts, fault: Fault::Outage });
            at = from + lasts + pause(&mut random);
            next = outages.next();
            continue;
        }
        if at + lasts > length {
            return steps;
        }
        if fault == Fault::AddPartition {
            added += 1;
            if added > MAX_ADDED {
                continue;
            }
        }
        steps.push(Step { lane, at, lasts, fault });
        at += lasts + pause(&mut random);
    }
}

/// A number of its own for each lane.
fn salt(lane: Lane) -> u64 {
    let number = match lane {
        Lane::Cluster => 1,
        Lane::Http => 2,
        Lane::LangGraph => 3,
        Lane::Replica(n) => 16 + n as u64,
        Lane::Network(n) => 32 + n as u64,
    };
    number.wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

/// One of each kind of the lane, with what each has to choose.
fn cards(lane: Lane, server: Flavor, random: &mut StdRng) -> Vec<Fault> {
    let broker = random.random_range(0..BROKERS);
    let percent = |random: &mut StdRng| random.random_range(20..60);
    let slow = |random: &mut StdRng, most: u64| Link::Slow(Duration::from_millis(random.random_range(20..most)));
    match lane {
        Lane::Replica(JOINER) => vec![Fault::Join],
        Lane::Replica(_) => {
            let unacknowledged = Fault::LoseUnacknowledged(broker);
            vec![
                Fault::Kill,
                Fault::Terminate,
                Fault::Leave,
                Fault::Freeze,
                Fault::LoseData,
                Fault::FlipBits,
                unacknowledged,
            ]
        }
        Lane::Cluster => vec![
            Fault::KillBroker(broker),
            Fault::StopBroker((broker + 1) % BROKERS),
            Fault::MoveLeaders,
            Fault::AddPartition,
            Fault::TruncateLedger(random.random_range(30..=100)),
            Fault::DeleteLedger,
        ],
        // Two of the kinds about brokers, and two about agents: what is held for an agent would arrive after it was
        // repeated, which is the network's doing and not the bridge's, so what stands before an agent loses and delays.
        Lane::Network(_) => {
            let mut brokers = vec![
                Fault::Brokers(Link::Refused),
                Fault::Brokers(Link::Lossy),
                Fault::Brokers(Link::Held),
                Fault::Brokers(slow(random, 200)),
                Fault::OneBroker(broker, Link::Refused),
                Fault::OneBroker(broker, Link::Lossy),
            ];
            brokers.shuffle(random);
            brokers.truncate(2);
            let mut agents =
                vec![Fault::Agents(Link::Refused), Fault::Agents(Link::Lossy), Fault::Agents(slow(random, 200))];
            agents.shuffle(random);
            agents.truncate(2);
            brokers.extend(agents);
            brokers
        }
        Lane::Http => vec![
            Fault::AgentDown,
            Fault::RotateKey,
            Fault::FailAfterAccepting(percent(random)),
            Fault::LoseAnswers(percent(random)),
        ],
        Lane::LangGraph => {
            // langgraph dev writes its state each 10 s and when it is told to end: one that is killed forgets what it has
            // accepted. aegra has no run that is tried again.
            let own = if server == Flavor::Aegra { Fault::KillServer } else { Fault::ExecuteAgain(percent(random)) };
            vec![
                Fault::AgentDown,
                Fault::FailAfterAccepting(percent(random)),
                Fault::LoseAnswers(percent(random)),
                Fault::HoldRuns(percent(random)),
                Fault::RestartServer,
                own,
            ]
        }
    }
}

/// How long a fault of this kind lasts.
fn duration(fault: Fault, random: &mut StdRng) -> Duration {
    let range = match fault {
        Fault::Kill | Fault::Terminate | Fault::LoseData | Fault::FlipBits => (200, 3_000),
        Fault::LoseUnacknowledged(_) => (4_000, 7_000),
        // Longer than the session of 6 s.
        Fault::Leave | Fault::Freeze => (7_500, 12_000),
        Fault::Join => (15_000, 25_000),
        Fault::KillBroker(_) | Fault::StopBroker(_) | Fault::RotateKey => (4_000, 12_000),
        Fault::AddPartition | Fault::TruncateLedger(_) | Fault::DeleteLedger => (100, 200),
        // The controller elects within 5 s.
        Fault::MoveLeaders => (6_000, 7_000),
        Fault::Brokers(_) | Fault::OneBroker(..) => (2_000, 14_000),
        Fault::Agents(_) => (2_000, 6_000),
        Fault::AgentDown => (8_000, 25_000),
        // Both are over when three minutes are.
        Fault::Outage => (60_000, 70_000),
        Fault::ExecuteAgain(_) => (5_000, 12_000),
        // Then it takes some seconds to start.
        Fault::RestartServer | Fault::KillServer => (200, 4_000),
        Fault::FailAfterAccepting(_) | Fault::LoseAnswers(_) | Fault::HoldRuns(_) => (3_000, 8_000),
    };
    draw(random, range)
}

/// How long a lane is left alone before its next fault.
fn pause(lane: Lane, random: &mut StdRng) -> Duration {
    let range = match lane {
        Lane::Replica(JOINER) => (5_000, 15_000),
        // A broker needs up to 10 s until it is ready again.
        Lane::Cluster => (8_000, 18_000),
        Lane::Network(_) => (8_000, 24_000),
        Lane::Replica(_) | Lane::Http | Lane::LangGraph => (6_000, 16_000),
    };
    draw(random, range)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn schedule(seed: u64, length: Duration) -> Vec<Step> {
        super::schedule(seed, Flavor::Dev, length)
    }

    const TWO_MINUTES: Duration = Duration::from_secs(120);

    #[test]
    fn a_seed_gives_the_same_schedule_and_another_gives_another() {
        assert_eq!(schedule(7, TWO_MINUTES), schedule(7, TWO_MINUTES));
        assert_ne!(schedule(7, TWO_MINUTES), schedule(8, TWO_MINUTES));
    }

    #[test]
    fn a_longer_run_begins_as_a_shorter_one() {
        let (short, long) = (schedule(7, TWO_MINUTES), schedule(7, 2 * TWO_MINUTES));
        assert!(short.iter().all(|step| long.contains(step)), "{short:#?}");
        assert!(long.len() > short.len());
    }

    #[test]
    fn the_faults_of_a_lane_do_not_overlap_and_all_heal_in_time() {
        for seed in 0..50 {
            let steps = schedule(seed, TWO_MINUTES);
            for (index, step) in steps.iter().enumerate() {
                assert!(step.at + step.lasts <= TWO_MINUTES, "{step}");
                let next = steps[index + 1..].iter().find(|next| next.lane == step.lane);
                assert!(next.is_none_or(|next| next.at > step.at + step.lasts), "{step}\n{next:?}");
            }
            let added = steps.iter().filter(|step| step.fault == Fault::AddPartition).count();
            assert!(added <= MAX_ADDED, "{added} partitions are added");
        }
    }

    #[test]
    fn a_stop_outlasts_the_session() {
        for step in (0..50).flat_map(|seed| schedule(seed, TWO_MINUTES)) {
            assert!(!matches!(step.fault, Fault::Freeze | Fault::Leave) || step.lasts > SESSION, "{step}");
        }
    }

    #[test]
    fn three_minutes_have_a_long_outage_of_each_agent_and_half_an_hour_has_three() {
        let outages = |seed, minutes: u64, lane| {
            let steps = schedule(seed, Duration::from_secs(60 * minutes)).into_iter();
            steps.filter(move |step| step.lane == lane && step.fault == Fault::Outage).collect::<Vec<_>>()
        };
        for seed in 0..50 {
            for lane in [Lane::Http, Lane::LangGraph] {
                let short = outages(seed, 3, lane);
                assert_eq!(short.len(), 1, "seed {seed}, {lane:?}: {short:?}");
                assert!(short[0].lasts >= Duration::from_secs(60), "{}", short[0]);
                assert_eq!(outages(seed, 30, lane).len(), 3, "seed {seed}, {lane:?}");
            }
        }
    }

    #[test]
    fn every_kind_of_fault_is_dealt() {
        let name = |step: &Step| step.fault.name();
        let of = |seeds: std::ops::Range<u64>| -> BTreeSet<&str> {
            seeds.flat_map(|seed| schedule(seed, TWO_MINUTES)).map(|step| name(&step)).collect()
        };
        let all = of(0..50);
        assert_eq!(all.len(), 27, "{all:?}");
        let durable = (0..50).flat_map(|seed| super::schedule(seed, Flavor::Aegra, TWO_MINUTES));
        let durable: BTreeSet<&str> = durable.map(|step| name(&step)).collect();
        assert_eq!(durable.symmetric_difference(&all).count(), 2, "{durable:?}");
        let one = of(1..2);
        assert!(one.len() > 16, "two minutes of one seed have most kinds: {one:?}");
    }
}
