//! Delivering verified modules: which chunk goes next, and its way to the broker.
//!
//! [`schedule`], [`versions`] and [`replicas`] decide, and know neither sockets nor clocks; [`courier`] does what they
//! decide.

mod budget;
mod buffers;
pub mod courier;
pub mod replicas;
pub mod schedule;
#[cfg(all(test, feature = "embedded"))]
mod simulation;
pub mod versions;
mod waits;

/// Modules that are open at once, being fetched or sent; further transfers wait. Each holds a file, of which a process
/// often may have no more than 1,024.
pub const MAX_OPEN_MODULES: usize = 256;
/// Messages on their way to the broker at once. Mosquitto 2.0 loses QoS 2 messages beyond 20.
pub const MAX_IN_FLIGHT_MESSAGES: u16 = 20;
