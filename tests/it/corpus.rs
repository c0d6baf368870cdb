//! Replays every file of the fuzz corpora through the functions that the fuzz targets call.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use tunless_core::testing::{fuzz_config, fuzz_tls, fuzz_upstream, fuzz_wire};
use tunless_netstack::testing as netstack;
use tunless_proxy::testing as proxy;

/// A target's name and its body.
type Target = (&'static str, fn(&[u8]));

/// Targets by name, with their bodies.
const TARGETS: [Target; 24] = [
    ("profile", fuzz_config::profile),
    ("server_config", fuzz_config::server_config),
    ("pushed", fuzz_config::pushed),
    ("certificate", fuzz_tls::certificate),
    ("tls_session", fuzz_tls::session),
    ("control", fuzz_wire::control),
    ("key_method", fuzz_wire::key_method),
    ("data", fuzz_wire::data),
    ("stream", fuzz_wire::stream),
    ("messages", fuzz_wire::messages),
    ("datagrams", fuzz_wire::datagrams),
    ("upstream_http", fuzz_upstream::http),
    ("upstream_socks", fuzz_upstream::socks),
    ("stack_input", netstack::stack_input),
    ("exit_input", netstack::exit_input),
    ("dns_answer", netstack::dns_answer),
    ("socks4", proxy::socks4),
    ("dns_query", netstack::dns_query),
    ("socks5", proxy::socks5),
    ("socks5_datagram", proxy::socks5_datagram),
    ("http_head", proxy::http_head),
    ("http_response", proxy::http_response),
    ("http_chunked", proxy::http_chunked),
    ("dns_request", proxy::dns_request),
];

fn fuzz() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz")
}

fn entries(folder: &Path) -> Vec<PathBuf> {
    let found = fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let mut paths: Vec<_> = found.flatten().map(|entry| entry.path()).collect();
    paths.sort();
    paths
}

#[test]
fn every_corpus_file_passes_through_its_target() {
    for (name, body) in TARGETS {
        let files = entries(&fuzz().join("corpus").join(name));
        assert!(!files.is_empty(), "{name} has no corpus");
        for path in files {
            let data = fs::read(&path).expect("a corpus file");
            // Says which file it was when the body panics.
            eprintln!("{}", path.display());
            body(&data);
            // Cut short and with one bit wrong: the parser has to bear both.
            body(&data[..data.len() / 2]);
            let mut bent = data;
            let middle = bent.len() / 2;
            bent.get_mut(middle).into_iter().for_each(|byte| *byte ^= 0x10);
            body(&bent);
        }
    }
}

#[test]
fn every_target_is_replayed() {
    let stem = |path: &PathBuf| {
        path.file_stem()
            .expect("a file name")
            .to_string_lossy()
            .into_owned()
    };
    let targets: BTreeSet<_> = entries(&fuzz().join("targets")).iter().map(stem).collect();
    let corpora: BTreeSet<_> = entries(&fuzz().join("corpus")).iter().map(stem).collect();
    let replayed: BTreeSet<_> = TARGETS.iter().map(|(name, _)| (*name).to_owned()).collect();
    assert_eq!(targets, replayed);
    assert_eq!(corpora, replayed);
}
