//! Servers that behave: brokers, registries, collectors, and a site of several of them.

pub mod collector;
pub mod docker_registry;
pub mod front;
pub mod mosquitto;
pub mod process;
pub mod prometheus;
pub mod referrers;
pub mod site;
pub mod tls;
pub mod token_service;
