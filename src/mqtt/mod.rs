//! MQTT 3.1.1: the connection to the broker, and the topics and payloads of wire protocol 1.
//!
//! A [`Connection`] subscribes, reconnects with a backoff and reports its [`Health`]; a [`Publisher`] publishes over it
//! and returns the broker's [`Acknowledgement`]; an [`Ack`] acknowledges a message that arrived. [`topic`],
//! [`request`], [`chunk`], [`status`] and [`presence`] are what the messages mean. Only this folder knows the MQTT
//! library. It must never know registries, or which message is published when: it imports [`crate::error`],
//! [`crate::util`], [`crate::tls`] and [`crate::oci::digest`], and nothing else of this crate.
//!
//! Its files import one way:
//!
//! ```text
//! address ← backoff ← options ← socket, refusal ← driver ← connection ← check, presence
//!                      message, backlog, publisher ← driver
//!                                      cutter ← socket
//! topic, request, chunk, status ← check, presence
//! ```

pub mod address;
mod backlog;
mod backoff;
mod check;
pub mod chunk;
mod connection;
mod cutter;
mod driver;
mod message;
mod options;
pub mod presence;
mod publisher;
mod refusal;
pub mod request;
mod socket;
pub mod status;
pub mod topic;

pub use self::address::BrokerAddress;
pub use self::backoff::Backoff;
pub use self::check::check;
pub use self::connection::Connection;
pub use self::message::{Ack, Message};
pub use self::options::{BrokerOptions, ConnectionOptions, Login, Session, Subscription, TlsOptions, Will};
pub use self::publisher::{Acknowledgement, Health, Publisher};
pub use self::socket::MAX_IN_FLIGHT_MESSAGES;
