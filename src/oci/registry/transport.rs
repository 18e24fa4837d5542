//! HTTP with registries: redirects, egress rules and timeouts of one request.

use std::env;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use reqwest::header::{AUTHORIZATION, HeaderValue};
use reqwest::redirect::Policy as RedirectPolicy;
use reqwest::{Client, NoProxy, Proxy, Response, Url};
use tokio::time::timeout;

use super::call::{Call, Redirects};
use super::failure::{Failure, redacted};
use super::resolver::{Forbidden, PublicOnly, is_public};
use super::response::{IDLE_TIMEOUT, location};
use super::upload;
use crate::error::{Error, causes};
use crate::oci::options::RegistryOptions;
use crate::oci::policy::{Policy, Reach};
use crate::tls;
use crate::util::metrics;
use crate::util::sync::lock;

/// How long a TCP and TLS connection to a registry may take to be made.
#[doc(alias = "bound")]
pub(super) const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Redirects that are followed for one request.
#[doc(alias = "bound")]
const MAX_REDIRECTS: usize = 3;
/// Registries on this machine, which are dialled directly whatever the environment says about HTTP proxies.
const DIRECT: &str = "localhost,127.0.0.0/8,::1";

/// The HTTP clients: one for the configured registry, which alone is shown the client certificate; one for other hosts
/// that the operator named; and one for all others, which dials public addresses only. None has HTTP/2.
#[derive(Debug)]
pub(super) struct Transport {
    policy: Policy,
    configured: Client,
    named: Client,
    public: Client,
    proxy_hosts: Vec<String>,
    /// The last exchange with the configured registry; `None` before the first.
    pub(super) last_contact: Mutex<Option<Contact>>,
}

/// An exchange with the configured registry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Contact {
    /// When it ended.
    pub(crate) at: Instant,
    /// Whether the registry answered, whatever it answered; else what failed, without the name of any module.
    pub(crate) outcome: Result<(), String>,
}

impl Transport {
    /// The clients of these options.
    ///
    /// # Errors
    /// [`Error::Setup`] if certificates, keys or proxies are unusable.
    pub(super) fn new(options: &RegistryOptions, policy: Policy) -> Result<Self, Error> {
        let (proxy_hosts, proxies): (Vec<_>, Vec<_>) = proxies()?.into_iter().unzip();
        let roots = tls::roots(&options.ca_certificates)?;
        let client = |identity, resolver: Option<PublicOnly>| {
            let mut builder = Client::builder()
                .tls_backend_preconfigured(tls::client_config(Arc::clone(&roots), &[b"http/1.1"], identity)?)
                .user_agent(concat!("propeller-proxy/", env!("CARGO_PKG_VERSION")))
                .connect_timeout(CONNECT_TIMEOUT)
                .pool_max_idle_per_host(2 * options.max_fetches)
                .redirect(RedirectPolicy::none())
                .no_proxy();
            for proxy in &proxies {
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
            public: client(None, Some(PublicOnly { except: proxy_hosts.clone() }))?,
            proxy_hosts,
            policy,
            last_contact: Mutex::default(),
        })
    }

    /// Records the outcome of an exchange with the configured registry that ends now.
    pub(super) fn record(&self, outcome: Result<(), String>) -> Contact {
        metrics::registry_up(outcome.is_ok());
        let contact = Contact { at: Instant::now(), outcome };
        *lock(&self.last_contact) = Some(contact.clone());
        contact
    }

    /// Sends a call, and follows redirects if it is to: at most three times, never from https to http, and without
    /// `authorization` once scheme, host or port change. Calls `answered` at each response.
    pub(super) async fn send(
        &self,
        call: &Call,
        authorization: Option<&HeaderValue>,
        mut answered: impl FnMut(),
    ) -> Result<Response, Failure> {
        let mut url = call.location.as_ref().unwrap_or(&call.url).clone();
        let mut authorization = authorization.filter(|_| url.origin() == call.url.origin());
        for _ in 0..=MAX_REDIRECTS {
            let response = self.exchange(call, &url, authorization).await?;
            answered();
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
            self.record(outcome(&result));
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

/// The outcome of an exchange. It names no object: whoever reads the readiness must not learn the names of modules.
pub(super) fn outcome<T>(result: &Result<T, Failure>) -> Result<(), String> {
    match result {
        Ok(_) => Ok(()),
        Err(Failure::Transient(error, _) | Failure::Permanent(error)) => Err(match error {
            Error::RegistryUnreachable { detail, .. } => detail.clone(),
            error => error.code().to_owned(),
        }),
    }
}

/// The HTTP proxies that the environment names (`HTTPS_PROXY`, `HTTP_PROXY`, `ALL_PROXY`, `NO_PROXY`), and their hosts.
/// Names in lower case take precedence.
///
/// # Errors
/// [`Error::Setup`] with the variable that is no URL of a proxy. Its value may hold a password and is not shown.
fn proxies() -> Result<Vec<(String, Proxy)>, Error> {
    let given = |name: &str| {
        let mut values = [name.to_lowercase(), name.to_owned()].into_iter().filter_map(|name| env::var(name).ok());
        values.find(|value| !value.is_empty())
    };
    let direct = given("NO_PROXY").map_or_else(|| DIRECT.to_owned(), |hosts| format!("{hosts},{DIRECT}"));
    let mut proxies = Vec::new();
    for (name, covers) in [
        ("HTTPS_PROXY", Proxy::https as fn(Url) -> reqwest::Result<Proxy>),
        ("HTTP_PROXY", Proxy::http),
        ("ALL_PROXY", Proxy::all),
    ] {
        let Some(value) = given(name) else { continue };
        let value = if value.contains("://") { value } else { format!("http://{value}") };
        let url = Url::parse(&value).ok().filter(|url| matches!(url.scheme(), "http" | "https") && url.has_host());
        let proxy = url.and_then(|url| Some((url.host_str()?.to_owned(), covers(url).ok()?)));
        let Some((host, proxy)) = proxy else {
            return Err(Error::Setup {
                object: name.into(),
                detail: "it is not http://host:port or https://host:port".into(),
            });
        };
        proxies.push((host, proxy.no_proxy(NoProxy::from_string(&direct))));
    }
    Ok(proxies)
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncReadExt;
    use tokio::net::TcpListener;

    use super::*;

    /// The protocols that `client` offers to a server (RFC 7301), as its first message has them.
    async fn offered(client: &Client) -> Vec<&'static str> {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let request = client.get(format!("https://{}/", listener.local_addr().unwrap())).send();
        let hello = async {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut hello = vec![0; 5];
            stream.read_exact(&mut hello).await.unwrap();
            let length = usize::from(u16::from_be_bytes([hello[3], hello[4]]));
            hello.resize(5 + length, 0);
            stream.read_exact(&mut hello[5..]).await.unwrap();
            hello
        };
        let (_, hello) = tokio::join!(request, hello);
        let offers = |name: &&str| {
            let entry = [&[u8::try_from(name.len()).unwrap()], name.as_bytes()].concat();
            hello.windows(entry.len()).any(|part| part == entry)
        };
        ["h2", "http/1.1"].into_iter().filter(offers).collect()
    }

    #[tokio::test]
    async fn no_registry_is_offered_http2() {
        let options = RegistryOptions::for_tests("registry.example");
        let transport = Transport::new(&options, Policy::new(&options)).unwrap();
        for client in [&transport.configured, &transport.named, &transport.public] {
            assert_eq!(offered(client).await, ["http/1.1"]);
        }
    }
}
