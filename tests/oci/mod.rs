//! Registries: credentials, redirects, policy, artifacts, signatures, faults; and the store of fetched modules.

mod artifacts;
mod certificates;
mod credentials;
mod egress;
mod floods;
mod hostile;
mod http_proxies;
mod neighbours;
mod pull_policy;
mod pushing;
mod registries;
mod signatures;
mod store;
mod store_folder;
