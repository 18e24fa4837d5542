//! Delivering verified modules: which chunk goes next, and its way to the broker.
//!
//! [`schedule`] decides and knows neither sockets nor clocks; [`courier`] does what it decides.

mod buffers;
pub mod courier;
pub mod schedule;

/// Transfers that may be open at once, fetching or sending; requests beyond them are turned away. Each holds a file, of
/// which a process often may have no more than 1,024.
pub const MAX_TRANSFERS: usize = 512;
/// Fetches from registries at once.
pub const MAX_FETCHES: usize = 8;
/// Bytes of messages on their way to the broker, not yet acknowledged, above which no further one is sent. One message
/// more than these bytes may be in flight.
pub const MAX_IN_FLIGHT_BYTES: usize = 8 << 20;
/// Messages on their way to the broker at once. Mosquitto 2.0 loses QoS 2 messages beyond 20.
pub const MAX_IN_FLIGHT_MESSAGES: u16 = 20;
