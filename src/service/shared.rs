//! What a handle and its task share.

use std::sync::Arc;
use std::time::Instant;

use tokio::sync::{Notify, mpsc, watch};

use super::call::Call;
use super::readiness::Checked;
use crate::mqtt::topic::Channels;
use crate::oci::host::RegistryUrl;
use crate::telemetry::Telemetry;

/// What a handle and its task share.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) channels: Channels,
    pub(super) registry: RegistryUrl,
    pub(super) telemetry: Arc<Telemetry>,
    pub(super) calls: mpsc::Sender<Call>,
    /// Whether the proxy is subscribed to its requests.
    pub(super) is_ready: watch::Sender<bool>,
    /// When the loop of the service turned last.
    pub(super) pulse: watch::Sender<Instant>,
    /// Notified when somebody wants to know the readiness.
    pub(super) readiness_demand: Arc<Notify>,
    pub(super) readiness: watch::Sender<Option<Checked>>,
}
