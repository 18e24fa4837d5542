//! The egress policy: which registries a request may name, and which hosts may be dialled.
//!
//! The original proxy dialled any host that a request named, so that every client of the channel could reach hosts
//! inside the operator's network. Here a request may name only registries that the operator permits
//! ([`Policy::permit`]); and for each URL that is dialled, from a request or a response, [`Policy::reach`] says whether
//! the operator named its host. Other hosts are dialled at public addresses only.

use url::{Host, Url};

use crate::error::{Error, Refusal};
use crate::oci::host::{RegistryUrl, Scheme, api_host, canonical_host};
use crate::oci::options::{Permission, RegistryOptions, Repositories};
use crate::oci::reference::Reference;
use crate::util::authority::is_loopback;

/// Token services that are trusted though they are on another host than their registry.
const TOKEN_SERVICES: [(&str, &str); 2] = [("docker.io", "auth.docker.io"), ("registry.gitlab.com", "gitlab.com")];

/// A host and port as they are dialled (RFC 3986, section 3.2).
type Authority = (Host<String>, u16);

/// The egress policy.
#[derive(Debug, Clone)]
pub(crate) struct Policy {
    registry: RegistryUrl,
    permissions: Vec<Permission>,
    /// The configured registry.
    configured: Option<Authority>,
    /// All other hosts that the operator named.
    named: Vec<Authority>,
    /// Registries and their token services on other hosts.
    token_services: Vec<(String, Authority)>,
}

/// How far a URL may lead.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reach {
    /// To the configured registry, at whatever address.
    Configured,
    /// To another host that the operator named, at whatever address.
    Named,
    /// To a public address.
    Public,
}

impl Policy {
    /// The policy of these options.
    pub(crate) fn new(options: &RegistryOptions) -> Self {
        let configured = options.token_services.iter().filter_map(|service| {
            let scheme = if is_loopback(&service.host) { Scheme::Http } else { Scheme::Https };
            Some((service.registry.clone(), authority(scheme, &service.host)?))
        });
        let configured: Vec<_> = configured.collect();
        let known = TOKEN_SERVICES.iter();
        let known =
            known.filter_map(|(registry, host)| Some(((*registry).to_owned(), authority(Scheme::Https, host)?)));
        let registries = options.allow.iter().filter_map(|permission| match permission {
            Permission::Registry { scheme, host, .. } => authority(*scheme, host),
            Permission::AnyPublic => None,
        });
        let mirrors = options.mirrors.iter().filter_map(|mirror| authority(mirror.url.scheme, &mirror.url.host));
        let services = configured.iter().map(|(_, authority)| authority.clone());
        Self {
            named: registries.chain(mirrors).chain(services).collect(),
            configured: authority(options.url.scheme, &options.url.host),
            registry: options.url.clone(),
            permissions: options.allow.clone(),
            token_services: known.chain(configured).collect(),
        }
    }

    /// Permits a reference to a registry of the allow-list, or to the configured one, which is permitted as a whole
    /// unless the list has entries for it.
    ///
    /// # Errors
    /// [`Error::Denied`].
    pub(crate) fn permit(&self, reference: &Reference) -> Result<(), Error> {
        let mut entries = self.repositories(&reference.registry).peekable();
        let any = || self.permissions.contains(&Permission::AnyPublic);
        let permitted = if entries.peek().is_some() {
            entries.any(|repositories| repositories.contain(&reference.repository))
        } else {
            reference.registry == self.registry.host || any()
        };
        if permitted {
            return Ok(());
        }
        let (object, reason) = (reference.to_string(), "the allow-list does not have it".to_owned());
        Err(Error::Denied { object, reason, refusal: Refusal::Registry })
    }

    /// The configured registry.
    pub(crate) fn registry(&self) -> &RegistryUrl {
        &self.registry
    }

    /// Whether the operator named this registry, `host[:port]` as references have it.
    pub(crate) fn names(&self, registry: &str) -> bool {
        registry == self.registry.host || self.repositories(registry).next().is_some()
    }

    /// Whether the operator named the host and port of `url`.
    pub(crate) fn reach(&self, url: &Url) -> Reach {
        let authority = authority_of(url);
        if authority.is_some() && authority == self.configured {
            Reach::Configured
        } else if authority.is_some_and(|authority| self.named.contains(&authority)) {
            Reach::Named
        } else {
            Reach::Public
        }
    }

    /// Whether credentials for `registry`, whose API is at `origin`, may be sent to the token service at `realm`: one
    /// on the same host and port, or a known pair; never one without TLS where the registry has it.
    pub(crate) fn trusts_tokens_of(&self, registry: &str, origin: &Url, realm: &Url) -> bool {
        let (Some(here), Some(there)) = (authority_of(origin), authority_of(realm)) else { return false };
        let known = || self.token_services.iter().any(|(name, authority)| name == registry && *authority == there);
        let downgraded = origin.scheme() == "https" && realm.scheme() != "https";
        !downgraded && matches!(realm.scheme(), "http" | "https") && (here == there || known())
    }

    /// The URL scheme of the registry `host`: the operator's where it is named, else https, but http on this machine.
    pub(crate) fn scheme(&self, host: &str) -> Scheme {
        let listed = self.permissions.iter().find_map(|permission| match permission {
            Permission::Registry { scheme, host: listed, .. } if listed == host => Some(*scheme),
            _ => None,
        });
        match listed {
            _ if host == self.registry.host => self.registry.scheme,
            Some(scheme) => scheme,
            None if is_loopback(host) => Scheme::Http,
            None => Scheme::Https,
        }
    }

    fn repositories<'a>(&'a self, registry: &'a str) -> impl Iterator<Item = &'a Repositories> {
        self.permissions.iter().filter_map(move |permission| match permission {
            Permission::Registry { host, repositories, .. } if host == registry => Some(repositories),
            _ => None,
        })
    }
}

fn authority(scheme: Scheme, host: &str) -> Option<Authority> {
    authority_of(&Url::parse(&format!("{scheme}://{}", api_host(&canonical_host(host)))).ok()?)
}

fn authority_of(url: &Url) -> Option<Authority> {
    Some((url.host()?.to_owned(), url.port_or_known_default()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy(registry_url: &str, allow: &str) -> (Policy, RegistryUrl) {
        let token_services = vec!["r.example=auth.example:8443".parse().unwrap()];
        let options = RegistryOptions { token_services, ..RegistryOptions::for_tests(registry_url).allow(allow) };
        (Policy::new(&options), options.url)
    }

    #[test]
    fn requests_name_what_the_operator_permits() {
        for (url, allow, permitted, denied) in [
            (
                "localhost:5000",
                "",
                vec!["add", "LOCALHOST:5000/add"],
                vec!["localhost:5001/add", "ghcr.io/add", "169.254.169.254/latest"],
            ),
            ("localhost:5000", "ghcr.io/acme/*", vec!["add", "ghcr.io/acme/add"], vec!["ghcr.io/add", "docker.io/add"]),
            ("ghcr.io", "ghcr.io/acme/*", vec!["acme/add", "ghcr.io:443/acme/add"], vec!["add", "ghcr.io/other/add"]),
            ("localhost:5000", "*", vec!["add", "ghcr.io/add", "docker.io/add"], vec![]),
            ("localhost:5000", "*, ghcr.io/acme/*", vec!["docker.io/add"], vec!["ghcr.io/add"]),
            ("localhost:5000", "docker.io/add", vec!["docker.io/library/add"], vec!["docker.io/acme/add"]),
        ] {
            let (policy, url) = policy(url, allow);
            let permits = |name: &str| policy.permit(&Reference::parse(name, &url).unwrap()).is_ok();
            assert!(permitted.iter().all(|name| permits(name)), "{allow}: {permitted:?}");
            assert!(!denied.iter().any(|name| permits(name)), "{allow}: {denied:?}");
        }
    }

    #[test]
    fn urls_reach_inside_only_where_the_operator_said_so() {
        let (policy, _) = policy("127.0.0.1:5000", "docker.io, http://inner:5000/acme/*, ghcr.io");
        for (url, reach) in [
            ("http://127.0.0.1:5000/v2/", Reach::Configured),
            ("http://127.0.0.1:5001/v2/", Reach::Public),
            ("http://localhost:5000/v2/", Reach::Public),
            ("https://registry-1.docker.io/v2/", Reach::Named),
            ("http://inner:5000/v2/", Reach::Named),
            ("http://inner/v2/", Reach::Public),
            ("https://ghcr.io:443/v2/", Reach::Named),
            ("https://auth.example:8443/token", Reach::Named),
            ("https://auth.docker.io/token", Reach::Public),
        ] {
            assert_eq!(policy.reach(&Url::parse(url).unwrap()), reach, "{url}");
        }
    }

    #[test]
    fn tokens_come_from_the_registry_itself_or_a_known_pair() {
        let (policy, _) = policy("localhost:5000", "");
        for (registry, origin, realm, trusted) in [
            ("r.test", "https://r.test/v2/a", "https://r.test/token", true),
            ("r.test", "https://r.test/v2/a", "https://r.test:443/token", true),
            ("localhost:5000", "http://localhost:5000/v2/a", "http://localhost:5000/token", true),
            ("docker.io", "https://registry-1.docker.io/v2/a", "https://auth.docker.io/token", true),
            ("r.example", "https://r.example/v2/a", "https://auth.example:8443/token", true),
            ("r.example", "https://r.example/v2/a", "https://auth.example/token", false),
            ("r.example", "https://r.example/v2/a", "http://auth.example:8443/token", false),
            ("r.test", "https://r.test/v2/a", "https://auth.docker.io/token", false),
            ("r.test", "https://r.test/v2/a", "http://r.test:443/token", false),
            ("r.test", "https://r.test/v2/a", "https://r.test:8443/token", false),
            ("r.test", "https://r.test/v2/a", "https://evil.test/token", false),
            ("docker.io", "https://registry-1.docker.io/v2/a", "https://auth.docker.io:444/token", false),
        ] {
            let urls = [origin, realm].map(|url| Url::parse(url).unwrap());
            assert_eq!(policy.trusts_tokens_of(registry, &urls[0], &urls[1]), trusted, "{registry} {realm}");
        }
    }
}
