//! The HTTP endpoint: whether the daemon is alive and ready, and its metrics.
//!
//! A connection is good for one request, and is bounded in time whatever its other end does. Where too many are open, the
//! oldest that owes its request makes room, so that slow clients keep nobody waiting; this machine and others have places
//! of their own. All of it has a thread and a runtime of its own: it answers when the service hangs, with all threads of its
//! runtime.

use std::collections::VecDeque;
use std::io::{self, ErrorKind};
use std::net::{SocketAddr, TcpListener as StdListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use hyper::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{Service as _, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use metrics_exporter_prometheus::PrometheusHandle;
use propeller_proxy::service::{Check, Checked, Service};
use serde_json::json;
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime;
use tokio::task::{AbortHandle, yield_now};
use tokio::time::timeout;
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;
use tracing::{debug, info, warn};

use crate::operation::HttpAddress;

/// Connections to the HTTP endpoint at once from this machine, and as many from others.
#[doc(alias = "bound")]
const MAX_CONNECTIONS: usize = 64;
/// How long an HTTP request may take to arrive.
#[doc(alias = "bound")]
const READ_TIMEOUT: Duration = Duration::from_secs(5);
/// How long an HTTP response may take.
#[doc(alias = "bound")]
const WRITE_TIMEOUT: Duration = Duration::from_secs(5);
/// Bytes of an HTTP request that are kept.
#[doc(alias = "bound")]
const BUFFER_SIZE: usize = 16 << 10;
/// The wait after a connection could not be accepted, for example for want of file descriptors.
const ACCEPT_DELAY: Duration = Duration::from_millis(100);
/// How long the service may be without a heartbeat before it counts as dead.
#[doc(alias = "bound")]
const MAX_SILENCE: Duration = Duration::from_secs(10);
/// How long the end of the HTTP endpoint waits for open responses.
#[doc(alias = "bound")]
const END_TIMEOUT: Duration = Duration::from_millis(500);
/// How long an HTTP request waits for a new check of the readiness, of which each part may take 2 s.
#[doc(alias = "bound")]
const READINESS_TIMEOUT: Duration = Duration::from_millis(2500);

/// The hint where the port is taken or not permitted.
const PORT_HINT: &str = "set PROXY_HTTP_PORT to another port, to 0 for a free one, or to off";
/// The hint where this machine has no such address.
const HOST_HINT: &str = "set PROXY_HTTP_HOST to an address of this machine, such as 127.0.0.1";

/// A place where requests wait until they are served.
pub(crate) struct Endpoint {
    listener: StdListener,
    address: SocketAddr,
}

/// What the answers are made of.
#[derive(Clone)]
struct Shown {
    service: Service,
    metrics: PrometheusHandle,
}

impl Endpoint {
    /// Takes the address.
    ///
    /// # Errors
    /// What the system says, as a sentence, and what to do about it.
    pub(crate) fn bind(HttpAddress { host, port }: &HttpAddress) -> Result<Self, (String, &'static str)> {
        let bound = || {
            let listener = StdListener::bind((host.as_str(), *port))?;
            listener.set_nonblocking(true)?;
            let address = listener.local_addr()?;
            Ok(Self { listener, address })
        };
        bound().map_err(|error: io::Error| {
            let host = if host.contains(':') { format!("[{host}]") } else { host.clone() };
            let is_port = matches!(error.kind(), ErrorKind::AddrInUse | ErrorKind::PermissionDenied);
            let message = format!("the HTTP endpoint cannot listen on {host}:{port}: {error}");
            (message, if is_port { PORT_HINT } else { HOST_HINT })
        })
    }

    /// Answers until it is ended.
    ///
    /// # Errors
    /// What the system says if there can be no thread.
    pub(crate) fn serve(self, service: &Service, metrics: PrometheusHandle) -> io::Result<Serving> {
        let runtime = runtime::Builder::new_current_thread().enable_all().build()?;
        let listener = {
            let _context = runtime.enter();
            TcpListener::from_std(self.listener)?
        };
        info!(event = "listening", http = %self.address, "listening");
        let (tasks, stop) = (TaskTracker::new(), CancellationToken::new());
        let router = Router::new()
            .route("/health", get(health))
            .route("/livez", get(livez))
            .route("/readyz", get(readyz))
            .route("/metrics", get(scrape))
            .with_state(Shown { service: service.clone(), metrics });
        let stopped = stop.clone();
        let thread = thread::Builder::new().name("http".into()).spawn(move || {
            runtime.block_on(async {
                stopped.run_until_cancelled(accept(listener, router, &tasks)).await;
                tasks.close();
                let _ = timeout(END_TIMEOUT, tasks.wait()).await;
            });
            // A call that a disk blocks must not delay the end.
            runtime.shutdown_background();
        })?;
        Ok(Serving { _stop: stop.drop_guard(), thread })
    }
}

/// The thread that answers; ends when this is dropped.
pub(crate) struct Serving {
    _stop: DropGuard,
    thread: JoinHandle<()>,
}

impl Serving {
    /// Closes the port, and waits a moment for answers under way.
    pub(crate) async fn end(self) {
        let Self { _stop: stop, thread } = self;
        drop(stop);
        // Fails if it panicked, which is logged there.
        let _ = tokio::task::spawn_blocking(move || thread.join()).await;
    }
}

/// Open connections, the oldest first.
#[derive(Default)]
struct Places(VecDeque<Open>);

struct Open {
    task: AbortHandle,
    has_request: Arc<AtomicBool>,
}

impl Places {
    /// Takes a connection in. Where there is no room, the oldest is closed that owes its request; if none does, the oldest.
    fn take(&mut self, new: Open) {
        self.0.retain(|open| !open.task.is_finished());
        if self.0.len() >= MAX_CONNECTIONS {
            let slow = self.0.iter().position(|open| !open.has_request.load(Ordering::Relaxed));
            if let Some(open) = self.0.remove(slow.unwrap_or_default()) {
                debug!("a connection to the HTTP endpoint was closed: it made room for a newer one");
                open.task.abort();
            }
        }
        self.0.push_back(new);
    }
}

async fn accept(listener: TcpListener, router: Router, tasks: &TaskTracker) {
    let (mut of_this_machine, mut of_others) = (Places::default(), Places::default());
    let mut is_failing = false;
    loop {
        match listener.accept().await {
            Ok((stream, peer)) => {
                is_failing = false;
                let has_request = Arc::new(AtomicBool::new(false));
                let task = tasks.spawn(answer(stream, router.clone(), Arc::clone(&has_request))).abort_handle();
                let is_local = peer.ip().to_canonical().is_loopback();
                let places = if is_local { &mut of_this_machine } else { &mut of_others };
                places.take(Open { task, has_request });
                // What has arrived is read before many others are accepted.
                yield_now().await;
            }
            Err(error) => {
                if !is_failing {
                    warn!(event = "http-not-accepted", %error, "a connection to the HTTP endpoint was not accepted; trying again");
                }
                is_failing = true;
                tokio::time::sleep(ACCEPT_DELAY).await;
            }
        }
    }
}

/// Reads one request and answers it; notes when it has the request's header.
async fn answer(stream: TcpStream, router: Router, has_request: Arc<AtomicBool>) {
    let router = TowerToHyperService::new(router);
    let service = service_fn(|request: Request<Incoming>| {
        has_request.store(true, Ordering::Relaxed);
        router.call(request)
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(READ_TIMEOUT)
        .keep_alive(false)
        .max_buf_size(BUFFER_SIZE)
        .serve_connection(TokioIo::new(stream), service);
    match timeout(READ_TIMEOUT + WRITE_TIMEOUT, connection).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => debug!(%error, "a connection to the HTTP endpoint broke"),
        Err(_) => debug!("a connection to the HTTP endpoint was too slow"),
    }
}

async fn health(State(shown): State<Shown>) -> Response {
    let (version, instance_id) = (env!("CARGO_PKG_VERSION"), shown.service.instance_id());
    let health = json!({ "status": "ok", "service": "proxy", "version": version, "instance_id": instance_id });
    document(StatusCode::OK, &health)
}

async fn livez(State(shown): State<Shown>) -> Result<String, (StatusCode, String)> {
    let silence = shown.service.pulse().borrow().elapsed();
    if silence < MAX_SILENCE {
        return Ok("ok\n".into());
    }
    Err((StatusCode::SERVICE_UNAVAILABLE, format!("the service has not come around for {} s\n", silence.as_secs())))
}

/// The readiness as it was last checked; what was checked too long ago does not count.
async fn readyz(State(shown): State<Shown>) -> Response {
    let (is_ready, checks) = match shown.service.readiness(READINESS_TIMEOUT).await {
        Some(Checked { at, checks }) if at.elapsed() < MAX_SILENCE => {
            let is_ready = checks.iter().all(|(_, check)| check.ok);
            let values =
                checks.map(|(name, Check { ok, detail })| (name.to_owned(), json!({ "ok": ok, "detail": detail })));
            (is_ready, values.into())
        }
        Some(Checked { at, .. }) => (false, unchecked(&format!("checked last {} s ago", at.elapsed().as_secs()))),
        None => (false, unchecked("not checked yet")),
    };
    let status = if is_ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    document(status, &json!({ "ready": is_ready, "checks": serde_json::Map::from_iter(checks) }))
}

/// What is said of the service where nothing is known.
fn unchecked(detail: &str) -> Vec<(String, serde_json::Value)> {
    vec![("service".into(), json!({ "ok": false, "detail": detail }))]
}

async fn scrape(State(shown): State<Shown>) -> Response {
    // Whether the registry answers is a metric, too: it is up to date for the next time.
    shown.service.demand_readiness();
    with_type("text/plain; version=0.0.4; charset=utf-8", shown.metrics.render())
}

fn document(status: StatusCode, value: &serde_json::Value) -> Response {
    (status, with_type("application/json", format!("{value}\n"))).into_response()
}

fn with_type(media_type: &'static str, body: impl Into<Body>) -> Response {
    ([(CONTENT_TYPE, HeaderValue::from_static(media_type))], body.into()).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_oldest_connection_that_owes_its_request_makes_room() {
        let mut places = Places::default();
        let open = |has_request: bool| Open {
            task: tokio::spawn(std::future::pending::<()>()).abort_handle(),
            has_request: Arc::new(has_request.into()),
        };
        let first: Vec<_> = [true, false, false].map(open).into();
        let tasks: Vec<_> = first.iter().map(|open| open.task.clone()).collect();
        let more = (first.len()..MAX_CONNECTIONS).map(|_| open(true));
        first.into_iter().chain(more).for_each(|open| places.take(open));
        for closed in [&[1][..], &[1, 2], &[0, 1, 2]] {
            places.take(open(true));
            yield_now().await;
            let is_closed: Vec<_> = (0..3).filter(|index| tasks[*index].is_finished()).collect();
            assert_eq!(is_closed, closed);
            assert_eq!(places.0.len(), MAX_CONNECTIONS);
        }
    }
}
