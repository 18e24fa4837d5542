//! What the coordinator is given, and what it says is to be done.

use std::num::NonZeroU32;

use super::request::{Refusal, Request, RequestId};
use super::schedule::{Limits, TransferId};
use super::transfer::Purpose;
use super::versions::{SentVersion, TagMoves, Version};
use crate::mqtt::topic::App;
use crate::oci::digest::Digest;
use crate::util::clock::Time;

/// What the rules are bounded by and adapted to.
#[derive(Debug, Clone)]
pub struct Options {
    pub limits: Limits,
    /// Bytes of module in one chunk.
    pub chunk_size: NonZeroU32,
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
    /// Until when devices may hold chunks that were cut to another size.
    pub recut_until: Time,
    /// When the proxy last had its subscription; nothing if it never had, or all this was lost.
    pub present: Option<Time>,
}

/// How a transfer ends that does not cover its requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// Nobody needs it any more.
    Withdrawn,
    /// Another replica has claimed the app first.
    Yielded,
    /// It cannot be sent.
    Failed(Refusal),
    /// A newer transfer of the app took its place: it was a repeat, or its module was damaged on disk.
    Superseded,
}

/// What the owner of the rules is to do.
#[derive(Debug, PartialEq, Eq)]
pub enum Action<W> {
    /// Reject a request that was not admitted.
    Reject { app: App, request: Request<W>, refusal: Refusal },
    /// Note that a request joined a transfer.
    Joined {
        transfer: TransferId,
        app: App,
        /// The open requests of the transfer.
        requests: usize,
    },
    /// Fetch the module of a new transfer; [`Coordinator::fetched`] or [`Coordinator::failed`] follows.
    Fetch {
        transfer: TransferId,
        app: App,
        purpose: Purpose,
        /// The manifest to fetch; what the reference means now if there is none.
        root: Option<Digest>,
    },
    /// Write the versions of an app.
    PersistVersions {
        app: App,
        /// All versions of the app.
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
    /// Publish that this replica is there, with this number, on the status topic of an app of which that says nothing.
    Live(App, u64),
    /// Send the chunks of a transfer, as [`Coordinator::next_turn`] says.
    Send { transfer: TransferId, version: Version },
    /// End a transfer that does not cover its requests.
    End {
        transfer: TransferId,
        end: End,
        /// Its open requests; none if others will serve them.
        requests: Vec<Request<W>>,
    },
}
