//! The records of the state on disk.

use std::fmt::Debug;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::rules::{NOW, check_plan, deliver, replica};
use crate::delivery::rules::action::Saved;
use crate::delivery::rules::versions::SentVersion;
use crate::mqtt::topic::App;
use crate::state::OpenRequest;
use crate::util::json;

/// A record is an open request, or an app and its versions in two lines. Whatever is read is written back unchanged, and
/// the rules of delivery go on with it.
pub fn state_record(data: &[u8]) {
    record::<OpenRequest>(data);
    let Some(at) = data.iter().position(|byte| *byte == b'\n') else { return };
    let versions = record::<Vec<SentVersion>>(&data[at + 1..]);
    for sent in versions.iter().flatten() {
        check_plan(&sent.version.plan);
    }
    let Some((app, versions)) = record::<App>(&data[..at]).zip(versions) else { return };
    let size = versions.last().map_or(0, |sent| sent.version.plan.size().min(1 << 40));
    let mut rules = replica(Saved { versions: vec![(app.clone(), versions)], ..Saved::default() });
    deliver(&mut rules, &app, size, NOW);
}

/// The record, if it is one.
fn record<T: Serialize + DeserializeOwned + PartialEq + Debug>(data: &[u8]) -> Option<T> {
    let record = serde_json::from_slice(data).ok()?;
    let again = serde_json::from_slice(&json(&record)).ok();
    assert_eq!(again.as_ref(), Some(&record), "written and read again");
    Some(record)
}
