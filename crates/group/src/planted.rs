//! Mistakes that group members have made, to be made again on demand: a simulation that does not notice them proves nothing.
//! Without the feature `planted-bugs` nothing of this is in the program.

/// The mistakes, each named once.
macro_rules! bugs {
    ($($(#[$what:meta])* $bug:ident,)*) => {
        /// A mistake. Most are named after what the member does wrong.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
        pub enum Bug {
            $($(#[$what])* $bug,)*
        }

        #[cfg(feature = "planted-bugs")]
        impl Bug {
            /// All of them.
            pub const ALL: &'static [Bug] = &[$(Bug::$bug,)*];
        }
    };
}

bugs! {
    /// Classic: an eager member joins with what it has, and goes on with it.
    EagerJoinsWithPartitions,
    /// Classic: partitions count as given up as soon as the application is asked for them.
    JoinsBeforeRelease,
    /// Classic: the next JoinGroup does not wait for the commits of what is given up.
    JoinsBeforeCommits,
    /// Classic: a cooperative member keeps what its new assignment does not have any more.
    KeepsWhatGoesToOthers,
    /// Classic: a cooperative member that gave something up does not tell by joining once more.
    NoJoinAfterGivingUp,
    /// Classic: JoinGroup goes the way of the heartbeats, which then wait behind it.
    JoinsOnHeartbeatLane,
    /// Classic: no heartbeats while partitions are given up.
    SilentWhileRevoking,
    /// Classic: any answer to a SyncGroup is taken for that of the current one.
    TakesOldSync,
    /// Classic: bad news about an old generation ends the current one.
    OldGenerationEndsNew,
    /// Classic: the coordinator does not know the member, which goes on as if it did.
    GoesOnUnknown,
    /// Classic: the id that the coordinator does not know is joined with again and again.
    KeepsUnknownId,
    /// Classic: the session counts from the answer to a heartbeat, not from its sending.
    SessionFromAnswer,
    /// Classic: the end of the session is not noticed.
    NoSessionEnd,
    /// Classic: a membership that is lost leaves its partitions with the member.
    LosesNothing,
    /// Classic: a subscription that changed under way is forgotten.
    ForgetsSubscription,
    /// Classic: the leader does not notice that partitions were added.
    LeaderDoesNotWatch,
    /// Classic: the leader does not notice that replicas moved to other racks.
    LeaderIgnoresRacks,
    /// Classic: a static member leaves when it ends.
    StaticLeaves,
    /// Classic: a refused JoinGroup is repeated without a pause.
    JoinsWithoutPause,
    /// Classic: a refused SyncGroup ends the efforts.
    SyncRefusedIsStable,
    /// Either: a member leaves without waiting for its commits.
    LeavesBeforeCommits,
    /// Consumer: given up is reported before the application released it.
    ReportsBeforeRelease,
    /// Consumer: given up is reported before its commits are settled.
    ReportsBeforeCommits,
    /// Consumer: what is new is taken before what is gone was given up.
    TakesBeforeGivingUp,
    /// Consumer: partitions are taken while a report that lacks them is on its way.
    TakesDuringReport,
    /// Consumer: what is owned is never told after a change.
    NeverReports,
    /// Consumer: after a failure only what is new is told.
    NoFullHeartbeat,
    /// Consumer: a full heartbeat leaves out what is only being given up.
    FullHeartbeatOmitsRevoking,
    /// Consumer: an assignment of nothing is taken for no assignment.
    EmptyIsNoAssignment,
    /// Consumer: the assignment of one membership is carried into the next.
    CarriesTargetOver,
    /// Consumer: a member that was fenced joins with its old epoch.
    JoinsWithOldEpoch,
    /// Consumer: a fenced member goes on.
    GoesOnFenced,
    /// Consumer: a fenced member keeps its partitions.
    FencedLosesNothing,
    /// Consumer: answers to heartbeats of the membership before are taken.
    TakesOldBeat,
    /// Consumer: the leave overtakes the heartbeat before it.
    LeaveOvertakes,
    /// Consumer: heartbeats follow each other without waiting for answers.
    ManyBeats,
    /// Consumer: the end of the session is not noticed.
    NoConsumerSessionEnd,
    /// Consumer: a topic that is not known by name is asked for once.
    AsksOnce,
    /// Commits: what was handled in an earlier ownership is committed in a later one.
    CommitsEarlierOwnership,
    /// Commits: what was lost is committed.
    CommitsWhatIsLost,
    /// Commits: what was not confirmed is not sent again.
    ForgetsCommit,
    /// Commits: what was sent with an epoch that is not the newest any more fails.
    StaleFails,
    /// Commits: what was refused is told as done.
    FalseSuccess,
    /// Commits: an older commit that is repeated takes the place of a newer one.
    OldCommitWins,
    /// Commits: a commit is sent while another one is in flight.
    CommitsOverlap,
    /// Fetches: a partition that the answer leaves out has nothing committed.
    MissingIsNothing,
    /// Fetches: a partition that cannot be read has nothing committed.
    ErrorIsNothing,
    /// Fetches: an offset that a transaction still decides about has nothing committed.
    UnstableIsNothing,
    /// Fetches: an answer that is older than the question answers it.
    OldAnswerCounts,
    /// Both: a topic that was created anew inherits the offsets of the old one.
    AnewInherits,
    /// Coordinator: bad news about one that was is held against the one that is.
    OldCoordinatorCounts,
    /// Coordinator: one that is none any more is not replaced.
    KeepsOldCoordinator,
}

#[cfg(feature = "planted-bugs")]
mod switch {
    use std::cell::Cell;

    use super::Bug;

    thread_local! {
        static PLANTED: Cell<Option<Bug>> = const { Cell::new(None) };
    }

    /// Makes a mistake from now on in this thread, or none any more.
    pub fn plant(bug: Option<Bug>) {
        PLANTED.set(bug);
    }

    pub(crate) fn is_planted(bug: Bug) -> bool {
        PLANTED.get() == Some(bug)
    }
}

#[cfg(feature = "planted-bugs")]
pub use switch::plant;

#[cfg(feature = "planted-bugs")]
pub(crate) use switch::is_planted;

/// Never, without the feature.
#[cfg(not(feature = "planted-bugs"))]
pub(crate) const fn is_planted(_: Bug) -> bool {
    false
}

/// Whether a mistake is to be made here.
macro_rules! planted {
    ($bug:ident) => {
        $crate::planted::is_planted($crate::planted::Bug::$bug)
    };
}

pub(crate) use planted;
