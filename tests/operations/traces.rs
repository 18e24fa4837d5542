//! The traces, as a collector receives them.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::trace::v1::Span;
use opentelemetry_proto::tonic::trace::v1::status::StatusCode;
use tokio::net::TcpListener;

use crate::support::servers::collector::{Collector, Received, attributes};
use crate::support::servers::docker_registry::DockerRegistry;
use crate::support::servers::site::Site;
use crate::support::wasm_of_size;

/// The spans of a trace by name, with the name of the span above each.
fn tree(received: &Received, trace: &[u8]) -> BTreeMap<String, String> {
    let spans: Vec<_> = received.spans.iter().filter(|span| span.trace_id == trace).collect();
    let names: HashMap<_, _> = spans.iter().map(|span| (span.span_id.clone(), span.name.clone())).collect();
    let above = |id: &[u8]| if id.is_empty() { String::new() } else { names[id].clone() };
    spans.iter().map(|span| (span.name.clone(), above(&span.parent_span_id))).collect()
}

/// Whether an event of the log with this name is in the span.
fn has_event(span: &Span, name: &str) -> bool {
    span.events.iter().any(|event| attributes(&event.attributes).get("event").is_some_and(|found| found == name))
}

#[tokio::test]
async fn a_delivery_is_one_trace() {
    let (registry, collector) = (DockerRegistry::start().await, Collector::start().await);
    let module = wasm_of_size(1_300_000);
    let pushed = registry.pusher().wasm("add", "latest", module.clone()).await;
    let variables = [("PROXY_OTEL_URL", collector.url()), ("PROXY_INSTANCE_ID", "me")];
    let mut site = Site::start(registry.host(), &variables).await;
    site.delivers("add", &module).await;
    site.rejects("nothing", "unknown-image").await;
    // What was not sent yet goes out when the daemon ends.
    site.stop().await;

    let received = collector.deliveries(2).await;
    let resource =
        [("service.name", "proxy"), ("service.instance.id", "me"), ("service.version", env!("CARGO_PKG_VERSION"))];
    assert_eq!(received.resource, resource.map(|(key, value)| (key.to_owned(), value.to_owned())).into());
    let delivery = |app: &str| {
        let found = received.spans.iter().find(|span| {
            span.name == "delivery" && attributes(&span.attributes).get("app_name").is_some_and(|name| name == app)
        });
        found.unwrap_or_else(|| panic!("there is no delivery of {app}"))
    };
    let sent = delivery("add");
    let below = ["resolve", "fetch", "unpack", "verify", "plan", "send"].map(|name| (name, "delivery"));
    let expected = below.into_iter().chain([("delivery", "")]);
    let expected = expected.map(|(name, above)| (name.to_owned(), above.to_owned())).collect::<BTreeMap<_, _>>();
    assert_eq!(tree(&received, &sent.trace_id), expected);
    let said = attributes(&sent.attributes);
    for (key, value) in [
        ("channel_id", "channel"),
        ("purpose", "request"),
        ("digest", &*pushed.module),
        ("size", "1300000"),
        ("total_chunks", "3"),
        ("requests", "1"),
        ("outcome", "sent"),
    ] {
        assert_eq!(said.get(key).map(String::as_str), Some(value), "{key}: {said:?}");
    }
    for (span, key) in [(sent, "size"), (sent, "total_chunks"), (sent, "requests"), (received.span("fetch"), "size")] {
        let value = span.attributes.iter().find(|attribute| attribute.key == key).and_then(|found| found.value.clone());
        assert!(
            matches!(value.and_then(|value| value.value), Some(Value::IntValue(_))),
            "{key} is no number: {span:?}"
        );
    }
    assert!(has_event(sent, "delivered"), "{:?}", sent.events);

    let failed = delivery("nothing");
    let said = attributes(&failed.attributes);
    assert_eq!((said["outcome"].as_str(), said["error.code"].as_str()), ("failed", "unknown-image"));
    assert_eq!(failed.status.as_ref().map(|status| status.code), Some(StatusCode::Error.into()));
    assert_ne!(failed.trace_id, sent.trace_id);
    // Its own client, and those of the broker and the registry, are in no trace.
    let traces: BTreeSet<_> = received.spans.iter().map(|span| &span.trace_id).collect();
    assert_eq!(traces.len(), 2, "{:?}", received.spans);
}

/// A second request comes while the module is being sent, which takes longer than the interval of progress events.
#[tokio::test]
async fn log_events_of_a_delivery_are_events_of_its_spans() {
    let (registry, collector) = (DockerRegistry::start().await, Collector::start().await);
    let module = wasm_of_size(1_200_000);
    registry.pusher().wasm("add", "latest", module.clone()).await;
    let variables = [("PROXY_OTEL_URL", collector.url()), ("PROXY_CHUNK_SIZE", "10000")];
    let mut site = Site::behind_relay(registry.host(), 800_000, &variables).await;
    let mut task = site.task("add");
    task.has(1).await;
    site.proplet().publish_request("add").await;
    site.daemon().event("joined").await;
    assert!(task.module().await.as_deref() == Some(&module[..]), "{}", site.log());
    site.daemon().event("delivered").await;
    site.stop().await;
    let received = collector.deliveries(1).await;
    for (span, event) in [("delivery", "joined"), ("delivery", "delivered"), ("send", "sending")] {
        let span = received.span(span);
        assert!(has_event(span, event), "no {event}: {span:?}");
    }
}

/// A password in the URL is for the collector.
#[tokio::test]
async fn a_password_in_the_collector_url_is_sent() {
    let (registry, collector) = (DockerRegistry::start().await, Collector::start().await);
    let module = wasm_of_size(1000);
    registry.pusher().wasm("add", "latest", module.clone()).await;
    let url = collector.url().replace("http://", "http://ada:love%40lace@");
    let mut site = Site::start(registry.host(), &[("PROXY_OTEL_URL", &url)]).await;
    site.delivers("add", &module).await;
    site.stop().await;
    assert_eq!(collector.deliveries(1).await.authorization.as_deref(), Some("Basic YWRhOmxvdmVAbGFjZQ=="));
    assert!(!site.log().contains("lace"), "{}", site.log());
}

#[tokio::test]
async fn a_trace_ratio_of_zero_traces_nothing() {
    let (registry, collector) = (DockerRegistry::start().await, Collector::start().await);
    let module = wasm_of_size(1000);
    registry.pusher().wasm("add", "latest", module.clone()).await;
    let variables = [("PROXY_OTEL_URL", collector.url()), ("PROXY_TRACE_RATIO", "0")];
    let mut site = Site::start(registry.host(), &variables).await;
    site.delivers("add", &module).await;
    site.stop().await;
    assert!(collector.received().spans.is_empty());
}

/// One collector refuses connections, one accepts them and never answers.
#[tokio::test]
async fn an_unreachable_collector_affects_no_delivery() {
    let registry = DockerRegistry::start().await;
    let module = wasm_of_size(1000);
    registry.pusher().wasm("add", "latest", module.clone()).await;
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let silent = format!("http://{}", listener.local_addr().expect("its address"));
    for (url, is_told) in [("http://127.0.0.1:1/traces", true), (&*silent, false)] {
        let mut site = Site::start(registry.host(), &[("PROXY_OTEL_URL", url)]).await;
        site.delivers("add", &module).await;
        if is_told {
            site.daemon().event("traces-lost").await;
        }
        site.delivers("add", &module).await;
        site.stop().await;
        assert_eq!(site.events("traces-lost").len(), usize::from(is_told), "{}", site.log());
    }
}
