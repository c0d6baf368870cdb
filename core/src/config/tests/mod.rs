//! Whole profiles, every message, and inputs that nobody wrote.

use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::{
    data::Cipher,
    rng::Rng,
    testing::fuzz_config,
    wire::Role,
    wrap::{Digest, KeyDirection, StaticKey},
};

mod adjust;
mod profiles;
mod pushes;
mod servers;
mod upstream;

/// Stands for a PEM file: what is in it is for TLS to judge.
const CERT: &str = "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n";
const KEY: &str = "-----BEGIN PRIVATE KEY-----\nMIIB\n-----END PRIVATE KEY-----\n";

#[derive(Debug)]
struct Zeros;

impl Rng for Zeros {
    fn split(&mut self) -> Box<dyn Rng> {
        Box::new(Self)
    }

    fn fill(&mut self, out: &mut [u8]) {
        out.fill(0);
    }
}

fn static_key() -> String {
    StaticKey::generate(&mut Zeros).to_text().to_string()
}

/// The files of the tests, by name.
fn file(path: &str) -> Result<Vec<u8>, String> {
    match path {
        "ca.crt" | "client.crt" | "server.crt" => Ok(CERT.into()),
        "client.key" | "server.key" => Ok(KEY.into()),
        "ta.key" => Ok(static_key().into()),
        "crl.pem" => Ok("-----BEGIN X509 CRL-----\n-----END X509 CRL-----\n".into()),
        "encrypted.key" => Ok("-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\n".into()),
        "login.txt" => Ok("alice\r\nhunter2\r\n".into()),
        "name.txt" => Ok("alice\n".into()),
        "empty" => Ok(Vec::new()),
        "binary" => Ok(vec![0xff, 0xfe]),
        _ => Err("no such file".to_owned()),
    }
}

fn try_client(text: &str) -> Result<(ClientConfig, Vec<String>), String> {
    let directives = Directives::parse("vpn.ovpn", text).map_err(|errors| errors.to_string())?;
    let (config, notes) =
        ClientConfig::resolve(&directives, &mut file).map_err(|errors| errors.to_string())?;
    Ok((config, notes.iter().map(ToString::to_string).collect()))
}

fn client(text: &str) -> ClientConfig {
    try_client(text).unwrap_or_else(|errors| panic!("{errors}")).0
}

/// A small profile that is fine, and lines of a test's own.
fn with(lines: &str) -> String {
    format!("client\nremote vpn.example\nca ca.crt\nauth-user-pass\nremote-cert-tls server\n{lines}")
}

fn try_server(text: &str) -> Result<(ServerConfig, Vec<String>), String> {
    let directives = Directives::parse("server.conf", text).map_err(|errors| errors.to_string())?;
    let (config, notes) =
        ServerConfig::resolve(&directives, &mut file).map_err(|errors| errors.to_string())?;
    Ok((config, notes.iter().map(ToString::to_string).collect()))
}

fn with_server(lines: &str) -> String {
    format!("server 10.8.0.0 255.255.255.0\nca ca.crt\ncert server.crt\nkey server.key\ndh none\n{lines}")
}

/// Something like a configuration: names from the table with parameters that may fit.
fn any_line() -> impl Strategy<Value = String> {
    let name = prop::sample::select(directive::TABLE).prop_map(|spec| spec.name);
    let word = prop::sample::select(vec![
        "1",
        "0",
        "-1",
        "10.8.0.0",
        "255.255.255.0",
        "fd00::/64",
        "udp",
        "tcp6",
        "subnet",
        "ca.crt",
        "client.key",
        "ta.key",
        "[inline]",
        "\"route 10.0.0.0\"",
        "DEFAULT",
        "AES-256-GCM:?X",
        "'",
        "server",
        "address",
        "1.2.3.4",
    ]);
    let args = prop::collection::vec(word, 0..4);
    (name, args, prop::bool::weighted(0.1)).prop_map(|(name, args, block)| {
        if block {
            format!("<{name}>\n{}\n</{name}>", args.join("\n"))
        } else {
            format!("{name} {}", args.join(" "))
        }
    })
}

proptest! {
    #[test]
    fn no_configuration_panics(lines in prop::collection::vec(any_line(), 0..12), noise in "\\PC{0,40}") {
        let text = lines.join("\n");
        fuzz_config::profile(with(&text).as_bytes());
        fuzz_config::server_config(with_server(&text).as_bytes());
        fuzz_config::profile(format!("{text}\n{noise}").as_bytes());
        let options = lines.iter().map(|line| line.replace(['\n', ','], " ")).collect::<Vec<_>>().join(",");
        fuzz_config::pushed(format!("PUSH_REPLY,{options}").as_bytes());
    }

    #[test]
    fn no_bytes_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        fuzz_config::profile(&bytes);
        fuzz_config::server_config(&bytes);
        fuzz_config::pushed(&[b"PUSH_REPLY,", bytes.as_slice()].concat());
    }
}
