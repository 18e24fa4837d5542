//! The imports of the core, the daemon and the Python extension run one way: along the arrows of `docs/architecture.md`, and
//! in no circle of files.

mod made_up;
mod rules;
mod source;
mod tokens;
mod tree;

use std::fs;
use std::path::Path;

use self::rules::{Table, circles_of_files};
use self::tree::{Crate, Tree};

/// Returns the sources of a crate of this repository.
fn sources<'a>(name: &'a str, identifier: &'a str, root: &'a str) -> Crate<'a> {
    let folder = repository().join(root);
    let (mut files, mut folders) = (Vec::new(), vec![folder.clone()]);
    while let Some(current) = folders.pop() {
        for entry in fs::read_dir(&current).expect("read a folder of sources") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let below = path.strip_prefix(&folder).expect("a path below").to_str().expect("a path in UTF-8");
                files.push((below.to_owned(), fs::read_to_string(&path).expect("read a source")));
            }
        }
    }
    files.sort();
    Crate { name, identifier, root, files }
}

fn repository() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
}

#[test]
fn imports_run_one_way() {
    let crates = [
        sources("", "propeller_proxy", "src"),
        sources("rust-bin", "propeller_proxy_daemon", "rust-bin/src"),
        sources("python", "_core", "python/src"),
    ];
    let tree = Tree::new(&crates);
    let uses = tree.uses();
    let page = fs::read_to_string(repository().join("docs/architecture.md")).expect("read the page");
    let mut problems = Table::read(&page).problems(&tree, &uses);
    problems.extend(circles_of_files(&tree, &uses));
    assert!(problems.is_empty(), "{} problems of imports:\n{}", problems.len(), problems.join("\n"));
}
