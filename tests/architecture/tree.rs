//! The modules of some crates, and what each of their files uses.

use std::collections::HashMap;

use super::source::{self, Names, Source};

/// Re-exports in a row that are followed.
const MAX_REEXPORTS: usize = 16;

/// A crate to be read: the core, whose folders are looked at one by one, or one above it.
pub struct Crate<'a> {
    /// How the table calls it; nothing for the core.
    pub name: &'a str,
    /// How other crates call it.
    pub identifier: &'a str,
    /// The folder of its sources.
    pub root: &'a str,
    /// Paths below that folder, and their texts.
    pub files: Vec<(String, String)>,
}

/// A module, by its crate and its path there.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Module {
    krate: usize,
    names: Names,
}

pub struct File {
    pub path: String,
    module: Module,
    source: Source,
}

/// That a file uses what a module defines.
#[derive(Debug)]
pub struct Use {
    pub file: usize,
    pub line: usize,
    /// The folders or crates, as the table calls them, with the modules below.
    pub from: String,
    pub to: String,
    /// The file that defines it, unless the name is only passed on or that of a module.
    pub definition: Option<usize>,
}

pub struct Tree<'a> {
    crates: &'a [Crate<'a>],
    pub files: Vec<File>,
    modules: HashMap<Module, usize>,
}

impl<'a> Tree<'a> {
    pub fn new(crates: &'a [Crate<'a>]) -> Self {
        let mut files = Vec::new();
        for (krate, Crate { root, files: texts, .. }) in crates.iter().enumerate() {
            for (path, text) in texts {
                let mut names: Names = path.trim_end_matches(".rs").split('/').map(str::to_owned).collect();
                names.pop_if(|last| ["mod", "lib"].contains(&last.as_str()));
                files.push(File {
                    path: format!("{root}/{path}"),
                    module: Module { krate, names },
                    source: source::read(text),
                });
            }
        }
        let of_tests: Vec<_> = files
            .iter()
            .flat_map(|file| {
                let whole = file.source.is_test.then(|| file.module.clone());
                file.source.test_modules.iter().map(|names| file.module.below(names)).chain(whole)
            })
            .collect();
        files.retain(|file| !of_tests.iter().any(|module| file.module.is_in(module)));
        let mut modules = HashMap::new();
        for (index, file) in files.iter().enumerate() {
            modules.insert(file.module.clone(), index);
            for names in &file.source.inline_modules {
                modules.insert(file.module.below(names), index);
            }
        }
        Self { crates, files, modules }
    }

    /// Returns what the files use of each other, in order.
    pub fn uses(&self) -> Vec<Use> {
        let mut uses = Vec::new();
        for (index, file) in self.files.iter().enumerate() {
            for import in &file.source.imports {
                let is_passed_on =
                    import.is_public && import.name.as_ref().is_none_or(|name| !file.source.mentions.contains(name));
                uses.extend(self.used(index, &import.scope, &import.path, import.line, is_passed_on));
            }
            for path in &file.source.paths {
                uses.extend(self.used(index, &path.scope, &path.names, path.line, false));
            }
        }
        uses
    }

    fn used(&self, file: usize, scope: &[String], path: &[String], line: usize, is_passed_on: bool) -> Option<Use> {
        let here = self.files[file].module.below(scope);
        let named = self.named(&here, path)?;
        let mut passed = Vec::new();
        let rest = self.follow(named, MAX_REEXPORTS, &mut passed);
        // What a folder shows of another one is its own.
        let folder = passed.iter().find(|module| !module.names.is_empty() || module.krate != 0)?.folder();
        let last = passed.iter().skip_while(|module| module.folder() != folder);
        let last = last.take_while(|module| module.folder() == folder).last()?;
        let definition = passed.last().and_then(|module| self.modules.get(module)).copied();
        let definition = definition.filter(|_| !is_passed_on && rest > 0);
        Some(Use { file, line, from: self.title(&here), to: self.title(last), definition })
    }

    /// Returns where a path of a module leads, as it is written; `None` if out of these crates or to a local name.
    fn named(&self, here: &Module, path: &[String]) -> Option<(Module, Names)> {
        self.spelled(here, path).or_else(|| {
            let (first, rest) = path.split_first()?;
            let (module, names) = self.imported(here, first)?;
            Some((module, [&names, rest].concat()))
        })
    }

    /// Returns where a path leads that begins with no imported name.
    fn spelled(&self, here: &Module, path: &[String]) -> Option<(Module, Names)> {
        let (first, rest) = path.split_first()?;
        let root = |krate| Module { krate, names: Vec::new() };
        let child = here.below(&path[..1]);
        match first.as_str() {
            "crate" => Some((root(here.krate), rest.to_vec())),
            "self" => Some((here.clone(), rest.to_vec())),
            "super" => {
                let supers = path.iter().take_while(|name| *name == "super").count();
                let mut above = here.clone();
                above.names.truncate(above.names.len().checked_sub(supers)?);
                Some((above, path[supers..].to_vec()))
            }
            _ if self.modules.contains_key(&child) => Some((child, rest.to_vec())),
            name => {
                let krate = self.crates.iter().position(|krate| krate.identifier == name)?;
                Some((root(krate), rest.to_vec()))
            }
        }
    }

    /// Returns where a name that a module imports leads.
    fn imported(&self, here: &Module, name: &str) -> Option<(Module, Names)> {
        let file = &self.files[*self.modules.get(here)?];
        let scope = &here.names[file.module.names.len()..];
        let imports = || file.source.imports.iter().filter(|import| import.scope == scope);
        if let Some(import) = imports().find(|import| import.name.as_deref() == Some(name)) {
            // A name is not the beginning of its own path: `use log::{self, Level}`.
            let is_own = import.path.first().is_some_and(|first| first == name);
            return if is_own { self.spelled(here, &import.path) } else { self.named(here, &import.path) };
        }
        let all = imports().filter(|import| import.name.is_none());
        let mut shown =
            all.filter_map(|import| self.spelled(here, &import.path)).map(|(module, names)| module.below(&names));
        let defines = |module: &Module| {
            let file = self.modules.get(module).map(|file| &self.files[*file]);
            file.is_some_and(|file| file.source.definitions.contains(name))
        };
        Some((shown.find(|module| module != here && defines(module))?, vec![name.to_owned()]))
    }

    /// Follows a path through re-exports; notes each module that it passes, the last of which defines the item. Returns
    /// how many names are left there, 0 for a module itself.
    fn follow(&self, (mut module, names): (Module, Names), fuel: usize, passed: &mut Vec<Module>) -> usize {
        for (index, name) in names.iter().enumerate() {
            let child = module.below(std::slice::from_ref(name));
            if self.modules.contains_key(&child) {
                module = child;
                continue;
            }
            let imported = if fuel > 0 { self.imported(&module, name) } else { None };
            passed.push(module);
            let Some((next, names_there)) = imported else { return names.len() - index };
            return self.follow((next, [&names_there, &names[index + 1..]].concat()), fuel - 1, passed);
        }
        passed.push(module);
        0
    }

    /// Returns a module as the table calls it.
    fn title(&self, module: &Module) -> String {
        match self.crates[module.krate].name {
            "" => module.names.join("::"),
            name => name.to_owned(),
        }
    }
}

impl Module {
    fn below(&self, names: &[String]) -> Self {
        Self { krate: self.krate, names: [&self.names, names].concat() }
    }

    fn is_in(&self, other: &Self) -> bool {
        self.krate == other.krate && self.names.starts_with(&other.names)
    }

    /// What is one in the table: a crate above the core, or a folder or file at the core's root.
    fn folder(&self) -> (usize, Option<&String>) {
        (self.krate, self.names.first().filter(|_| self.krate == 0))
    }
}
