//! Spells Rust's declarations in C, and asks the C compiler what it thinks of them.

#![allow(
    dead_code,
    unreachable_pub,
    missing_docs,
    reason = "each test binary uses its part"
)]

use std::process::Command;

/// Splits behind the parenthesis that closes the one before `text`.
pub fn split_at_closing(text: &str) -> (&str, &str) {
    let mut depth = 1;
    for (at, character) in text.char_indices() {
        match character {
            '(' => depth += 1,
            ')' => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return (&text[..at], &text[at + 1..]);
        }
    }
    panic!("unbalanced: {text}");
}

/// The types of `name: type, name: type`, also where a type is a function with arguments of its own.
pub fn split_arguments(text: &str) -> Vec<String> {
    let mut types = Vec::new();
    let (mut depth, mut start) = (0, 0);
    for (at, character) in text.char_indices().chain([(text.len(), ',')]) {
        match character {
            '(' => depth += 1,
            ')' => depth -= 1,
            ',' if depth == 0 => {
                let argument = text[start..at].trim();
                start = at + 1;
                if !argument.is_empty() {
                    let (_, r#type) = argument.split_once(':').unwrap_or(("", argument));
                    types.push(r#type.trim().to_owned());
                }
            }
            _ => {}
        }
    }
    types
}

/// The C spelling of a declarator of the Rust type `r#type` for `name`.
pub fn declare(r#type: &str, name: &str) -> String {
    let r#type = r#type.trim();
    if let Some(function) = r#type
        .strip_prefix("Option<unsafe extern \"C\" fn(")
        .and_then(|rest| rest.strip_suffix('>'))
    {
        let (arguments, answer) = split_at_closing(function);
        let answer = answer.trim().strip_prefix("->").unwrap_or("()").trim();
        let arguments = c_arguments(&split_arguments(arguments));
        return declare(answer, &format!("(*{name})({arguments})"));
    }
    if let Some(pointee) = r#type.strip_prefix("*mut ") {
        return declare(pointee, &format!("*{name}"));
    }
    if let Some(pointee) = r#type.strip_prefix("*const ") {
        return match pointee.strip_prefix("*const ") {
            Some(inner) => format!("const {}", declare(inner, &format!("*const *{name}"))),
            None => format!("const {}", declare(pointee, &format!("*{name}"))),
        };
    }
    let c = match r#type {
        "()" | "c_void" => "void",
        "c_int" => "int",
        "c_uint" => "unsigned int",
        "c_long" => "long",
        "c_ulong" => "unsigned long",
        "c_char" => "char",
        "c_uchar" | "u8" => "unsigned char",
        "c_ushort" => "unsigned short",
        "usize" => "size_t",
        "u32" => "uint32_t",
        "u64" => "uint64_t",
        "time_t" => "time_t",
        "stack_st_SSL_CIPHER" => "STACK_OF(SSL_CIPHER)",
        "stack_st_X509" => "STACK_OF(X509)",
        other => other,
    };
    format!("{c} {name}")
}

pub fn c_arguments(arguments: &[String]) -> String {
    if arguments.is_empty() {
        return "void".to_owned();
    }
    let arguments: Vec<String> = arguments.iter().map(|r#type| declare(r#type, "")).collect();
    arguments.join(", ")
}

/// Whether a program is installed, such as a compiler; in CI it must be.
pub fn has_program(name: &str) -> bool {
    match Command::new(name).arg("--version").output() {
        Ok(_) => true,
        Err(error) if std::env::var_os("CI").is_none() => {
            eprintln!("skipped: no {name} ({error})");
            false
        }
        Err(error) => panic!("no {name}: {error}"),
    }
}

/// Where the headers of the linked OpenSSL are, as an argument for a compiler.
pub fn include_openssl(compiler: &mut Command) {
    let include = env!("OPENSSL_DTLS_INCLUDE");
    if !include.is_empty() {
        compiler.arg("-I").arg(include);
    }
}

/// Compiles `program`; panics with what the compiler said if it does not.
pub fn check(program: &str) {
    if !has_program("cc") {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("declarations.c");
    std::fs::write(&file, program).unwrap();
    let mut compiler = Command::new("cc");
    compiler.args(["-std=c11", "-fsyntax-only", "-Wno-deprecated-declarations"]);
    include_openssl(&mut compiler);
    let output = compiler.arg(&file).output().unwrap();
    assert!(
        output.status.success(),
        "{}\n{program}",
        String::from_utf8_lossy(&output.stderr)
    );
}
