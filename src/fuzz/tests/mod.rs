//! The bodies on generated input: any bytes, and seeds with changes. `PROPTEST_CASES` sets how many; with it they are
//! other ones in each run.

mod archives;
mod mutation;
mod seeds;

use std::collections::BTreeSet;
use std::path::Path;
use std::{env, fs};

use proptest::strategy::{BoxedStrategy, Strategy};
use proptest::test_runner::{Config, RngSeed, TestRunner};

use self::mutation::{Input, any_bytes, mutated, mutated_json};
use super::TARGETS;

/// Inputs of each body in `cargo test`.
const CASES: u32 = 1000;

fn run(target: &str, inputs: &BoxedStrategy<Input>) {
    let (_, body) = TARGETS.into_iter().find(|(name, _)| *name == target).expect("a target");
    for seed in seeds::of(target) {
        body(&seed);
    }
    // The file of failures would be left in the sources: a failure becomes a test beside the parser.
    let mut config = Config { failure_persistence: None, max_shrink_iters: 10_000, ..Config::default() };
    if env::var_os("PROPTEST_CASES").is_none() {
        (config.cases, config.rng_seed) = (CASES, RngSeed::Fixed(1));
    }
    let run = TestRunner::new(config).run(inputs, |Input(data)| {
        body(&data);
        Ok(())
    });
    if let Err(failure) = run {
        panic!("{target}: {failure}");
    }
}

fn any_or(target: &str, inputs: impl Strategy<Value = Input> + 'static) -> BoxedStrategy<Input> {
    proptest::prop_oneof![1 => any_bytes(), 4 => mutated(seeds::of(target)), 6 => inputs].boxed()
}

fn run_json(target: &str) {
    run(target, &any_or(target, mutated_json(seeds::of(target))));
}

#[test]
fn archives() {
    run("archive", &any_or("archive", archives::archives()));
}

#[test]
fn challenges() {
    run("challenge", &any_or("challenge", mutated(seeds::of("challenge"))));
}

#[test]
fn docker_configurations() {
    run_json("docker_config");
}

#[test]
fn manifests() {
    run_json("manifest");
}

#[test]
fn references() {
    run("reference", &any_or("reference", mutated(seeds::of("reference"))));
}

#[test]
fn requests() {
    run_json("request");
}

#[test]
fn state_records() {
    run_json("state_record");
}

#[test]
fn status_messages() {
    run_json("status_message");
}

#[test]
fn each_body_is_a_target_of_cargo_fuzz_and_each_target_a_body() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz");
    let manifest = fs::read_to_string(folder.join("Cargo.toml")).expect("read the manifest");
    let manifest: toml::Table = manifest.parse().expect("parse the manifest");
    let binaries = manifest["bin"].as_array().expect("binaries").iter();
    let binaries: BTreeSet<_> = binaries.map(|bin| bin["name"].as_str().expect("a name").to_owned()).collect();
    let bodies: BTreeSet<_> = TARGETS.iter().map(|(name, _)| (*name).to_owned()).collect();
    assert_eq!(binaries, bodies, "in fuzz/Cargo.toml");
    let files = fs::read_dir(folder.join("fuzz_targets")).expect("read the folder of targets");
    let files: BTreeSet<_> = files
        .map(|file| file.expect("a file").path())
        .map(|path| {
            let name = path.file_stem().and_then(|stem| stem.to_str()).expect("a name").to_owned();
            let call = format!("propeller_proxy::fuzz::{name}(data)");
            assert!(fs::read_to_string(&path).expect("read a target").contains(&call), "{name} calls another body");
            name
        })
        .collect();
    assert_eq!(files, bodies, "in fuzz/fuzz_targets");
}

/// `FUZZ_CORPUS` is the folder that gets the seeds, for cargo-fuzz to begin with.
#[test]
fn every_target_has_seeds_which_are_written_on_demand() {
    for (target, _) in TARGETS {
        let seeds = seeds::of(target);
        assert!(!seeds.is_empty(), "{target}");
        let Some(folder) = env::var_os("FUZZ_CORPUS") else { continue };
        let folder = Path::new(&folder).join(target);
        fs::create_dir_all(&folder).expect("create a folder of seeds");
        for (number, seed) in seeds.iter().enumerate() {
            fs::write(folder.join(format!("seed-{number}")), seed).expect("write a seed");
        }
    }
}
