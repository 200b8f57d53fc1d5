//! No test of the contract may get lost.

const NAMES: &str = include_str!("names.txt");

/// Where each module of the list is.
const SOURCES: [(&str, &str); 7] = [
    ("tst_qdtls", include_str!("tst_qdtls.rs")),
    (
        "tst_qdtls_verification",
        include_str!("tst_qdtls_verification.rs"),
    ),
    ("tst_qdtlscookie", include_str!("tst_qdtlscookie.rs")),
    ("beyond_qt", include_str!("beyond_qt.rs")),
    ("beyond_qt_data", include_str!("beyond_qt_data.rs")),
    ("beyond_qt_limits", include_str!("beyond_qt_limits.rs")),
    ("interop/qt", include_str!("../interop/qt.rs")),
];

#[test]
fn every_test_of_the_contract_is_there() {
    let mut rows = 0;
    for line in NAMES.lines().filter(|line| !line.starts_with('#')) {
        let (module, function) = line.split_once(' ').unwrap();
        let (_, source) = SOURCES
            .iter()
            .find(|(name, _)| *name == module)
            .unwrap_or_else(|| panic!("no module {module}"));
        let declaration = format!("#[test]\nfn {function}() {{");
        assert!(source.contains(&declaration), "{module} has no {function}");
        rows += 1;
    }
    // Number 39 has two.
    assert_eq!(rows, 45);
}
