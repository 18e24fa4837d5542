//! Whether the configured registry answers, whatever it answers.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use reqwest::{Method, Url};

use super::retry::Failure;
use super::transport::{Call, silent};
use super::{Endpoint, Registry, Repository};
use crate::error::Error;
use crate::oci::host::RegistryUrl;
use crate::oci::host::api_host;
use crate::telemetry::readiness::{Check, Probe};
use crate::util::metrics;

/// How long an answer is taken for a sign that the next one will come.
const GOOD_FOR: Duration = Duration::from_secs(30);
/// How often a registry that does not answer is asked.
const BAD_FOR: Duration = Duration::from_secs(10);
/// How long it may take to answer when it is asked for nothing but an answer.
const TIMEOUT: Duration = Duration::from_secs(5);

pub(super) fn probe() -> Probe {
    Probe::new(GOOD_FOR, BAD_FOR, metrics::registry_up)
}

/// Where a registry says that it is one (OCI distribution specification, "Determining Support").
///
/// # Errors
/// [`Error::RegistryUnreachable`] if its address makes no URL.
pub(super) fn root(RegistryUrl { scheme, host, .. }: &RegistryUrl) -> Result<Url, Error> {
    let root = format!("{scheme}://{}/v2/", api_host(host));
    Url::parse(&root).map_err(|error| Error::RegistryUnreachable { object: root, detail: error.to_string() })
}

/// What a call has found out: whether there was an answer, and why not. Not what was asked for: who asks for readiness
/// is to learn no names of modules.
pub(super) fn found<T>(answer: &Result<T, Failure>) -> Check {
    let Err(Failure::Transient(error, _) | Failure::Permanent(error)) = answer else {
        return Check::new(true, "it answers");
    };
    match error {
        Error::RegistryUnreachable { detail, .. } => Check::new(false, detail.clone()),
        error => Check::new(false, error.code()),
    }
}

impl Registry {
    /// Whether the configured registry answers.
    pub(crate) fn contact(&self) -> &Probe {
        &self.contact
    }

    /// Asks the configured registry for an answer. Every contact with it is noted, and so is this one.
    pub(crate) async fn greet(&self) -> Check {
        let Some(root) = &self.root else { return Check::new(false, "its address is no URL") };
        let call = Call::new(Method::GET, root.clone());
        let answer = tokio::time::timeout(TIMEOUT, self.transport.send_once(&call, root, None)).await;
        found(&answer.unwrap_or_else(|_| Err(silent(root, TIMEOUT))))
    }

    /// What an endpoint is called in metrics: by its name only if the operator knows it.
    pub(super) fn label<'a>(&self, endpoint: &'a Endpoint) -> &'a str {
        if endpoint.mirror || self.policy.names(&endpoint.host) { &endpoint.host } else { metrics::OTHER_REGISTRY }
    }
}

impl Repository<'_> {
    /// The time is over in which it may be asked: what has no answer yet will have none.
    pub fn be_late(&self) {
        self.is_late.store(true, Ordering::Relaxed);
    }

    /// Counts an answer, or that there was none.
    pub(super) async fn counted<T>(
        &self,
        endpoint: &Endpoint,
        answer: impl Future<Output = Result<T, Error>>,
    ) -> Result<T, Error> {
        let mut question = Question { label: self.registry.label(endpoint), is_late: &self.is_late, outcome: None };
        let answer = answer.await;
        question.outcome = Some(answer.as_ref().map_or_else(Error::code, |_| "ok"));
        answer
    }
}

/// Something that is asked for. It is counted also if nobody waits for the answer to the end.
struct Question<'a> {
    label: &'a str,
    is_late: &'a AtomicBool,
    outcome: Option<&'static str>,
}

impl Drop for Question<'_> {
    fn drop(&mut self) {
        let is_late = self.is_late.load(Ordering::Relaxed);
        let outcome = self.outcome.unwrap_or(if is_late { "registry-unreachable" } else { "withdrawn" });
        metrics::fetches(self.label, outcome).increment(1);
    }
}
