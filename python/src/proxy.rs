//! The proxy in this process.

use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use propeller_proxy::config::{self, LogLevel};
use propeller_proxy::error::Error;
use propeller_proxy::mqtt::topic::{App, Channel, Layout};
use propeller_proxy::service::Service;
use propeller_proxy::service::ServiceOptions;
use propeller_proxy::telemetry::events::{Report, Stats};
use propeller_proxy::util::sync::lock;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList};
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

use crate::batch;
use crate::events::Events;
use crate::failure::Failure;
use crate::job::{Job, Progress, Reply, none};
use crate::own::Own;
use crate::runtime::Process;
use crate::settings::{Settings, sources};

/// A proxy, which runs between `start` and `stop`, any number of times.
#[pyclass(frozen, module = "propeller_proxy._core")]
pub(crate) struct Proxy(Own<Arc<Inner>>);

struct Inner {
    config: ServiceOptions,
    /// The latest run.
    run: Mutex<Arc<Run>>,
}

/// One run of the service, from a start to its stop.
#[derive(Default)]
struct Run {
    /// `None` before the service runs and after its end.
    service: Mutex<Option<Service>>,
    stop: CancellationToken,
    /// Cancelled when the run has ended; from the beginning in [`Run::none`].
    ended: CancellationToken,
}

impl Inner {
    fn run(&self) -> Arc<Run> {
        lock(&self.run).clone()
    }

    fn service(&self) -> Result<Service, Failure> {
        let service = self.run().service().clone();
        service.ok_or_else(|| Failure::Closed("the proxy does not run".into()))
    }

    /// Delivers a module; makes a report for Python.
    async fn deliver(&self, app_name: String, target: &Target) -> Result<Reply, Failure> {
        let service = self.service()?;
        let app = target.app(&service, &app_name)?;
        let report = service.deliver(app).await.map_err(Failure::of(&app_name))?;
        Ok(Box::new(move |py| report_dict(py, &app_name, &report)))
    }
}

/// Where a module is delivered to, as the caller names it.
struct Target {
    domain: Option<String>,
    channel: Option<String>,
    layout: String,
}

impl Target {
    /// The app on the named channel, or on the only channel that the proxy serves.
    fn app(&self, service: &Service, name: &str) -> Result<App, Failure> {
        let named: Vec<_> = service.channels().named().collect();
        let channel = match (self.domain.clone(), self.channel.clone(), named.as_slice()) {
            (None, None, [only]) => only.clone(),
            (None, Some(id), _) if !named.is_empty() => Channel { domain: service.channels().domain.clone(), id },
            (Some(domain), None, [only]) => Channel { domain, id: only.id.clone() },
            (Some(domain), Some(id), _) => Channel { domain, id },
            _ => {
                let message = "the proxy serves several channels: say which channel, and in which domain";
                return Err(Failure::Configuration(message.into()));
            }
        };
        let layout = parse_layout(&self.layout)
            .ok_or_else(|| Failure::Configuration(format!("{:?} is no layout; give plain or messages", self.layout)))?;
        Ok(App { channel: channel.into(), layout, name: name.into() })
    }
}

/// Parses the name of a layout of topics.
pub(crate) fn parse_layout(name: &str) -> Option<Layout> {
    match name {
        "plain" => Some(Layout::Plain),
        "messages" => Some(Layout::Messages),
        _ => None,
    }
}

impl Run {
    fn none() -> Arc<Self> {
        let run = Self::default();
        run.ended.cancel();
        Arc::new(run)
    }

    fn service(&self) -> MutexGuard<'_, Option<Service>> {
        lock(&self.service)
    }

    async fn stop(&self) {
        self.stop.cancel();
        self.ended.cancelled().await;
    }

    /// Starts the service when `before` has ended; the job is done when the service is subscribed. Dropping the job before
    /// that stops the service.
    fn start(
        self: Arc<Self>,
        before: Arc<Self>,
        config: ServiceOptions,
        process: &'static Process,
    ) -> Result<Job, Failure> {
        let unless_started = self.stop.clone().drop_guard();
        let (address, waited) = (config.mqtt.address.clone(), config.mqtt.timeout);
        let (started, is_started) = oneshot::channel();
        process.services.spawn_on(
            async move {
                // Cancelled also if the service panics.
                let _ended = self.ended.clone().drop_guard();
                before.stop().await;
                self.serve(config, started, &process.exit).await;
                self.service().take();
            },
            &process.handle,
        );
        Job::start(async move {
            let unreachable = |_| Error::no_broker_within(&address, waited);
            let started = tokio::time::timeout(waited, is_started).await.map_err(unreachable)?;
            started.unwrap_or_else(|_| Err(Failure::Closed("it was stopped while it started".into())))?;
            unless_started.disarm();
            Ok(none())
        })
    }

    /// Runs the service until it is stopped or the interpreter exits; sends to `started` when it is subscribed, or its error.
    async fn serve(
        &self,
        config: ServiceOptions,
        started: oneshot::Sender<Result<(), Failure>>,
        exit: &CancellationToken,
    ) {
        let (service, task) = match Service::open(config).await {
            Ok(opened) => opened,
            Err(error) => return drop(started.send(Err(error.into()))),
        };
        let mut ready = service.ready();
        *self.service() = Some(service);
        let mut running = pin!(task.run(self.stop.clone()));
        let mut started = Some(started);
        loop {
            tokio::select! {
                end = &mut running => {
                    if let Err(error) = end {
                        log::error!(target: "propeller_proxy", "the proxy has ended: {error}");
                        // If the receiver is dropped, the line in the log remains.
                        let _ = started.take().map(|started| started.send(Err(error.into())));
                    }
                    return;
                }
                Ok(_) = ready.wait_for(|ready| *ready), if started.is_some() => {
                    // If the receiver is dropped, the service is being stopped.
                    let _ = started.take().map(|started| started.send(Ok(())));
                }
                () = exit.cancelled(), if !self.stop.is_cancelled() => self.stop.cancel(),
            }
        }
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.run().stop.cancel();
    }
}

#[pymethods]
impl Proxy {
    /// Checks the settings, without a connection.
    #[new]
    fn new(settings: Settings) -> PyResult<Self> {
        // The log is Python's, but the environment may be that of a daemon, so its level is a setting like any other.
        let (config, _): (ServiceOptions, LogLevel) = config::load(&sources(settings)).map_err(Failure::from)?;
        Ok(Self(Own::new(Arc::new(Inner { config, run: Mutex::new(Run::none()) }))))
    }

    /// The identifier of the proxy while it runs.
    #[getter]
    fn instance_id(&self) -> PyResult<Option<String>> {
        Ok(self.0.get()?.service().ok().map(|service| service.instance_id().to_owned()))
    }

    /// Starts a new run; done when the service is subscribed.
    fn start(&self) -> PyResult<Job> {
        let inner = self.0.get()?;
        let (run, process) = (Arc::<Run>::default(), Process::current()?);
        let before = {
            let mut latest = lock(&inner.run);
            std::mem::replace(&mut *latest, Arc::clone(&run))
        };
        Ok(run.start(before, inner.config.clone(), process)?)
    }

    /// Stops the run; done when the connection and the folders are closed.
    fn stop(&self) -> PyResult<Job> {
        let run = self.0.get()?.run();
        Ok(Job::start(async move {
            run.stop().await;
            Ok(none())
        })?)
    }

    /// Delivers a module without a device's request; the result is the fields of the report. The progress counts
    /// acknowledged chunks.
    fn deliver(
        &self,
        app_name: String,
        domain: Option<String>,
        channel: Option<String>,
        layout: String,
    ) -> PyResult<Job> {
        let service = self.0.get()?.service()?;
        let app = Target { domain, channel, layout }.app(&service, &app_name)?;
        let (progress, requested) = (Progress::default(), app.clone());
        let (watched, last) = (service.clone(), progress.clone());
        // A request that joins a transfer is covered by as many chunks from there on.
        let before = service.telemetry().progress(&app).map_or(0, |(acknowledged, _)| acknowledged);
        let since = move |(acknowledged, total): (u64, u64)| (acknowledged.saturating_sub(before).min(total), total);
        let current = move || watched.telemetry().progress(&app).map(since);
        Ok(Job::start_with_progress(move || last.advance(current()), async move {
            let report = service.deliver(requested).await.map_err(Failure::of(&app_name))?;
            progress.complete(report.plan.total_chunks());
            Ok(Box::new(move |py: Python<'_>| report_dict(py, &app_name, &report)) as Reply)
        })?)
    }

    /// Delivers modules without a device's request, `concurrency` at once, at least 1; each may take `timeout` seconds.
    ///
    /// The result is a list in the order of the names: the fields of the report, the exception, or `None` after the
    /// timeout. The progress counts deliveries that have ended.
    fn deliver_many(
        &self,
        app_names: &Bound<'_, PyList>,
        domain: Option<String>,
        channel: Option<String>,
        layout: String,
        concurrency: usize,
        timeout: Option<f64>,
    ) -> PyResult<Job> {
        let (inner, target) = (Arc::clone(self.0.get()?), Arc::new(Target { domain, channel, layout }));
        // A name with a lone surrogate fails alone.
        let app_names = app_names.iter().map(|name| Ok(name.extract()?)).collect();
        let timeout = timeout.and_then(|seconds| Duration::try_from_secs_f64(seconds.max(0.0)).ok());
        Ok(batch::start(app_names, concurrency, timeout, move |app_name| {
            let (inner, target) = (Arc::clone(&inner), Arc::clone(&target));
            async move { inner.deliver(app_name, &target).await }
        })?)
    }

    /// The events from now on.
    fn events(&self) -> PyResult<Events> {
        let inner = self.0.get()?;
        Ok(Events::new(inner.service()?.telemetry().watch(), inner.run().ended.clone()))
    }

    /// Counters since the start, and the present state.
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
        } = service.telemetry().stats();
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
        stats.set_item("open_transfers", service.telemetry().open_transfers())?;
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
