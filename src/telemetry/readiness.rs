//! Whether the proxy can do its work now, and what is in its way.

use std::borrow::Cow;

/// Whether the proxy can do its work now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Readiness {
    /// It is connected to the broker, and subscribed to its requests.
    pub broker: Check,
    /// The configured registry answers.
    pub registry: Check,
    /// The folder of the store can be written to.
    pub store: Check,
    /// The folder of the state can be written to.
    pub state: Check,
}

impl Readiness {
    /// Whether every check passed.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.checks().iter().all(|(_, check)| check.ok)
    }

    /// The checks by name.
    #[must_use]
    pub fn checks(&self) -> [(&'static str, &Check); 4] {
        let Self { broker, registry, store, state } = self;
        [("broker", broker), ("registry", registry), ("store", store), ("state", state)]
    }
}

/// One condition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Check {
    /// Whether it holds.
    pub ok: bool,
    /// What was observed, for people.
    pub detail: Cow<'static, str>,
}

impl Check {
    pub(crate) fn new(ok: bool, detail: impl Into<Cow<'static, str>>) -> Self {
        Self { ok, detail: detail.into() }
    }
}
