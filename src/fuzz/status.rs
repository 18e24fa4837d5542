//! Messages of other proxies: status and presence.

use std::sync::Arc;
use std::time::Duration;

use super::rules::{NOW, check_plan, deliver, replica};
use crate::delivery::rules::action::Saved;
use crate::delivery::rules::group::ReplicaStatus;
use crate::mqtt::status::{DeliveryState, Presence, Status};
use crate::mqtt::topic::{App, Channel, Layout};
use crate::util::json;

/// What a message says is written and read back unchanged, and the rules of delivery take any number of them, each a
/// line.
pub fn status_message(data: &[u8]) {
    let mut rules = replica(Saved { present: Some(NOW), ..Saved::default() });
    let mut now = NOW;
    for line in data.split(|byte| *byte == b'\n') {
        now = now + Duration::from_secs(1);
        if let Ok(presence) = serde_json::from_slice::<Presence>(line) {
            assert_eq!(serde_json::from_slice::<Presence>(&json(&presence)).ok(), Some(presence.clone()));
            rules.presence("two", presence.online, false, presence.group.is_some(), now);
        }
        let Ok(status) = serde_json::from_slice::<Status>(line) else { continue };
        check(&status);
        let app = app(&status.app_name);
        for instance in [&*status.instance, "one", "two"] {
            rules.replica_status(instance, &app, ReplicaStatus::of(&status), now);
        }
        deliver(&mut rules, &app, status.size.unwrap_or_default().min(1 << 40), now);
    }
}

fn check(status: &Status) {
    assert_eq!(serde_json::from_slice::<Status>(&json(status)).ok().as_ref(), Some(status));
    match ReplicaStatus::of(status) {
        ReplicaStatus::Claims(version) | ReplicaStatus::Objects(version) => check_plan(&version.plan),
        ReplicaStatus::Serves(version) | ReplicaStatus::Delivered(version) => {
            if let Some(version) = version {
                check_plan(&version.plan);
            }
        }
        ReplicaStatus::Failed | ReplicaStatus::Stops | ReplicaStatus::Rejects | ReplicaStatus::Lives(_) => {}
    }
    let is_failed = status.state == DeliveryState::Failed && status.error.is_some();
    assert_eq!(status.failure().is_some(), is_failed);
}

fn app(name: &str) -> App {
    let channel = Arc::new(Channel { domain: "d".into(), id: "c".into() });
    App { channel, layout: Layout::Plain, name: name.into() }
}
