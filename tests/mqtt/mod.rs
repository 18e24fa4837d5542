//! The link to the broker: channels, TLS, slow and broken links, status messages and presence.

mod broker_loss;
mod channels;
mod client_ids;
mod slow_links;
mod status;
mod tls;
