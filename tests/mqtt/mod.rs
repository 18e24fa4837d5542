//! The link to the broker: channels, TLS, slow and broken links, status messages and presence.

mod broker_loss;
mod channels;
mod slow_links;
mod status;
mod tls;
