//! HTTP with registries: redirects, egress rules and timeouts of one request.

use std::sync::Arc;
use std::time::Duration;

use reqwest::header::{AUTHORIZATION, HeaderValue};
use reqwest::redirect::Policy as RedirectPolicy;
use reqwest::{Client, Response, Url};
use tokio::time::timeout;

use super::bounds::IDLE_TIMEOUT;
use super::call::{Call, Redirects};
use super::contact::{LastContact, outcome};
use super::failure::{Failure, redacted};
use super::proxies::Proxies;
use super::resolver::{Forbidden, PublicOnly, is_public};
use super::response::location;
use super::upload;
use crate::error::{Error, causes};
use crate::oci::options::RegistryOptions;
use crate::oci::policy::{Policy, Reach};
use crate::tls;

/// How long a TCP and TLS connection to a registry may take to be made.
#[doc(alias = "bound")]
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Redirects that are followed for one request.
#[doc(alias = "bound")]
const MAX_REDIRECTS: usize = 3;

/// The HTTP clients: one for the configured registry, which alone is shown the client certificate; one for other hosts
/// that the operator named; and one for all others, which dials public addresses only.
#[derive(Debug)]
pub(super) struct Transport {
    policy: Policy,
    configured: Client,
    named: Client,
    public: Client,
    proxy_hosts: Vec<String>,
    last_contact: LastContact,
}

impl Transport {
    /// The clients of these options.
    ///
    /// # Errors
    /// [`Error::Setup`] if certificates, keys or proxies are unusable.
    pub(super) fn new(options: &RegistryOptions, policy: Policy) -> Result<Self, Error> {
        let proxies = Proxies::from_env()?;
        let roots = tls::roots(&options.ca_certificates)?;
        let client = |identity, resolver: Option<PublicOnly>| {
            let mut builder = Client::builder()
                .tls_backend_preconfigured(tls::client_config(Arc::clone(&roots), &[b"h2", b"http/1.1"], identity)?)
                .user_agent(concat!("propeller-proxy/", env!("CARGO_PKG_VERSION")))
                .connect_timeout(CONNECT_TIMEOUT)
                .pool_max_idle_per_host(options.max_fetches)
                .redirect(RedirectPolicy::none())
                .no_proxy();
            for proxy in &proxies.list {
                builder = builder.proxy(proxy.clone());
            }
            if let Some(resolver) = resolver {
                builder = builder.dns_resolver(Arc::new(resolver));
            }
            builder.build().map_err(|error| Error::Setup { object: "HTTP client".into(), detail: causes(&error) })
        };
        Ok(Self {
            configured: client(options.client_identity.as_ref(), None)?,
            named: client(None, None)?,
            public: client(None, Some(PublicOnly { except: proxies.hosts.clone() }))?,
            proxy_hosts: proxies.hosts,
            policy,
            last_contact: LastContact::default(),
        })
    }

    /// Exchanges with the configured registry.
    pub(super) fn last_contact(&self) -> &LastContact {
        &self.last_contact
    }

    /// Sends a call, and follows redirects if it is to: at most three times, never from https to http, and without
    /// `authorization` once scheme, host or port change.
    pub(super) async fn send(&self, call: &Call, authorization: Option<&HeaderValue>) -> Result<Response, Failure> {
        let mut url = call.location.as_ref().unwrap_or(&call.url).clone();
        let mut authorization = authorization.filter(|_| url.origin() == call.url.origin());
        for _ in 0..=MAX_REDIRECTS {
            let response = self.exchange(call, &url, authorization).await?;
            if call.redirects == Redirects::Return || !is_redirect(&response) {
                return Ok(response);
            }
            let next = location(&response)?;
            authorization = authorization.filter(|_| next.origin() == url.origin());
            url = next;
        }
        let detail = format!("it redirects more than {MAX_REDIRECTS} times");
        Err(Failure::Permanent(Error::RegistryAnswer { object: redacted(&call.url), detail }))
    }

    /// Sends one request to `url`, and waits for the head of the response.
    async fn exchange(&self, call: &Call, url: &Url, authorization: Option<&HeaderValue>) -> Result<Response, Failure> {
        let is_own = self.policy.reach(&call.url) == Reach::Configured;
        let client = self.client(url, is_own)?;
        let mut request = client.request(call.method.clone(), url.clone()).headers(call.headers.clone());
        if let Some(authorization) = authorization {
            request = request.header(AUTHORIZATION, authorization);
        }
        let result = match &call.body {
            Some(body) => upload::send(request, url, body).await,
            None => match timeout(IDLE_TIMEOUT, request.send()).await {
                Ok(response) => response.map_err(Failure::unreachable),
                Err(_) => Err(Failure::silent(url, IDLE_TIMEOUT)),
            },
        };
        if is_own && self.policy.reach(url) == Reach::Configured {
            self.last_contact.record(outcome(&result));
        }
        result
    }

    /// The client that may dial `url`. The addresses of a name are checked when it is resolved. The client certificate
    /// is for calls to the configured registry (`is_own`), not for redirects of another one to it.
    fn client(&self, url: &Url, is_own: bool) -> Result<&Client, Failure> {
        match self.policy.reach(url) {
            Reach::Configured if is_own => return Ok(&self.configured),
            Reach::Configured | Reach::Named => return Ok(&self.named),
            Reach::Public => {}
        }
        let refused = match url.host() {
            Some(url::Host::Ipv4(ip)) => (!is_public(ip.into())).then(|| Forbidden(ip.into()).to_string()),
            Some(url::Host::Ipv6(ip)) => (!is_public(ip.into())).then(|| Forbidden(ip.into()).to_string()),
            Some(url::Host::Domain(name)) => {
                self.proxy_hosts.iter().any(|host| host == name).then(|| "it is the HTTP proxy".to_owned())
            }
            None => Some("it has no host".into()),
        };
        match refused {
            Some(reason) => Err(Failure::denied(url, reason)),
            None => Ok(&self.public),
        }
    }
}

fn is_redirect(response: &Response) -> bool {
    matches!(response.status().as_u16(), 301 | 302 | 303 | 307 | 308)
}
