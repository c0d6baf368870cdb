//! Bodies of the fuzz targets for what proxies answer. None may panic on any input, and how the input is cut must
//! not change what comes of it.

use crate::{
    config::{HttpLogin, HttpProxy, ProxyCredentials, ProxyKind, UpstreamProxy},
    upstream::{Dialogue, MAX_ANSWER_BYTES, Progress, UpstreamError},
};

/// Answers of HTTP proxies, for every way to log in.
pub fn http(data: &[u8]) {
    for login in [
        HttpLogin::WhenAsked,
        HttpLogin::AtOnce,
        HttpLogin::NotInClear,
        HttpLogin::Never,
    ] {
        let options = HttpProxy {
            login,
            ..HttpProxy::default()
        };
        both_ways(ProxyKind::Http(options), data);
    }
}

/// Answers of SOCKS proxies, each when it is waited for.
pub fn socks(data: &[u8]) {
    both_ways(ProxyKind::Socks5, data);
}

fn both_ways(kind: ProxyKind, data: &[u8]) {
    let proxy = UpstreamProxy {
        host: "proxy.example".to_owned(),
        port: 3128,
        kind,
        credentials: None,
    };
    let credentials = ProxyCredentials {
        username: "ann".to_owned(),
        password: "secret".into(),
    };
    for credentials in [None, Some(&credentials)] {
        let byte_by_byte = run(&proxy, credentials, data, 1);
        // Longer pieces of a SOCKS proxy may answer what was not asked yet, which is an error of its own.
        if let (ProxyKind::Http(_), Some(byte_by_byte)) = (&proxy.kind, byte_by_byte) {
            let whole = run(&proxy, credentials, data, data.len().max(1));
            assert!(
                whole.as_ref() == Some(&byte_by_byte) || data.len() > MAX_ANSWER_BYTES,
                "{whole:?} is not {byte_by_byte:?}"
            );
        } else {
            let _any = run(&proxy, credentials, data, 3);
        }
    }
}

/// What comes of it, the whole rest included; nothing while more is waited for.
fn run(
    proxy: &UpstreamProxy,
    credentials: Option<&ProxyCredentials>,
    data: &[u8],
    piece: usize,
) -> Option<Result<Vec<u8>, UpstreamError>> {
    let mut dialogue = Dialogue::start(proxy, ("vpn.example", 1194), credentials).ok()?;
    let mut taken = 0;
    for bytes in data.chunks(piece) {
        let _sent = dialogue.poll_output();
        taken += bytes.len();
        match dialogue.handle_input(bytes) {
            Ok(Progress::More) => {}
            Ok(Progress::Open(rest)) => {
                let later = data.get(taken..).unwrap_or_default();
                return Some(Ok([rest.as_slice(), later].concat()));
            }
            Err(error) => return Some(Err(error)),
        }
    }
    None
}
