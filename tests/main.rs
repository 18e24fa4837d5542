//! Integration tests: the daemon on a real mosquitto and a real docker-registry.

mod support;

mod architecture;
mod cli;
mod delivery;
mod mqtt;
mod oci;
mod operations;
mod soak;
