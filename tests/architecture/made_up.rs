//! The checks catch what they are for, on small made-up sources.

use super::rules::{Table, circles_of_files};
use super::tree::{Crate, Tree};

const TABLE: &str = "
<!-- arrows: begin -->
| folder | may import |
| --- | --- |
| `a` | nothing |
| `b` | `a` |
| `c` | `a::leaf` |
| `top` | `b` |
<!-- arrows: end -->
";

/// The least that uses every arrow of the table.
const SOURCES: [(&str, &str); 6] = [
    ("lib.rs", "pub mod a; pub mod b; pub mod c;"),
    ("a/mod.rs", "mod leaf; pub mod other; pub use self::leaf::Leaf;"),
    ("a/leaf.rs", "pub struct Leaf;"),
    ("a/other.rs", ""),
    ("b/mod.rs", "use crate::a::Leaf;\npub fn b(_: Leaf) {}"),
    ("c.rs", "pub type C = crate::a::Leaf;"),
];

/// Returns the problems of the core made of [`SOURCES`] and `more`, below a crate that uses it.
fn problems_with(more: &[(&str, &str)]) -> Vec<String> {
    problems_by(TABLE, more)
}

fn problems_by(table: &str, more: &[(&str, &str)]) -> Vec<String> {
    let owned = |(path, text): &(&str, &str)| ((*path).to_owned(), (*text).to_owned());
    let is_replaced = |path: &str| more.iter().any(|(other, _)| *other == path);
    let kept = SOURCES.iter().filter(|(path, _)| !is_replaced(path));
    let files = kept.chain(more).map(owned).collect();
    let above = vec![owned(&("lib.rs", "pub fn above() { core_crate::b::b(todo!()) }"))];
    let crates = [
        Crate { name: "", identifier: "core_crate", root: "src", files },
        Crate { name: "top", identifier: "top_crate", root: "top/src", files: above },
    ];
    let tree = Tree::new(&crates);
    let uses = tree.uses();
    let mut problems = Table::read(table).problems(&tree, &uses);
    problems.extend(circles_of_files(&tree, &uses));
    problems
}

#[test]
fn permitted_arrows_are_no_problem() {
    assert_eq!(problems_with(&[]), Vec::<String>::new());
}

#[test]
fn a_broken_arrow_is_named_with_file_and_line() {
    for (path, text, problem) in [
        ("a/other.rs", "\nuse crate::b;", "src/a/other.rs:2: a::other -> b is not permitted"),
        ("a/other.rs", "use {\n crate::{b::{b}},\n};", "src/a/other.rs:2: a::other -> b is not permitted"),
        ("a/other.rs", "use super::super::b as bee;", "src/a/other.rs:1: a::other -> b is not permitted"),
        (
            "a/other.rs",
            "fn f<'a>() { let x: &'a str = crate::b::b(todo!()); }",
            "src/a/other.rs:1: a::other -> b is not permitted",
        ),
        ("b/child.rs", "\n\nuse core_crate::c::C;", "src/b/child.rs:3: b::child -> c is not permitted"),
        ("c.rs", "use crate::a::{Leaf, other};", "src/c.rs:1: c -> a::other is not permitted"),
    ] {
        assert_eq!(problems_with(&[(path, text)]), [problem], "{text}");
    }
}

#[test]
fn an_arrow_that_nobody_uses_is_named() {
    let problems = problems_with(&[("c.rs", "")]);
    assert_eq!(problems, ["c -> a::leaf is permitted, and nobody uses it"]);
}

#[test]
fn a_circle_of_the_table_is_named() {
    let table = TABLE.replace("| `a` | nothing |", "| `a` | `b` |");
    let problems = problems_by(&table, &[("a/other.rs", "use crate::b;")]);
    assert_eq!(problems, [r#"the table has a circle: {"a", "b"}"#]);
}

#[test]
fn a_circle_is_named_with_its_arrows() {
    for (what, more, arrows) in [
        (
            "siblings",
            &[("b/one.rs", "use super::two::Two;"), ("b/two.rs", "pub struct Two(crate::b::one::One);")][..],
            &["src/b/one.rs:1 -> src/b/two.rs", "src/b/two.rs:1 -> src/b/one.rs"][..],
        ),
        (
            "parent and child",
            &[
                ("b/mod.rs", "mod child;\nuse crate::a::Leaf;\npub fn b(_: Leaf) {\n child::run() }"),
                ("b/child.rs", "use super::b;\npub fn run() { b(todo!()) }"),
            ],
            &["src/b/mod.rs:4 -> src/b/child.rs", "src/b/child.rs:1 -> src/b/mod.rs"],
        ),
        (
            "a name that the parent passes on and uses as well",
            &[
                (
                    "b/mod.rs",
                    "mod child;\nuse crate::a::Leaf;\npub(crate) use child::*;\npub use child::Kid;\npub fn b(_: Leaf, _: Kid) {}",
                ),
                ("b/child.rs", "pub struct Kid;\nimpl Kid { fn kid() { super::b() } }"),
            ],
            &["src/b/mod.rs:4 -> src/b/child.rs", "src/b/child.rs:2 -> src/b/mod.rs"],
        ),
        (
            "through re-exports and the name of a module",
            &[
                ("b/mod.rs", "mod one;\nmod two;\npub use self::{one::One, two::Two};\nuse crate::a::Leaf;"),
                ("b/one.rs", "use crate::b;\npub struct One(b::Two);"),
                ("b/two.rs", "use crate::b::{self, One};\npub struct Two(Box<One>);"),
            ],
            &["src/b/one.rs:2 -> src/b/two.rs", "src/b/two.rs:1 -> src/b/one.rs"],
        ),
    ] {
        let expected = format!("a circle of 2 files:\n  {}", arrows.join("\n  "));
        assert_eq!(problems_with(more), [expected], "{what}");
    }
}

/// Neither a parent that passes on what its children define, nor what is for tests only, nor text.
#[test]
fn what_is_no_use_makes_no_circle() {
    for (what, more) in [
        (
            "a parent that passes on",
            &[
                ("b/mod.rs", "pub mod one; mod two;\npub use self::one::One;\npub use two::{Two as Second};"),
                ("b/one.rs", "use super::Second;\nuse crate::a::Leaf;\npub struct One;"),
                ("b/two.rs", "pub struct Two;"),
            ][..],
        ),
        (
            "tests",
            &[
                (
                    "a/other.rs",
                    "#[cfg(test)]\nmod tests { use crate::b; }\n#[cfg(all(test, unix))] mod more;\n#[cfg(test)] use crate::{b, c};\n#[cfg(test)] fn f() { crate::b::b(); }",
                ),
                ("a/other/more.rs", "use crate::b;"),
            ],
        ),
        (
            "text",
            &[(
                "a/other.rs",
                "/// [crate::b::b]\n// use crate::b;\n/* /* */ use crate::b; */\nconst A: &str = \"use crate::b;\\\"\"; const B: &str = r#\"\"use crate::b;\"#; const C: char = '\"'; pub(in crate::a) fn f() {} const D: char = '\"';",
            )],
        ),
    ] {
        assert_eq!(problems_with(more), Vec::<String>::new(), "{what}");
    }
}
