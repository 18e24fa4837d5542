//! `make bench`: throughput, latency and memory of deliveries, with a real mosquitto and a real docker-registry.
//!
//! Times depend on the machine and its load. So the daemon alternates with a bare publisher, and the ratio of the two
//! is the result. Memory and counts do not depend on the machine: a run that exceeds one of their bounds fails.
//! `BASELINE` names the JSON file of an earlier run to compare with.

mod checksums;
mod crowd;
mod latency;
mod memory;
mod module;
mod mqtt;
mod plot;
mod publisher;
mod python;
mod report;
mod sample;
mod site;
mod subscriber;
#[path = "../tests/support/mod.rs"]
mod support;
mod throughput;

use std::env;
use std::fs;
use std::path::Path;
use std::process::ExitCode;

use python::Python;
use report::{Baseline, Figure};
use site::Site;
use throughput::Throughput;

/// The folder of the figures and the picture.
const RESULTS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../bench/results");

#[tokio::main]
async fn main() -> ExitCode {
    let baseline = env::var("BASELINE").ok().map(|path| Baseline::read(&path));
    let mut site = Site::start().await;

    eprintln!("a module of 100 MB, the daemon and a bare publisher taking turns …");
    let throughputs = throughput::measure(&mut site).await;
    let mut figures: Vec<_> = throughputs.iter().flat_map(of_throughput).collect();

    eprintln!("peak memory …");
    for memory::Peak { module, bytes } in memory::measure(&mut site).await {
        #[allow(clippy::cast_precision_loss, reason = "far below 2^52 bytes")]
        let peak = bytes as f64 / f64::from(1 << 20);
        figures.push(Figure::new(format!("peak memory, {module}"), peak, "MiB").at_most(40.0).firm());
    }

    eprintln!("checksums on read …");
    let checksums::Reading { checked, plain } = checksums::measure(&site).await;
    figures.push(Figure::median("100 MB read in chunks, processor time", &checked, "ms/MB"));
    figures.push(Figure::median("100 MB read as a plain file, processor time", &plain, "ms/MB"));
    let checksums = checked.median() - plain.median();
    figures.push(Figure::new("checksums on read, processor time", checksums, "ms/MB").at_most(0.1));

    eprintln!("latency of a small module …");
    for qos in ["1", "2"] {
        let times = latency::measure(&mut site, qos).await;
        let name = |what| format!("50 kB at QoS {qos}, request to last chunk, {what}");
        figures.push(Figure::median(name("p50"), &times, "ms").at_most(5.0));
        figures.push(Figure::new(name("p99"), times.percentile(99), "ms"));
    }

    eprintln!("many requests at once …");
    let crowd::Distinct { delivered, seconds } = crowd::distinct(&mut site, 1_000).await;
    figures.push(count("1,000 distinct modules of 50 kB, delivered", delivered).at_least(1000.0).firm());
    figures.push(Figure::new("1,000 distinct modules of 50 kB, until the last one", seconds, "s"));
    let crowd::Shared { passes, fetches, seconds } = crowd::shared(&mut site, 500).await;
    figures.push(count("500 requests for one module of 5 MB, passes", passes).at_most(4.0).firm());
    figures.push(count("500 requests for one module of 5 MB, fetches", fetches).at_most(1.0).firm());
    figures.push(Figure::new("500 requests for one module of 5 MB, until it is there", seconds, "s"));

    eprintln!("the Python package …");
    match python::measure(&mut site).await {
        Some(python) => figures.extend(of_python(&python)),
        None => eprintln!("PROPELLER_WHEEL names no wheel: skipped"),
    }

    println!("{}", report::table(&figures, baseline.as_ref()));
    save(&figures, &throughputs);
    if figures.iter().any(Figure::is_failed) { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

fn of_throughput(Throughput { qos, ceiling, warm, cold, cpu }: &Throughput) -> [Figure; 6] {
    let name = |what| format!("100 MB at QoS {qos}, {what}");
    [
        Figure::median(name("ceiling"), ceiling, "MB/s"),
        Figure::median(name("warm"), warm, "MB/s"),
        Figure::median(name("cold"), cold, "MB/s"),
        Figure::new(name("warm / ceiling"), warm.median() / ceiling.median(), "").at_least(0.8),
        Figure::new(name("cold / ceiling"), cold.median() / ceiling.median(), ""),
        Figure::new(name("warm, processor time"), *cpu, "ms/MB").at_most(2.5),
    ]
}

#[allow(clippy::cast_precision_loss, reason = "far below 2^52 bytes")]
fn of_python(Python { wheel, import, daemon, deliver, request }: &Python) -> [Figure; 6] {
    [
        Figure::new("wheel", *wheel as f64 / 1e6, "MB").at_most(15.0).firm(),
        Figure::median("import propeller_proxy", import, "ms").at_most(50.0),
        Figure::median("50 MB, delivery by the daemon", daemon, "ms"),
        Figure::median("50 MB, Proxy.deliver in Python", deliver, "ms"),
        Figure::new("50 MB, Proxy.deliver / daemon", deliver.median() / daemon.median(), "").at_most(1.1),
        Figure::median("50 MB, Proplet.request / the daemon's delivery for it", request, "").at_most(1.1),
    ]
}

#[allow(clippy::cast_precision_loss, reason = "a few thousand")]
fn count(name: &str, value: usize) -> Figure {
    Figure::new(name, value as f64, "")
}

fn save(figures: &[Figure], throughputs: &[Throughput]) {
    let folder = Path::new(RESULTS);
    fs::create_dir_all(folder).expect("create the folder of results");
    let folder = folder.canonicalize().expect("the folder of results");
    report::save(figures, &folder.join("latest.json"));
    fs::write(folder.join("latest.svg"), plot::svg(throughputs)).expect("write the picture");
    println!("\nwritten to {}: latest.json, latest.svg", folder.display());
}
