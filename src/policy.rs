//! Which registries a request may reach.

use crate::config::RegistryUrl;
use crate::error::Error;
use crate::reference::{Reference, canonical_host};

/// The egress policy: requests reach the configured registry and no other.
///
/// The original proxy dialled whatever host a request named, so that anybody on the channel could make it speak to
/// hosts inside the operator's network.
#[derive(Debug, Clone)]
pub struct Policy {
    registry: String,
}

impl Policy {
    /// The policy of a proxy with this registry.
    #[must_use]
    pub fn new(registry_url: &RegistryUrl) -> Self {
        Self { registry: canonical_host(&registry_url.host) }
    }

    /// Lets `reference` pass.
    ///
    /// # Errors
    /// [`Error::Denied`] if it names another registry.
    pub fn permit(&self, reference: &Reference) -> Result<(), Error> {
        if reference.registry == self.registry {
            return Ok(());
        }
        Err(Error::Denied {
            object: reference.to_string(),
            reason: format!("this proxy serves modules from {}", self.registry),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_configured_registry_is_reached() {
        let registry_url: RegistryUrl = "localhost:5000".parse().unwrap();
        let policy = Policy::new(&registry_url);
        for (app_name, permitted) in [
            ("add", true),
            ("LOCALHOST:5000/add", true),
            ("localhost:5001/add", false),
            ("169.254.169.254/latest", false),
        ] {
            let reference = Reference::parse(app_name, &registry_url).unwrap();
            assert_eq!(policy.permit(&reference).is_ok(), permitted, "{app_name}");
        }
    }
}
