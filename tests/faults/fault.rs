//! What may go wrong, and what it happens to.

use crate::kit::Link;

/// What the faults of a lane happen to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Lane {
    /// A replica's process and data folder.
    Replica(usize),
    /// The brokers and topics.
    Cluster,
    /// A replica's network.
    Network(usize),
    /// The HTTP agent.
    Http,
    /// The LangGraph server, and the network before it.
    LangGraph,
}

/// One kind of fault. Each lasts for a while, and heals at its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Fault {
    /// SIGKILL; the start is the end of it.
    Kill,
    /// SIGTERM, and a start soon.
    Terminate,
    /// SIGTERM, and a start after the group has gone on without it.
    Leave,
    /// SIGSTOP for longer than the session, then SIGCONT.
    Freeze,
    /// SIGKILL, and the data folder is deleted.
    LoseData,
    /// SIGKILL after a while without one broker, and the data folder is deleted: what that broker has not acknowledged is lost.
    LoseUnacknowledged(usize),
    /// SIGKILL, and bits of the data folder's files are flipped.
    FlipBits,
    /// A further replica starts with an empty folder; SIGTERM at the end.
    Join,
    /// SIGKILL of a broker.
    KillBroker(usize),
    /// SIGTERM of a broker.
    StopBroker(usize),
    /// Every partition gets another leader.
    MoveLeaders,
    /// The source topic gets one more partition.
    AddPartition,
    /// The ledger topic loses this share of its records, the oldest first, in percent.
    TruncateLedger(u8),
    /// The ledger topic is deleted. The replicas create it again.
    DeleteLedger,
    /// The network between a replica and all brokers.
    Brokers(Link),
    /// The network between a replica and one broker.
    OneBroker(usize, Link),
    /// The network between a replica and both agents.
    Agents(Link),
    /// The agent refuses connections.
    AgentDown,
    /// The same for so long that its deliveries are parked by the hundred, while others go on failing.
    Outage,
    /// The agent asks for a key that the replicas do not have yet: 401.
    RotateKey,
    /// The agent accepts and answers 503, in this share of the requests, in percent.
    FailAfterAccepting(u8),
    /// The agent accepts and closes the connection, in this share of the requests, in percent.
    LoseAnswers(u8),
    /// Requests are held past their time-out and then delivered, in this share, in percent.
    HoldRuns(u8),
    /// The server executes a run again that it has begun, in this share, in percent.
    ExecuteAgain(u8),
    /// SIGTERM of the server, which has its state on disk then, and executes again what it had not finished.
    RestartServer,
    /// SIGKILL of the server, for one that keeps what it acknowledged.
    KillServer,
}

impl Fault {
    /// The name that figures count it under.
    pub fn name(self) -> &'static str {
        match self {
            Self::Kill => "replica killed",
            Self::Terminate => "replica terminated and restarted",
            Self::Leave => "replica removed and added again",
            Self::Freeze => "replica stopped past its session",
            Self::LoseData => "data folder deleted",
            Self::LoseUnacknowledged(_) => "data folder deleted behind a cut",
            Self::FlipBits => "data folder bit-flipped",
            Self::Join => "replica added and removed",
            Self::KillBroker(_) => "broker killed",
            Self::StopBroker(_) => "broker terminated",
            Self::MoveLeaders => "leaders moved",
            Self::AddPartition => "partition added",
            Self::TruncateLedger(_) => "ledger topic truncated",
            Self::DeleteLedger => "ledger topic deleted",
            Self::Brokers(Link::Slow(_)) | Self::OneBroker(_, Link::Slow(_)) => "network to brokers slow",
            Self::Brokers(Link::Held) | Self::OneBroker(_, Link::Held) => "network to brokers held",
            Self::Brokers(_) | Self::OneBroker(..) => "network to brokers cut",
            Self::Agents(Link::Slow(_)) => "network to agents slow",
            Self::Agents(_) => "network to agents cut",
            Self::AgentDown => "agent down",
            Self::Outage => "agent down for minutes",
            Self::RotateKey => "agent key rotated",
            Self::FailAfterAccepting(_) => "agent fails after accepting",
            Self::LoseAnswers(_) => "answers lost",
            Self::HoldRuns(_) => "run requests held",
            Self::ExecuteAgain(_) => "runs executed again",
            Self::RestartServer => "LangGraph server restarted",
            Self::KillServer => "LangGraph server killed",
        }
    }
}
