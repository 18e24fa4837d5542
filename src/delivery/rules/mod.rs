//! The rules of delivery: pure state machines, which are told the time and know no socket.

pub(super) mod budget;
pub mod replicas;
pub mod schedule;
#[cfg(all(test, feature = "embedded"))]
mod simulation;
pub mod versions;
