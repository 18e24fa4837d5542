//! The rules of delivery: pure state machines, which are given the time and know no socket.
//!
//! [`coordinator::Coordinator`] is the whole of them. Below it, [`schedule`] decides which chunk is next and which requests
//! are covered, [`versions`] into how many chunks a module is cut, `replicas` which proxy serves a request, and `budget` how
//! many bytes a channel gets. The simulation, a test, drives the coordinator as the service does.

pub mod action;
mod budget;
pub mod coordinator;
mod due;
pub mod group;
mod pass;
mod replicas;
pub mod request;
mod restart;
mod rule;
pub mod schedule;
#[cfg(all(test, feature = "embedded"))]
mod simulation;
pub mod transfer;
pub mod versions;

pub use self::replicas::{HEARTBEAT_INTERVAL, MAX_WATCHED};
