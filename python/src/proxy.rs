//! The service in this process.

use std::sync::{Arc, Mutex, PoisonError};

use propeller_proxy::config::Config;
use propeller_proxy::error::Error;
use propeller_proxy::journal::{Report, Stats};
use propeller_proxy::service::Service;
use propeller_proxy::topic::{App, Channel, Layout};
use pyo3::prelude::*;
use pyo3::types::PyDict;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::events::Events;
use crate::failure::Failure;
use crate::job::{Job, Progress, Reply, nothing};
use crate::runtime::{Own, Process};
use crate::settings::{Settings, lookup};

/// A proxy that runs between `start` and `stop`, once.
#[pyclass(frozen, module = "propeller_proxy._core")]
pub(crate) struct Proxy(Own<Arc<Inner>>);

struct Inner {
    config: Config,
    service: Mutex<Option<Arc<Service>>>,
    stop: CancellationToken,
    /// Cancelled when the service has come to its end.
    ended: CancellationToken,
}

impl Inner {
    fn service(&self) -> Result<Arc<Service>, Failure> {
        let service = self.service.lock().unwrap_or_else(PoisonError::into_inner);
        service.clone().ok_or_else(|| Failure::Closed("the proxy is not started".into()))
    }

    /// Runs the service; returns when it is subscribed. If that is given up, the service is stopped again.
    async fn start(self: Arc<Self>) -> Result<(), Failure> {
        let config = self.config.clone();
        let service = tokio::task::spawn_blocking(move || Service::new(config)).await;
        let service = service.map_err(|error| Failure::Setup(error.to_string()))??;
        let mut ready = service.ready();
        let unless_started = self.stop.clone().drop_guard();
        let mut running = self.run(Arc::clone(&service))?;
        let (address, waited) = (self.config.mqtt.address.to_string(), self.config.mqtt.timeout);
        tokio::select! {
            end = &mut running => {
                end.map_err(|error| Failure::Setup(error.to_string()))??;
                return Err(Failure::Closed("it was stopped while it started".into()));
            }
            _ = ready.wait_for(|ready| *ready) => {}
            () = tokio::time::sleep(waited) => {
                return Err(Error::BrokerUnreachable { object: address, waited }.into());
            }
        }
        *self.service.lock().unwrap_or_else(PoisonError::into_inner) = Some(service);
        unless_started.disarm();
        Ok(())
    }

    fn run(self: &Arc<Self>, service: Arc<Service>) -> Result<JoinHandle<Result<(), Error>>, Failure> {
        let process = Process::current()?;
        let (inner, exit) = (Arc::clone(self), process.exit.clone());
        Ok(process.services.spawn_on(
            async move {
                let end = {
                    let mut running = std::pin::pin!(service.run(inner.stop.clone()));
                    tokio::select! {
                        end = &mut running => end,
                        () = exit.cancelled() => {
                            inner.stop.cancel();
                            running.await
                        }
                    }
                };
                inner.ended.cancel();
                end
            },
            &process.handle,
        ))
    }

    /// The app on the channel that is named, or on the only one there is.
    fn app(
        service: &Service,
        name: &str,
        domain: Option<String>,
        channel: Option<String>,
        layout: &str,
    ) -> Result<App, Failure> {
        let named: Vec<_> = service.channels().named().collect();
        let channel = match (domain, channel, named.as_slice()) {
            (None, None, [only]) => only.clone(),
            (None, Some(id), _) if !named.is_empty() => Channel { domain: service.channels().domain.clone(), id },
            (Some(domain), None, [only]) => Channel { domain, id: only.id.clone() },
            (Some(domain), Some(id), _) => Channel { domain, id },
            _ => {
                let message = "the proxy serves several channels: say which channel, and in which domain";
                return Err(Failure::Configuration(message.into()));
            }
        };
        let layout = parse_layout(layout)
            .ok_or_else(|| Failure::Configuration(format!("{layout:?} is no layout; give plain or messages")))?;
        Ok(App { channel: channel.into(), layout, name: name.into() })
    }
}

/// Reads the name of a layout of topics.
pub(crate) fn parse_layout(name: &str) -> Option<Layout> {
    match name {
        "plain" => Some(Layout::Plain),
        "messages" => Some(Layout::Messages),
        _ => None,
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

#[pymethods]
impl Proxy {
    /// Reads and checks the settings; connects to nothing.
    #[new]
    fn new(settings: Settings) -> PyResult<Self> {
        let config = Config::load(lookup(settings)).map_err(Failure::from)?;
        let (stop, ended) = (CancellationToken::new(), CancellationToken::new());
        Ok(Self(Own::new(Arc::new(Inner { config, service: Mutex::default(), stop, ended }))))
    }

    /// The id of the proxy, once it is started.
    #[getter]
    fn instance_id(&self) -> PyResult<Option<String>> {
        Ok(self.0.get()?.service().ok().map(|service| service.instance_id().to_owned()))
    }

    /// Starts it; done when it is subscribed.
    fn start(&self) -> PyResult<Job> {
        let inner = Arc::clone(self.0.get()?);
        Ok(Job::start(async move { inner.start().await.map(|()| nothing()) })?)
    }

    /// Stops it; done when it has left the broker.
    fn stop(&self) -> PyResult<Job> {
        let inner = Arc::clone(self.0.get()?);
        Ok(Job::start(async move {
            inner.stop.cancel();
            let service = inner.service.lock().unwrap_or_else(PoisonError::into_inner).take();
            if service.is_some() {
                inner.ended.cancelled().await;
            }
            Ok(nothing())
        })?)
    }

    /// Delivers a module without being asked by a device.
    fn deliver(
        &self,
        app_name: String,
        domain: Option<String>,
        channel: Option<String>,
        layout: &str,
    ) -> PyResult<Job> {
        let service = self.0.get()?.service()?;
        let app = Inner::app(&service, &app_name, domain, channel, layout)?;
        let (progress, asked) = (Progress::default(), app.clone());
        let (watched, watching) = (Arc::clone(&service), progress.clone());
        let look = move || watching.or_last(watched.progress(&app));
        Ok(Job::start_with(look, async move {
            let report = service.ask(asked).await.map_err(Failure::of(&app_name))?;
            progress.complete(report.plan.total_chunks());
            Ok(Box::new(move |py: Python<'_>| report_dict(py, &app_name, &report)) as Reply)
        })?)
    }

    /// What happens from now on.
    fn events(&self) -> PyResult<Events> {
        let inner = self.0.get()?;
        Ok(Events::new(inner.service()?.journal().watch(), inner.ended.clone()))
    }

    /// How often things happened, and how it is doing.
    fn stats<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let service = self.0.get()?.service()?;
        let Stats {
            requests,
            joined,
            delivered,
            failed,
            repeated,
            published_chunks,
            published_bytes,
            acknowledged_chunks,
            connections,
        } = service.journal().stats();
        let stats = PyDict::new(py);
        for (name, count) in [
            ("requests", requests),
            ("joined", joined),
            ("delivered", delivered),
            ("failed", failed),
            ("repeated", repeated),
            ("published_chunks", published_chunks),
            ("published_bytes", published_bytes),
            ("acknowledged_chunks", acknowledged_chunks),
            ("connections", connections),
        ] {
            stats.set_item(name, count)?;
        }
        stats.set_item("open_transfers", service.open_transfers())?;
        stats.set_item("is_ready", *service.ready().borrow())?;
        Ok(stats)
    }
}

/// The fields of a report.
fn report_dict(py: Python<'_>, reference: &str, report: &Report) -> PyResult<Py<PyAny>> {
    let fields = PyDict::new(py);
    let (fetching, sending) = (report.fetching.as_secs_f64(), report.sending.as_secs_f64());
    fields.set_item("reference", reference)?;
    fields.set_item("digest", report.digest.to_string())?;
    fields.set_item("size", report.plan.size())?;
    fields.set_item("chunk_size", report.plan.chunk_size().get())?;
    fields.set_item("total_chunks", report.plan.total_chunks())?;
    fields.set_item("sent_chunks", report.sent_chunks)?;
    fields.set_item("requests", report.requests)?;
    fields.set_item("wire_bytes", report.sent_bytes)?;
    fields.set_item("fetch_seconds", fetching)?;
    fields.set_item("send_seconds", sending)?;
    fields.set_item("seconds", fetching + sending)?;
    Ok(fields.into_any().unbind())
}
