//! What the arrows must keep: the table of permitted ones, and that they run in no circle.

use std::collections::{BTreeMap, BTreeSet};

use super::tree::{Tree, Use};

const BEGIN: &str = "<!-- arrows: begin -->";
const END: &str = "<!-- arrows: end -->";

/// The table: what each folder may import, both by their paths, such as `oci::digest`.
pub struct Table(Vec<(String, Vec<String>)>);

impl Table {
    /// Reads the table between the markers of a page: rows of `| folder | may import |`, names in backticks.
    pub fn read(page: &str) -> Self {
        let (_, rest) = page.split_once(BEGIN).expect("the table's begin");
        let (table, _) = rest.split_once(END).expect("the table's end");
        let names = |cell: &str| cell.split('`').skip(1).step_by(2).map(str::to_owned).collect::<Vec<_>>();
        let rows = table.lines().filter_map(|line| line.trim().trim_matches('|').split_once('|'));
        Self(rows.filter_map(|(folder, others)| Some((names(folder).pop()?, names(others)))).collect())
    }

    /// Returns what is wrong: arrows that are not permitted, permitted ones that nobody uses, and circles of the table.
    pub fn problems(&self, tree: &Tree, uses: &[Use]) -> Vec<String> {
        let mut problems = Vec::new();
        let mut unused: BTreeSet<_> =
            self.0.iter().flat_map(|(from, all)| all.iter().map(move |to| (from.as_str(), to.as_str()))).collect();
        let permitted = unused.clone();
        for used in uses.iter().filter(|used| !used.from.is_empty() && top(&used.from) != top(&used.to)) {
            let applies = |(from, to): &&(&str, &str)| is_in(&used.from, from) && is_in(&used.to, to);
            let applying: Vec<_> = permitted.iter().filter(applies).collect();
            if applying.is_empty() {
                let Use { file, line, from, to, .. } = used;
                let problem = format!("{}:{line}: {from} -> {to} is not permitted", tree.files[*file].path);
                if !problems.contains(&problem) {
                    problems.push(problem);
                }
            }
            unused.retain(|arrow| !applying.contains(&arrow));
        }
        problems
            .extend(unused.into_iter().map(|(from, to)| format!("{from} -> {to} is permitted, and nobody uses it")));
        let arrows: Vec<_> = permitted.iter().map(|(from, to)| (top(from), top(to))).collect();
        problems.extend(circles(&arrows).into_iter().map(|circle| format!("the table has a circle: {circle:?}")));
        problems
    }
}

/// Returns the circles of files, each with its arrows.
pub fn circles_of_files(tree: &Tree, uses: &[Use]) -> Vec<String> {
    let arrows: Vec<_> = uses.iter().filter_map(|used| Some((used.file, used.definition?))).collect();
    let describe = |circle: BTreeSet<usize>| {
        // The first use of each file by each other.
        let mut arrows: BTreeMap<(usize, usize), usize> = BTreeMap::new();
        for used in uses.iter().filter(|used| circle.contains(&used.file)) {
            if let Some(to) = used.definition.filter(|to| circle.contains(to) && *to != used.file) {
                arrows.entry((used.file, to)).or_insert(used.line);
            }
        }
        let path = |file: usize| &tree.files[file].path;
        let arrows: Vec<_> =
            arrows.iter().map(|((from, to), line)| format!("  {}:{line} -> {}", path(*from), path(*to))).collect();
        format!("a circle of {} files:\n{}", circle.len(), arrows.join("\n"))
    };
    circles(&arrows).into_iter().map(describe).collect()
}

/// Returns the largest sets of nodes of which each leads to each other one.
fn circles<T: Ord + Copy>(arrows: &[(T, T)]) -> Vec<BTreeSet<T>> {
    let mut next: BTreeMap<T, BTreeSet<T>> = BTreeMap::new();
    for (from, to) in arrows.iter().filter(|(from, to)| from != to) {
        next.entry(*from).or_default().insert(*to);
    }
    let reached: BTreeMap<T, BTreeSet<T>> = next.keys().map(|from| (*from, reached_from(*from, &next))).collect();
    let leads = |from: &T, to: &T| reached.get(from).is_some_and(|all| all.contains(to));
    let in_circles = reached.keys().filter(|node| leads(node, node));
    let circle = |node: &T| reached.keys().filter(|other| leads(node, other) && leads(other, node)).copied().collect();
    in_circles.map(circle).collect::<BTreeSet<_>>().into_iter().collect()
}

/// Returns the nodes to which one leads, itself only if it is in a circle.
fn reached_from<T: Ord + Copy>(from: T, next: &BTreeMap<T, BTreeSet<T>>) -> BTreeSet<T> {
    let (mut reached, mut waiting) = (BTreeSet::new(), vec![from]);
    while let Some(node) = waiting.pop() {
        for to in next.get(&node).into_iter().flatten() {
            if reached.insert(*to) {
                waiting.push(*to);
            }
        }
    }
    reached
}

fn top(path: &str) -> &str {
    path.split("::").next().unwrap_or(path)
}

fn is_in(path: &str, module: &str) -> bool {
    path.strip_prefix(module).is_some_and(|rest| rest.is_empty() || rest.starts_with("::"))
}
