//! Clients of these servers: the daemon and its commands, devices, and publishers of artifacts.

pub mod archives;
pub mod artifacts;
pub mod cli;
pub mod client;
pub mod cosign;
pub mod daemon;
pub mod endpoint;
pub mod helper;
pub mod log;
pub mod proplet;
pub mod push;
pub mod task;
