//! A collector of traces: OTLP over HTTP, protobuf.

use std::collections::HashMap;
use std::time::Duration;

use axum::{
    Router,
    body::Bytes,
    extract::State,
    http::{HeaderMap, StatusCode, header::AUTHORIZATION, header::CONTENT_TYPE},
    routing::post,
};
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::{KeyValue, any_value::Value};
use opentelemetry_proto::tonic::trace::v1::Span;
use prost::Message as _;
use tokio::{net::TcpListener, sync::watch, task::JoinSet, time::timeout};

/// Longest wait for spans.
const DEADLINE: Duration = Duration::from_secs(30);

/// A collector on 127.0.0.1, gone when dropped.
pub struct Collector {
    url: String,
    received: watch::Receiver<Received>,
    _serving: JoinSet<()>,
}

/// What has come.
#[derive(Clone, Default)]
pub struct Received {
    pub spans: Vec<Span>,
    /// The attributes of the resource.
    pub resource: HashMap<String, String>,
    /// What was shown as credentials with the last of it.
    pub authorization: Option<String>,
}

impl Received {
    /// Returns the first span of this name.
    pub fn span(&self, name: &str) -> &Span {
        self.spans.iter().find(|span| span.name == name).unwrap_or_else(|| panic!("there is no span {name}"))
    }
}

impl Collector {
    pub async fn start() -> Self {
        let (sender, received) = watch::channel(Received::default());
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port for the collector");
        let url = format!("http://{}", listener.local_addr().expect("its address"));
        let router = Router::new().route("/v1/traces", post(receive)).with_state(sender);
        let mut serving = JoinSet::new();
        serving.spawn(async move { axum::serve(listener, router).await.expect("serve") });
        Self { url, received, _serving: serving }
    }

    /// Returns the URL of the collector, without a path.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Returns what has come so far.
    pub fn received(&self) -> Received {
        self.received.borrow().clone()
    }

    /// Waits until so many deliveries have come, and returns everything.
    pub async fn deliveries(&self, count: usize) -> Received {
        let mut received = self.received.clone();
        let is_there =
            |received: &Received| received.spans.iter().filter(|span| span.name == "delivery").count() >= count;
        let received =
            timeout(DEADLINE, received.wait_for(is_there)).await.expect("spans in time").expect("a collector");
        received.clone()
    }
}

/// Returns attributes as text.
pub fn attributes(attributes: &[KeyValue]) -> HashMap<String, String> {
    let text = |value: &KeyValue| match value.value.as_ref()?.value.as_ref()? {
        Value::StringValue(text) => Some(text.clone()),
        Value::IntValue(number) => Some(number.to_string()),
        _ => None,
    };
    attributes.iter().filter_map(|attribute| Some((attribute.key.clone(), text(attribute)?))).collect()
}

async fn receive(State(received): State<watch::Sender<Received>>, headers: HeaderMap, body: Bytes) -> StatusCode {
    assert_eq!(headers[CONTENT_TYPE], "application/x-protobuf");
    let request = ExportTraceServiceRequest::decode(body).expect("an export request");
    let authorization = headers.get(AUTHORIZATION).map(|value| value.to_str().expect("text").to_owned());
    received.send_modify(|received| {
        received.authorization = authorization;
        for spans in request.resource_spans {
            received.resource = attributes(&spans.resource.expect("a resource").attributes);
            received.spans.extend(spans.scope_spans.into_iter().flat_map(|scope| scope.spans));
        }
    });
    StatusCode::OK
}
