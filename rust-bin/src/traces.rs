//! The traces of deliveries, posted to a collector (OpenTelemetry: OTLP over HTTP, protobuf).
//!
//! Only spans of the core go there, so the exporter's own requests are no part of any trace. A collector that is away
//! delays nothing: spans wait in a bounded queue, and what does not fit is dropped.

use std::error::Error;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use opentelemetry::KeyValue;
use opentelemetry::trace::TracerProvider as _;
use opentelemetry_http::{HttpClient, Request, Response};
use opentelemetry_otlp::{Protocol, WithExportConfig, WithHttpConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::trace::{
    BatchConfigBuilder, BatchSpanProcessor, Sampler, SdkTracer, SdkTracerProvider, SpanData, SpanExporter,
};
use propeller_proxy::error::causes;
use propeller_proxy::tls;
use propeller_proxy::util::sync::lock;
use tokio::runtime::Handle;
use tracing::{info, warn};

use crate::operation::Operation;

/// Spans that wait to be sent.
#[doc(alias = "bound")]
const QUEUE: usize = 2048;
/// How long a span waits for others of its batch.
#[doc(alias = "bound")]
const DELAY: Duration = Duration::from_secs(2);
/// How long a collector may take to answer.
#[doc(alias = "bound")]
const TIMEOUT: Duration = Duration::from_secs(5);
/// How long the end of the process waits for the last spans.
#[doc(alias = "bound")]
const FLUSH_TIMEOUT: Duration = Duration::from_secs(2);
/// Bytes of a collector's response that are read.
#[doc(alias = "bound")]
const MAX_ANSWER_SIZE: usize = 64 << 10;

/// The way of traces to the collector.
pub(crate) struct Traces {
    provider: SdkTracerProvider,
    instance: Arc<OnceLock<String>>,
}

impl Traces {
    /// Prepares the export; nothing if it is not configured.
    ///
    /// # Errors
    /// If the HTTP client cannot be set up.
    pub(crate) fn new(operation: &Operation) -> Result<Option<Self>, Box<dyn Error + Send + Sync>> {
        let Some(url) = &operation.otel_url else { return Ok(None) };
        let (instance, failure) = (Arc::<OnceLock<String>>::default(), Arc::<Mutex<String>>::default());
        let tls = tls::client_config(tls::roots(&[])?, &[b"http/1.1"], None)?;
        let http = reqwest::Client::builder().tls_backend_preconfigured(tls).timeout(TIMEOUT).build()?;
        let client = Client { http, runtime: Handle::current(), failure: Arc::clone(&failure) };
        let otlp = opentelemetry_otlp::SpanExporter::builder()
            .with_http()
            .with_http_client(client)
            .with_protocol(Protocol::HttpBinary)
            .with_endpoint(url.as_str())
            .with_timeout(TIMEOUT)
            .build()?;
        let exporter = Exporter {
            prepared: Mutex::new(Some(otlp)),
            otlp: OnceLock::new(),
            instance: Arc::clone(&instance),
            failure,
            is_failing: AtomicBool::new(false),
        };
        let batches = BatchConfigBuilder::default().with_max_queue_size(QUEUE).with_scheduled_delay(DELAY).build();
        let processor = BatchSpanProcessor::builder(exporter).with_batch_config(batches).build();
        let provider = SdkTracerProvider::builder()
            .with_span_processor(processor)
            .with_sampler(Sampler::TraceIdRatioBased(operation.trace_ratio))
            .build();
        Ok(Some(Self { provider, instance }))
    }

    /// What makes spans.
    pub(crate) fn tracer(&self) -> SdkTracer {
        self.provider.tracer("propeller-proxy")
    }

    /// Names the proxy that the traces come from. No span has ended before.
    pub(crate) fn name(&self, instance: &str) {
        // It has one name.
        let _ = self.instance.set(instance.to_owned());
    }

    /// Sends what waits, if that does not take too long.
    pub(crate) async fn flush(self) {
        let flushed = tokio::task::spawn_blocking(move || self.provider.shutdown_with_timeout(FLUSH_TIMEOUT));
        if let Ok(Err(error)) = flushed.await {
            warn!(%error, "some traces were not sent");
        }
    }
}

/// Logs once that a collector is away, and once that it is back.
#[derive(Debug)]
struct Exporter {
    /// Until the name of the proxy is known.
    prepared: Mutex<Option<opentelemetry_otlp::SpanExporter>>,
    otlp: OnceLock<opentelemetry_otlp::SpanExporter>,
    instance: Arc<OnceLock<String>>,
    failure: Arc<Mutex<String>>,
    is_failing: AtomicBool,
}

impl Exporter {
    fn otlp(&self) -> Option<&opentelemetry_otlp::SpanExporter> {
        if let Some(mut prepared) = lock(&self.prepared).take() {
            let instance = self.instance.get().cloned().unwrap_or_default();
            let resource = Resource::builder_empty().with_service_name("proxy").with_attributes([
                KeyValue::new("service.instance.id", instance),
                KeyValue::new("service.version", env!("CARGO_PKG_VERSION")),
            ]);
            prepared.set_resource(&resource.build());
            // There is one that was prepared.
            let _ = self.otlp.set(prepared);
        }
        self.otlp.get()
    }
}

impl SpanExporter for Exporter {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        let Some(otlp) = self.otlp() else { return Ok(()) };
        let spans = batch.len();
        let outcome = otlp.export(batch).await;
        match &outcome {
            Ok(()) if self.is_failing.swap(false, Ordering::Relaxed) => info!("traces are sent again"),
            Err(error) if !self.is_failing.swap(true, Ordering::Relaxed) => {
                let detail = std::mem::take(&mut *lock(&self.failure));
                warn!(
                    event = "traces-lost",
                    spans,
                    detail,
                    hint = "check PROXY_OTEL_URL and the collector",
                    "traces are lost: {error}"
                );
            }
            _ => {}
        }
        outcome
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.otlp.get().map_or(Ok(()), |otlp| otlp.shutdown_with_timeout(timeout))
    }
}

/// Our HTTP client, for a thread that is not of the runtime.
#[derive(Debug)]
struct Client {
    http: reqwest::Client,
    runtime: Handle,
    /// What went wrong last, which the exporter keeps to itself.
    failure: Arc<Mutex<String>>,
}

#[async_trait]
impl HttpClient for Client {
    async fn send_bytes(&self, request: Request<Bytes>) -> Result<Response<Bytes>, Box<dyn Error + Send + Sync>> {
        let sent = self.runtime.spawn(send(self.http.clone(), request));
        let answer = sent.await?;
        match &answer {
            Ok(response) if response.status().is_success() => {}
            Ok(response) => *lock(&self.failure) = response.status().to_string(),
            Err(error) => *lock(&self.failure) = causes(error),
        }
        Ok(answer?)
    }
}

async fn send(http: reqwest::Client, request: Request<Bytes>) -> Result<Response<Bytes>, reqwest::Error> {
    let sent = async {
        let (head, body) = request.into_parts();
        // Made like this, a user and a password in the URL become credentials.
        let request = http.request(head.method, head.uri.to_string()).headers(head.headers).body(body);
        let mut response = request.send().await?;
        let mut body = Vec::new();
        while let Some(piece) = response.chunk().await? {
            if body.len() + piece.len() > MAX_ANSWER_SIZE {
                break;
            }
            body.extend_from_slice(&piece);
        }
        let mut answer = Response::new(Bytes::from(body));
        (*answer.status_mut(), *answer.headers_mut()) = (response.status(), response.headers().clone());
        Ok(answer)
    };
    // The URL may hold a secret.
    sent.await.map_err(reqwest::Error::without_url)
}
