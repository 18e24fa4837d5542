//! The HTTP proxies that the environment names (`HTTPS_PROXY`, `HTTP_PROXY`, `ALL_PROXY`, `NO_PROXY`).

use std::env;

use reqwest::{NoProxy, Proxy, Url};

use crate::error::Error;

/// Registries on this machine, which are dialled directly whatever the environment says.
const DIRECT: &str = "localhost,127.0.0.0/8,::1";

/// The HTTP proxies, and their hosts.
#[derive(Debug, Default)]
pub(super) struct Proxies {
    pub(super) list: Vec<Proxy>,
    pub(super) hosts: Vec<String>,
}

impl Proxies {
    /// Reads the environment. Names in lower case take precedence.
    ///
    /// # Errors
    /// [`Error::Setup`] with the variable that is no URL of a proxy. Its value may hold a password and is not shown.
    pub(super) fn from_env() -> Result<Self, Error> {
        let given = |name: &str| {
            let mut values = [name.to_lowercase(), name.to_owned()].into_iter().filter_map(|name| env::var(name).ok());
            values.find(|value| !value.is_empty())
        };
        let direct = given("NO_PROXY").map_or_else(|| DIRECT.to_owned(), |hosts| format!("{hosts},{DIRECT}"));
        let mut proxies = Self::default();
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
            proxies.hosts.push(host);
            proxies.list.push(proxy.no_proxy(NoProxy::from_string(&direct)));
        }
        Ok(proxies)
    }
}
