//! MQTT: connections to the broker, and what is said over them.
//!
//! [`connection`] and what is below it know the MQTT library, and nothing else does. It must never know registries or how
//! modules are delivered.

mod ack;
pub mod address;
mod backoff;
pub mod check;
pub mod chunk;
mod connection;
mod options;
pub mod presence;
mod publisher;
mod refusal;
pub mod request;
mod socket;
pub mod status;
pub mod topic;

pub use self::ack::Ack;
pub use self::address::BrokerAddress;
pub use self::check::check;
pub use self::connection::{Connection, Health, Message};
pub use self::options::{Backoff, BrokerOptions, ConnectionOptions, Login, Session, Subscription, TlsOptions, Will};
pub use self::publisher::{Acknowledgement, Publisher};
