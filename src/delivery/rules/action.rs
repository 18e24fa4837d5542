//! What the coordinator is given, and what it says is to be done.

use std::num::NonZeroU32;

use super::request::{Request, RequestId};
use super::schedule::{Excess, Limits, TransferId};
use super::transfer::Purpose;
use super::versions::{SentVersion, TagMoves, Unsafe, Version};
use crate::delivery::plan::ChunkPlan;
use crate::mqtt::topic::App;
use crate::oci::digest::Digest;
use crate::util::clock::Time;

/// What the rules are bounded by and adapted to.
#[derive(Debug, Clone)]
pub struct Options {
    /// The bounds of the schedule.
    pub limits: Limits,
    /// Bytes of module in one chunk.
    pub chunk_size: NonZeroU32,
    /// What becomes of a tag that moves.
    pub tag_moves: TagMoves,
    /// The name of this replica, if it is one of several.
    pub replica: Option<String>,
}

/// What an earlier process wrote to disk.
#[derive(Debug, Default, Clone)]
pub struct Saved {
    /// The versions that were sent, by app.
    pub versions: Vec<(App, Vec<SentVersion>)>,
    /// Until when devices may hold chunks of unknown versions.
    pub uncertain_until: Time,
    /// When the proxy last had its subscription; nothing if it never had, or all this was lost.
    pub present: Option<Time>,
}

/// Why a request is rejected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rejection {
    /// A bound was reached.
    Excess(Excess),
    /// More requests wait for other replicas than are watched.
    Watched,
    /// It is so old that no device waits for the answer.
    TooLate,
}

/// Why a transfer cannot be sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// A bound was reached.
    Excess(Excess),
    /// A device could not distinguish its chunks from those of other versions.
    Unsafe(Unsafe),
    /// The broker does not deliver the claim to the replica that published it.
    ClaimLost,
}

/// How a transfer ends that does not cover its requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// Nobody needs it any more.
    Withdrawn,
    /// Another replica has claimed the app first.
    Yielded,
    /// It cannot be sent.
    Failed(Fault),
    /// A newer transfer of the app took its place; it was a repeat.
    Superseded,
}

/// What the owner of the rules is to do.
#[derive(Debug, PartialEq, Eq)]
pub enum Action<W> {
    /// Reject a request that was not admitted.
    Reject {
        /// Its app.
        app: App,
        /// The request.
        request: Request<W>,
        /// Why.
        rejection: Rejection,
    },
    /// Note that a request joined a transfer.
    Joined {
        /// The transfer.
        transfer: TransferId,
        /// Its app.
        app: App,
        /// The open requests of the transfer.
        requests: usize,
    },
    /// Fetch the module of a new transfer; [`Coordinator::fetched`] or [`Coordinator::failed`] follows.
    Fetch {
        /// The transfer.
        transfer: TransferId,
        /// Its app.
        app: App,
        /// What it is for.
        purpose: Purpose,
        /// The manifest to fetch; what the reference means now if there is none.
        root: Option<Digest>,
    },
    /// Write the versions of an app.
    PersistVersions {
        /// The app.
        app: App,
        /// All of its versions.
        versions: Vec<SentVersion>,
        /// The transfer for which [`Coordinator::persisted`] follows when they are on disk.
        transfer: Option<TransferId>,
    },
    /// Write until when devices may hold chunks of unknown versions.
    PersistUncertainty(Time),
    /// Remove requests from the disk.
    CloseRequests(Vec<RequestId>),
    /// Publish a claim to an app.
    Claim(App, Version),
    /// Publish an objection to a claim: this version of the app has as many chunks.
    Object(App, Version),
    /// Publish that an app is still served.
    Heartbeat(App),
    /// Send the chunks of a transfer, as [`Coordinator::next_turn`] says.
    Send {
        /// The transfer.
        transfer: TransferId,
        /// How its module is cut.
        plan: ChunkPlan,
    },
    /// End a transfer that does not cover its requests.
    End {
        /// The transfer.
        transfer: TransferId,
        /// How it ends.
        end: End,
        /// Its open requests; none if others will serve them.
        requests: Vec<Request<W>>,
    },
}
