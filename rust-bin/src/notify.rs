//! Notifications to the service manager (systemd: `sd_notify`), if one listens.

use std::env;
use std::time::{Duration, Instant};

use propeller_proxy::service::Service;
use sd_notify::NotifyState;
use tokio_util::sync::CancellationToken;
use tracing::warn;

/// The service loop beats each second; a ping that is due before the next beat is sent now.
const SLACK: Duration = Duration::from_millis(500);

/// Notifies the service manager that the service runs, how it is connected, and that it stops. A watchdog ping follows each
/// beat of the service loop.
pub(crate) fn keep_notified(
    service: &Service,
    broker: String,
    stop: CancellationToken,
) -> impl Future<Output = ()> + Send + use<> {
    let (mut pulse, mut ready) = (service.pulse(), service.ready());
    let ping_interval = sd_notify::watchdog_enabled().map(|limit| limit / 2);
    async move {
        if env::var_os("NOTIFY_SOCKET").is_none() {
            return;
        }
        let status = |is_up: bool| {
            if is_up { format!("Connected to {broker}") } else { format!("Waiting for {broker}") }
        };
        let mut pinged: Option<Instant> = None;
        loop {
            tokio::select! {
                biased;
                () = stop.cancelled() => break,
                Ok(()) = pulse.changed() => {
                    if pinged.is_none() {
                        let is_up = *ready.borrow_and_update();
                        notify(format!("READY=1\nSTATUS={}", status(is_up))).await;
                    }
                    let is_due = |pinged: Instant| ping_interval.is_some_and(|every| pinged.elapsed() + SLACK >= every);
                    if pinged.is_none_or(is_due) {
                        pinged = Some(Instant::now());
                        if ping_interval.is_some() {
                            notify("WATCHDOG=1".into()).await;
                        }
                    }
                }
                Ok(()) = ready.changed(), if pinged.is_some() => {
                    let is_up = *ready.borrow_and_update();
                    notify(format!("STATUS={}", status(is_up))).await;
                }
                else => return,
            }
        }
        notify("STOPPING=1\nSTATUS=Stopping".into()).await;
    }
}

/// Sends a message, where waiting for its receiver stops nobody.
async fn notify(message: String) {
    let notified = tokio::task::spawn_blocking(move || sd_notify::notify(&[NotifyState::Custom(&message)]));
    if let Ok(Err(error)) = notified.await {
        warn!(event = "service-manager-unreachable", %error, "the service manager was not notified");
    }
}
