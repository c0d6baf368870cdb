//! `tunless check`: what is wrong with profiles, and what would happen.

use std::path::Path;

use serde_json::json;
use tunless_core::{
    client::Setup,
    config::{ClientConfig, ConfigError, Note, ServerConfig, Transport},
    server::Endpoint,
};

use super::{
    args::Check,
    output::Output,
    profile::{self, Profile, ProfileError},
};
use crate::{
    cli::exit::Status,
    driver::{SystemRng, chain, clock},
};

/// Checks each file; `Failed` when one cannot be used.
pub(super) fn run(args: &Check, output: Output) -> Status {
    let usable = args
        .profiles
        .iter()
        .map(|path| check(path, output))
        .filter(|usable| *usable)
        .count();
    if usable == args.profiles.len() {
        Status::Done
    } else {
        Status::Failed
    }
}

fn check(path: &Path, output: Output) -> bool {
    let name = path.display().to_string();
    let summary = match profile::read(path) {
        Ok((profile, notes)) => {
            for note in &notes {
                say_note(output, note);
            }
            summary(profile).map_err(|why| (0, name.clone(), why))
        }
        Err(ProfileError::Errors(errors)) => {
            for error in &errors {
                say_error(output, error);
            }
            say_verdict(output, &name, None);
            return false;
        }
        Err(ProfileError::Unreadable { line, place, why }) => Err((line, place, why)),
    };
    match summary {
        Ok(summary) => {
            say_verdict(output, &name, Some(&summary));
            true
        }
        Err((line, place, why)) => {
            let text = format!("{place}: error: {why}");
            output.say(
                "problem",
                &text,
                json!({ "file": name, "line": line, "level": "error", "message": why }),
            );
            say_verdict(output, &name, None);
            false
        }
    }
}

/// Builds what would be built for a connection, so that a key that cannot be used is found here.
fn summary(profile: Profile) -> Result<String, String> {
    match profile {
        Profile::Client(config) => {
            let text = client_summary(&config);
            Setup::new(*config).map(|_| text).map_err(|error| chain(&error))
        }
        Profile::Server(config) => {
            let text = server_summary(&config);
            let rng = Box::new(SystemRng::default());
            let built = Endpoint::new(clock::now(), clock::wall(), rng, (*config).into());
            built.map(|_| text).map_err(|error| chain(&error))
        }
    }
}

fn client_summary(config: &ClientConfig) -> String {
    let remotes: Vec<String> = config
        .remotes
        .iter()
        .map(|remote| {
            let through = remote.proxy.as_ref().map(|proxy| format!(" through the {proxy}"));
            format!(
                "{}:{} ({}){}",
                remote.host,
                remote.port,
                carrier(remote.proto.transport),
                through.unwrap_or_default()
            )
        })
        .collect();
    let credentials = if config.credentials.is_some() {
        ", with user name and password"
    } else {
        ""
    };
    format!(
        "usable: would connect to {}{credentials}",
        remotes.join(", then ")
    )
}

fn server_summary(config: &ServerConfig) -> String {
    let address = config
        .local
        .map_or_else(|| "*".to_owned(), |local| local.to_string());
    let v6 = config
        .ipv6
        .map(|v6| format!(" and {}", v6.net))
        .unwrap_or_default();
    format!(
        "usable: would serve {}{v6} on {address}:{} ({})",
        config.net,
        config.port,
        carrier(config.proto.transport)
    )
}

pub(super) fn carrier(transport: Transport) -> &'static str {
    match transport {
        Transport::Udp => "udp",
        Transport::Tcp => "tcp",
    }
}

pub(super) fn say_note(output: Output, note: &Note) {
    let fields = json!({
        "file": note.file, "line": note.line, "level": "note", "option": note.directive, "message": note.text,
    });
    output.say("problem", &note.to_string(), fields);
}

fn say_error(output: Output, error: &ConfigError) {
    let place = if error.line == 0 {
        error.file.clone()
    } else {
        format!("{}:{}", error.file, error.line)
    };
    let message = format!("`{}` {}", error.directive, error.problem);
    let fields = json!({
        "file": error.file, "line": error.line, "level": "error", "option": error.directive,
        "message": error.problem.to_string(),
    });
    output.say("problem", &format!("{place}: error: {message}"), fields);
}

fn say_verdict(output: Output, name: &str, summary: Option<&str>) {
    let text = format!("{name}: {}", summary.unwrap_or("not usable"));
    output.say(
        "checked",
        &text,
        json!({ "file": name, "usable": summary.is_some(), "summary": summary }),
    );
}

#[cfg(test)]
mod tests {
    use std::{fs, path::PathBuf};

    use super::*;

    fn status_of(text: &str) -> Status {
        let folder = tempfile::tempdir().unwrap();
        let path: PathBuf = folder.path().join("a.ovpn");
        fs::write(&path, text).unwrap();
        run(&Check { profiles: vec![path] }, Output::new(false, true))
    }

    #[test]
    fn a_profile_without_certificates_is_not_usable() {
        assert_eq!(status_of("client\nremote vpn.example 1194\n"), Status::Failed);
        assert_eq!(status_of("client\nno-such-option 1\n"), Status::Failed);
    }

    #[test]
    fn the_place_of_what_is_no_text_is_told_once() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.ovpn");
        fs::write(&path, b"client\n\xff\n").unwrap();
        let Err(ProfileError::Unreadable { line, place, why }) = profile::read(&path) else {
            panic!("it was read")
        };
        assert_eq!((line, place), (2, format!("{}:2", path.display())));
        assert!(!why.contains("a.ovpn"), "{why}");
    }

    #[test]
    fn a_file_that_is_no_text_is_not_usable() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.ovpn");
        fs::write(&path, [0xff, 0xfe, 0]).unwrap();
        let missing = folder.path().join("b.ovpn");
        for profiles in [vec![path], vec![missing]] {
            assert_eq!(run(&Check { profiles }, Output::new(false, true)), Status::Failed);
        }
    }
}
