//! Compares what `src/sys` declares with the headers of the OpenSSL that is linked, and with the tables of `vendor-notes.md`.

mod c_source;

use std::fmt::Write as _;

use c_source::{c_arguments, declare, split_arguments, split_at_closing};

/// One `const` or `fn` of the module `ffi`.
struct Declaration {
    name: String,
    kind: Kind,
    /// The cfg it stands under, such as `ossl320`.
    cfg: Option<String>,
}

enum Kind {
    Constant {
        value: String,
    },
    Function {
        arguments: Vec<String>,
        answer: String,
    },
}

/// Reads the declarations out of the source: there is nothing else that names all of them.
fn declarations() -> Vec<Declaration> {
    let source = include_str!("../src/sys/mod.rs");
    let mut found = Vec::new();
    let mut cfg = None;
    let mut lines = source.lines();
    while let Some(line) = lines.next() {
        let line = line.trim();
        if let Some(condition) = line.strip_prefix("#[cfg(") {
            cfg = condition.strip_suffix(")]").map(str::to_owned);
            continue;
        }
        let Some(item) = line.strip_prefix("pub(crate) ") else {
            // Attributes and comments may stand between a cfg and its item.
            if !line.starts_with("#[") && !line.starts_with("//") {
                cfg = None;
            }
            continue;
        };
        let mut item = item.to_owned();
        while !(item.ends_with(';') || item.ends_with('{') || item.ends_with(',')) {
            item.push(' ');
            item.push_str(lines.next().expect("the item ends").trim());
        }
        // The list of arguments of a function may be broken after commas.
        while item.starts_with("fn ") && !item.ends_with(';') {
            item.push_str(lines.next().expect("the function ends").trim());
        }
        let cfg = cfg.take();
        if let Some(constant) = item.strip_prefix("const ") {
            let (name, rest) = constant.split_once(':').expect("a constant has a type");
            let (_, value) = rest.split_once('=').expect("a constant has a value");
            let value = value.trim().trim_end_matches(';').to_owned();
            let kind = Kind::Constant { value };
            found.push(Declaration {
                name: name.trim().to_owned(),
                kind,
                cfg,
            });
        } else if let Some(function) = item.strip_prefix("fn ") {
            let (name, rest) = function.split_once('(').expect("a function has arguments");
            let (arguments, answer) = split_at_closing(rest);
            let answer = answer.trim().trim_end_matches(';').trim();
            let answer = answer.strip_prefix("->").unwrap_or("()").trim().to_owned();
            let arguments = split_arguments(arguments);
            let kind = Kind::Function { arguments, answer };
            found.push(Declaration {
                name: name.to_owned(),
                kind,
                cfg,
            });
        }
    }
    found
}

/// Whether the linked OpenSSL has what stands under `cfg`.
fn applies(cfg: Option<&str>) -> bool {
    let major_minor = |text: &str| {
        let digits: Vec<i64> = text
            .chars()
            .filter_map(|c| c.to_digit(10))
            .map(i64::from)
            .collect();
        match digits[..] {
            [major, minor, _] => Some(major << 28 | minor << 20),
            _ => None,
        }
    };
    let loaded = openssl_dtls::openssl::version::number();
    match cfg {
        None | Some("test") => true,
        Some("windows") => cfg!(windows),
        Some("not(windows)") => !cfg!(windows),
        Some(cfg) => {
            let (negated, name) = match cfg.strip_prefix("not(").and_then(|c| c.strip_suffix(')')) {
                Some(name) => (true, name),
                None => (false, cfg),
            };
            let from = name.strip_prefix("ossl").and_then(major_minor);
            let from = from.unwrap_or_else(|| panic!("a cfg this test does not know: {cfg}"));
            (loaded >= from) != negated
        }
    }
}

/// C names that break Rust's rules for constants are spelled in capitals there.
fn c_name(name: &str) -> String {
    match name.strip_prefix("NID_AUTH_") {
        Some(kind) => format!("NID_auth_{}", kind.to_lowercase()),
        None => name.to_owned(),
    }
}

#[test]
fn every_declaration_stands_in_the_vendor_notes() {
    let notes = include_str!("../vendor-notes.md");
    let declared = declarations();
    assert!(declared.len() > 60, "{} declarations found", declared.len());
    let missing: Vec<_> = declared
        .iter()
        .filter(|declaration| !notes.contains(&format!("| `{}` |", declaration.name)))
        .map(|declaration| &declaration.name)
        .collect();
    assert!(missing.is_empty(), "not in vendor-notes.md: {missing:?}");

    let noted = notes.lines().filter_map(|line| {
        let name = line.strip_prefix("| `")?.split_once("` | ")?;
        name.1
            .starts_with(|c: char| c.is_ascii_lowercase())
            .then_some((name.0, name.1))
    });
    let stale: Vec<_> = noted
        .filter(|(_, rest)| rest.contains(".h |"))
        .filter(|(name, _)| !declared.iter().any(|declaration| declaration.name == *name))
        .collect();
    assert!(
        stale.is_empty(),
        "in vendor-notes.md but not declared: {stale:?}"
    );
}

#[test]
fn declarations_agree_with_the_headers() {
    let mut program = String::from(
        "#include <stddef.h>\n#include <stdint.h>\n#include <time.h>\n\
         #define OPENSSL_SUPPRESS_DEPRECATED\n\
         #include <openssl/bio.h>\n#include <openssl/err.h>\n#include <openssl/objects.h>\n\
         #include <openssl/ssl.h>\n#include <openssl/srtp.h>\n#include <openssl/store.h>\n\
         #include <openssl/crypto.h>\n#include <openssl/x509.h>\n#include <openssl/x509_vfy.h>\n\
         #include <openssl/ocsp.h>\n#include <openssl/core_names.h>\n#include <openssl/provider.h>\n",
    );
    // Types of functions that the headers have no name for.
    program.push_str(
        "typedef int (*ticket_key_evp_cb)(SSL *, unsigned char *, unsigned char *, \
         EVP_CIPHER_CTX *, EVP_MAC_CTX *, int);\n\
         typedef void (*msg_cb)(int, int, int, const void *, size_t, SSL *, void *);\n\
         typedef void (*info_cb)(const SSL *, int, int);\n",
    );
    let mut checked = 0;
    for declaration in declarations() {
        if !applies(declaration.cfg.as_deref()) {
            continue;
        }
        let name = c_name(&declaration.name);
        match &declaration.kind {
            Kind::Constant { value } => {
                let value = value.replace('_', "");
                writeln!(
                    program,
                    "_Static_assert(({name}) == ({value}), \"{name}\");"
                )
                .unwrap();
            }
            // Declaring a function twice is an error in C unless both say the same. Macros in front of a function say nothing of it.
            Kind::Function { arguments, answer } => {
                let arguments = c_arguments(arguments);
                writeln!(program, "#ifndef {name}").unwrap();
                writeln!(
                    program,
                    "{};",
                    declare(answer, &format!("({name})({arguments})"))
                )
                .unwrap();
                writeln!(program, "#endif").unwrap();
            }
        }
        checked += 1;
    }
    assert!(checked > 60, "{checked} declarations checked");

    c_source::check(&program);
}
