//! The changes of the state.

use serde::{Deserialize, Serialize};
use tokio::sync::oneshot;

use crate::delivery::rules::request::RequestId;
use crate::delivery::rules::versions::SentVersion;
use crate::error::Error;
use crate::mqtt::Ack;
use crate::mqtt::topic::App;
use crate::util::clock::Time;

/// Changes that wait to be written.
#[doc(alias = "bound")]
pub(super) const QUEUE: usize = 4096;

/// An open request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OpenRequest {
    /// The app.
    pub app: App,
    /// When it arrived.
    pub arrived: Time,
}

/// A change to be written.
#[derive(Debug)]
pub(super) enum Change {
    Open(RequestId, OpenRequest, Ack),
    Close(Vec<RequestId>),
    Versions(App, Vec<SentVersion>, Option<oneshot::Sender<Result<(), Error>>>),
    Present(Time),
    Uncertain(Time),
    /// Nothing new: what could not be written is tried again.
    Again,
}
