//! The source held to its own rules: which package may use which, what core must not contain, sizes, docs,
//! licences, and nothing that belongs to one machine.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

/// Longest production part of a file, in lines.
const LONGEST: usize = 600;
/// Files that are one table and may be longer.
const TABLES: [&str; 1] = ["core/src/config/directive.rs"];
/// Folders with source of ours.
const SOURCES: [&str; 5] = ["src", "core/src", "netstack/src", "proxy/src", "dbus/src"];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Every file below `folder`, in order, without build output.
fn files_below(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut waiting = vec![folder.to_owned()];
    while let Some(path) = waiting.pop() {
        let hidden = path
            .file_name()
            .is_some_and(|name| name == "target" || name == ".git");
        if path.is_dir() && !hidden {
            waiting.extend(
                fs::read_dir(&path)
                    .expect("a folder")
                    .flatten()
                    .map(|entry| entry.path()),
            );
        } else if path.is_file() && !hidden {
            found.push(path);
        }
    }
    found.sort();
    found
}

/// Rust files below the given folders of the repository, by their path in it, with their text.
fn rust_files(folders: &[&str]) -> Vec<(String, String)> {
    let paths = folders
        .iter()
        .flat_map(|folder| files_below(&root().join(folder)));
    let rust = paths.filter(|path| path.extension().is_some_and(|extension| extension == "rs"));
    rust.map(|path| {
        let name = path
            .strip_prefix(root())
            .expect("a file of the repository")
            .display()
            .to_string();
        (name, fs::read_to_string(&path).expect("source"))
    })
    .collect()
}

fn is_test_file(name: &str) -> bool {
    name.ends_with("tests.rs")
        || name.ends_with("fixtures.rs")
        || name.contains("/tests/")
        || name.contains("/testing")
}

/// The lines before the inline tests.
fn production(text: &str) -> Vec<&str> {
    let lines: Vec<_> = text.lines().collect();
    let tests = lines
        .windows(2)
        .position(|pair| pair[0] == "#[cfg(test)]" && pair[1].starts_with("mod tests"));
    lines[..tests.unwrap_or(lines.len())].to_vec()
}

/// The workspace's packages as `cargo metadata` tells them.
fn packages() -> Vec<Value> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let arguments = [
        "metadata",
        "--no-deps",
        "--offline",
        "--locked",
        "--format-version",
        "1",
    ];
    let output = Command::new(cargo)
        .args(arguments)
        .current_dir(root())
        .output()
        .expect("cargo");
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let metadata: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    metadata["packages"].as_array().expect("packages").clone()
}

/// Names of what a package depends on, but for tests.
fn dependencies(package: &Value) -> Vec<&str> {
    let all = package["dependencies"].as_array().expect("dependencies");
    let normal = all.iter().filter(|dependency| dependency["kind"] != "dev");
    normal
        .filter_map(|dependency| dependency["name"].as_str())
        .collect()
}

#[test]
fn the_libraries_do_not_depend_on_each_other() {
    for package in packages() {
        let name = package["name"].as_str().expect("a name");
        if name != "tunless" {
            let ours: Vec<_> = dependencies(&package)
                .into_iter()
                .filter(|name| name.starts_with("tunless"))
                .collect();
            assert!(ours.is_empty(), "{name} depends on {ours:?}");
        }
    }
}

#[test]
fn core_knows_neither_runtime_nor_sockets() {
    let packages = packages();
    let core = packages
        .iter()
        .find(|package| package["name"] == "tunless-core")
        .expect("core");
    let banned = [
        "tokio",
        "mio",
        "socket2",
        "nix",
        "libc",
        "quinn-udp",
        "smoltcp",
        "anyhow",
        "rand",
    ];
    let found: Vec<_> = dependencies(core)
        .into_iter()
        .filter(|name| banned.contains(name))
        .collect();
    assert!(found.is_empty(), "core depends on {found:?}");
}

#[test]
fn core_has_no_clock_socket_file_thread_or_global() {
    let banned = [
        "Instant::now",
        "SystemTime::now",
        "UdpSocket",
        "TcpStream",
        "TcpListener",
        "UnixStream",
        "std::fs",
        "std::process",
        "std::thread",
        "std::env::var",
        "std::env::args",
        "thread_local!",
        "static mut",
        "println!",
        "eprintln!",
    ];
    for (name, text) in rust_files(&["core/src"]) {
        if is_test_file(&name) {
            continue;
        }
        let code = production(&text)
            .into_iter()
            .filter(|line| !line.trim_start().starts_with("//"));
        let found: Vec<_> = code
            .filter(|line| banned.iter().any(|word| line.contains(word)))
            .collect();
        assert!(found.is_empty(), "{name}: {found:#?}");
    }
}

#[test]
fn anyhow_stays_in_the_command_line() {
    for (name, text) in rust_files(&SOURCES) {
        let allowed = name == "src/main.rs" || name.starts_with("src/cli/");
        assert!(allowed || !text.contains("anyhow::"), "{name} uses anyhow");
    }
}

#[test]
fn the_router_and_the_pages_cannot_leave_outside_the_tunnel_themselves() {
    // `src/front/direct.rs` alone can, and its value exists only where a rule says `direct`.
    let banned = [
        "TcpStream",
        "TcpSocket",
        "UdpSocket::bind",
        "to_socket_addrs",
        "lookup_host",
        "socket2",
    ];
    let mut seen = 0;
    for (name, text) in rust_files(&["src/front", "src/site"]) {
        let in_front = name == "src/front/route.rs" || name == "src/front/probe.rs";
        if is_test_file(&name) || !(in_front || name.starts_with("src/site/")) {
            continue;
        }
        seen += 1;
        for line in production(&text) {
            assert!(!banned.iter().any(|word| line.contains(word)), "{name}: {line}");
        }
    }
    assert!(seen >= 8, "only {seen} files were looked at");
}

#[test]
fn files_are_short() {
    for (name, text) in rust_files(&[
        "src",
        "core/src",
        "netstack/src",
        "proxy/src",
        "dbus/src",
        "tests/it",
    ]) {
        let len = production(&text).len();
        let limit = if TABLES.contains(&name.as_str()) {
            usize::MAX
        } else {
            LONGEST
        };
        // A file of tests only has no production part to measure.
        assert!(len <= limit || name.ends_with("tests.rs"), "{name}: {len} lines");
    }
}

#[test]
fn every_file_says_what_it_owns() {
    for (name, text) in rust_files(&[
        "src",
        "core/src",
        "netstack/src",
        "proxy/src",
        "dbus/src",
        "tests/it",
    ]) {
        let doc: usize = text
            .lines()
            .filter_map(|line| line.strip_prefix("//!"))
            .map(|line| line.trim().len())
            .sum();
        assert!(
            text.starts_with("//!") && doc >= 20,
            "{name} does not open with what it is for"
        );
    }
}

#[test]
fn unsafe_code_is_forbidden_where_it_is_not_needed() {
    for library in ["core/src/lib.rs", "proxy/src/lib.rs", "dbus/src/lib.rs"] {
        let text = fs::read_to_string(root().join(library)).expect("source");
        assert!(text.contains("#![forbid(unsafe_code)]"), "{library}");
    }
    let listed = fs::read_to_string(root().join("ARCHITECTURE.md")).expect("ARCHITECTURE.md");
    for (name, text) in rust_files(&SOURCES) {
        assert!(
            !text.contains("expect(unsafe_code") || listed.contains(&name),
            "ARCHITECTURE.md does not list {name}"
        );
    }
}

#[test]
fn no_test_is_ignored_or_retried() {
    let attribute = concat!("#[", "ignore");
    for (name, text) in rust_files(&[
        "src",
        "core/src",
        "netstack/src",
        "proxy/src",
        "dbus/src",
        "tests/it",
    ]) {
        assert!(!text.contains(attribute), "{name} ignores a test");
    }
    let nextest = fs::read_to_string(root().join(".config/nextest.toml")).expect("nextest's settings");
    assert!(
        nextest
            .lines()
            .filter(|line| line.starts_with("retries"))
            .all(|line| line == "retries = 0")
    );
}

#[test]
fn each_package_has_its_licence() {
    for package in packages() {
        let name = package["name"].as_str().expect("a name");
        let licence = match name {
            "tunless" | "tunless-proxy" => "GPL-3.0-or-later",
            _ => "MIT OR Apache-2.0",
        };
        assert_eq!(package["license"], licence, "{name}");
    }
    for file in ["LICENSE-GPL", "LICENSE-MIT", "LICENSE-APACHE"] {
        assert!(root().join(file).is_file(), "{file} is missing");
    }
}

#[test]
fn nothing_names_one_machine() {
    let needles = [
        concat!("/wo", "rk/"),
        concat!("/ro", "ot/"),
        concat!("/ho", "me/"),
        concat!("index.", "crates.io"),
    ];
    for path in files_below(root()) {
        let name = path
            .strip_prefix(root())
            .expect("a file of the repository")
            .display()
            .to_string();
        let corpus = name.starts_with("tests/fuzz/corpus") || name.starts_with("tests/fuzz/target");
        let Ok(text) = fs::read_to_string(&path) else {
            continue;
        };
        if corpus || name.ends_with("Cargo.lock") {
            continue;
        }
        for needle in needles {
            assert!(!text.contains(needle), "{name} contains {needle}");
        }
    }
}
