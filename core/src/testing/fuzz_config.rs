//! Bodies of the fuzz targets for profiles, server configurations and pushes.
//!
//! Each takes any bytes and must return; what it checks on the way holds for every input.

use crate::config::{
    Assembled, ClientConfig, ConfigErrors, Directives, PushAssembler, Pushed, ServerConfig, lex,
};

/// Longest text that an error, with its file's name, may have.
const MAX_MESSAGE_BYTES: usize = 4096;

/// A profile: parses it, resolves it with files that hold the text itself, and shows what comes of it.
pub fn profile(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let Ok(directives) = Directives::parse("fuzz.ovpn", &text).inspect_err(check_errors) else {
        return;
    };
    let resolved = ClientConfig::resolve(&directives, &mut |_| Ok(data.to_vec()));
    let Ok((config, notes)) = resolved.inspect_err(check_errors) else {
        return;
    };
    assert!(!config.remotes.is_empty(), "a client without a server");
    assert!(!config.ciphers.is_empty(), "a client without ciphers");
    assert!(
        notes
            .iter()
            .all(|note| note.to_string().len() < MAX_MESSAGE_BYTES),
        "a note without end"
    );
    let _shown = format!("{config:?}");
}

/// A server's configuration: the same.
pub fn server_config(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let Ok(directives) = Directives::parse("fuzz.conf", &text).inspect_err(check_errors) else {
        return;
    };
    let resolved = ServerConfig::resolve(&directives, &mut |_| Ok(data.to_vec()));
    let Ok((config, _)) = resolved.inspect_err(check_errors) else {
        return;
    };
    assert!(
        config.net.contains(&config.pool_first) && config.net.contains(&config.pool_last),
        "a pool outside"
    );
    assert!(config.pool_first <= config.pool_last, "an empty pool");
    assert!(
        config.push.iter().all(|option| lex::parameters(option).is_ok()),
        "an option that clients cannot read"
    );
}

/// Messages of a push, one a line: joins them and puts each push over a small profile.
pub fn pushed(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let Some(config) = small_profile() else { return };
    let mut assembler = PushAssembler::default();
    for line in text.lines() {
        if let (Ok(Assembled::Complete(options)), Some(remote)) =
            (assembler.add(line), config.remotes.first())
            && let Ok(pushed) = Pushed::merge(&config, remote, &options)
        {
            assert!(
                (100..=remote.tun_mtu_max).contains(&pushed.tun_mtu),
                "an MTU out of range"
            );
            assert!(
                pushed
                    .dns
                    .servers
                    .iter()
                    .all(|server| !server.addresses.is_empty()),
                "a resolver nowhere"
            );
            assert!(
                pushed.timers.ping_exit.is_none() || pushed.timers.ping_restart.is_none(),
                "two timers"
            );
        }
    }
}

fn small_profile() -> Option<ClientConfig> {
    let text = "client\nremote vpn.example\nauth-user-pass\n<ca>\n-----BEGIN CERTIFICATE-----\n</ca>\n\
                pull-filter ignore \"route 192.\"\npull-filter reject echo\n";
    let directives = Directives::parse("small.ovpn", text).ok()?;
    ClientConfig::resolve(&directives, &mut |_| Err("no files".to_owned()))
        .ok()
        .map(|(config, _)| config)
}

fn check_errors(errors: &ConfigErrors) {
    assert!(errors.iter().next().is_some(), "refused without a reason");
    assert!(
        errors
            .iter()
            .all(|error| error.to_string().len() < MAX_MESSAGE_BYTES),
        "an error without end"
    );
}
