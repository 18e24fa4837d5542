//! What a delivery takes besides the proxy, inside the process: the demo, tests and fixtures need nothing installed.

pub mod broker;
pub mod layout;
mod port;
pub mod proplet;
pub mod registry;
pub mod sample;
