//! Builds OpenSSL 4 for the target that is named and installs it below the directory that is named.

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [directory, target] = &arguments[..] else {
        eprintln!("usage: openssl4 DIRECTORY TARGET");
        std::process::exit(2);
    };
    let built = openssl_src::Build::new()
        .out_dir(directory)
        .host(target)
        .target(target)
        .build();
    println!("{}", built.lib_dir().display());
}
