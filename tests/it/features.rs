//! Holds the table of features to the tests it names.

use std::collections::HashSet;
use std::fs;
use std::path::{Path, PathBuf};

/// Columns of the table.
const COLUMNS: usize = 5;

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// Every Rust file below `directory`.
fn sources(directory: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

/// The module a file makes: its own name, or that of its directory.
fn module(path: &Path) -> String {
    let name = |path: &Path| path.file_stem().unwrap().to_str().unwrap().to_owned();
    match name(path).as_str() {
        "mod" | "main" => name(path.parent().unwrap()),
        own => own.to_owned(),
    }
}

/// Every test there is, as `module::function`.
fn tests() -> HashSet<String> {
    let mut paths = Vec::new();
    for directory in ["src", "tests"] {
        sources(&root().join(directory), &mut paths);
    }
    let mut tests = HashSet::new();
    for path in paths {
        let source = fs::read_to_string(&path).unwrap();
        let mut is_test = false;
        for line in source.lines().map(str::trim) {
            if line == "#[test]" || line.starts_with("#[tokio::test") {
                is_test = true;
            } else if let Some(function) = line
                .strip_prefix("async ")
                .unwrap_or(line)
                .strip_prefix("fn ")
                && is_test
            {
                let (function, _) = function.split_once('(').unwrap();
                tests.insert(format!("{}::{function}", module(&path)));
                is_test = false;
            } else if !line.starts_with("#[") && !line.starts_with("//") {
                is_test = false;
            }
        }
    }
    tests
}

/// The names in backquotes.
fn quoted(cell: &str) -> Vec<&str> {
    cell.split('`').skip(1).step_by(2).collect()
}

#[test]
fn every_row_of_the_table_names_a_test_that_exists() {
    let table = fs::read_to_string(root().join("FEATURES.md")).unwrap();
    let tests = tests();
    let mut rows = 0;
    let mut wrong = Vec::new();
    for line in table.lines().filter(|line| line.starts_with("| ")) {
        let cells: Vec<_> = line.trim_matches('|').split(" | ").map(str::trim).collect();
        if cells
            .first()
            .is_some_and(|&first| first == "feature" || first.starts_with("---"))
        {
            continue;
        }
        rows += 1;
        if cells.len() != COLUMNS || cells.iter().any(|cell| cell.is_empty()) {
            wrong.push(format!("not {COLUMNS} filled columns: {line}"));
            continue;
        }
        let named = quoted(cells[COLUMNS - 1]);
        if named.is_empty() {
            wrong.push(format!("no test: {line}"));
        }
        let unknown = named.into_iter().filter(|&name| !tests.contains(name));
        wrong.extend(unknown.map(|name| format!("no test of this name: {name}")));
    }
    assert!(rows > 0, "the table is gone");
    assert!(wrong.is_empty(), "{wrong:#?}");
}
