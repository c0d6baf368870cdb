//! Puts the files that a profile names into the profile: what is stored for others to run names no files.

use tunless_core::config::lex;
use tunless_dbus::configuration::{ProfileOption, ReadProfile as _, render_text};
use zeroize::Zeroizing;

use super::profile::ProfileReader;

/// Options whose first parameter is a file that can be a block.
const FILES: [&str; 11] = [
    "auth-user-pass",
    "ca",
    "cert",
    "crl-verify",
    "dh",
    "extra-certs",
    "http-proxy-user-pass",
    "key",
    "tls-auth",
    "tls-crypt",
    "tls-crypt-v2",
];

/// Gives the profile with every file inside; `read` reads one by its name.
///
/// # Errors
/// What is wrong, a line each, with file and line.
pub fn inlined(
    file: &str,
    text: &str,
    read: &mut dyn FnMut(&str) -> Result<Vec<u8>, String>,
) -> Result<Zeroizing<String>, String> {
    let mut options = ProfileReader.read(text).map_err(|why| format!("{file}: {why}"))?;
    let (mut faults, mut added) = (Vec::new(), Vec::new());
    for option in &mut options {
        if option.inline.is_some() || !FILES.contains(&option.name.as_str()) {
            continue;
        }
        let Some(named) = option.args.first().cloned() else {
            continue;
        };
        if option.name == "crl-verify" && option.args.len() > 1 {
            continue;
        }
        let content = read(&named).and_then(|bytes| {
            String::from_utf8(bytes).map_err(|_other| "is not text; turn it into PEM".to_owned())
        });
        match content {
            Ok(content) => {
                if let (Some(direction), true) = (option.args.get(1), option.name == "tls-auth") {
                    added.push(ProfileOption {
                        name: "key-direction".into(),
                        args: vec![direction.clone()],
                        inline: None,
                    });
                }
                option.args.clear();
                option.inline = Some(Zeroizing::new(content));
            }
            Err(why) => {
                let line = line_of(text, &option.name);
                faults.push(format!(
                    "{file}:{line}: `{}` names the file {named:?}: {why}",
                    option.name
                ));
            }
        }
    }
    options.extend(added);
    if faults.is_empty() {
        Ok(render_text(&options))
    } else {
        Err(faults.join("\n"))
    }
}

/// The line with an option.
fn line_of(text: &str, name: &str) -> u32 {
    lex::statements(text, 1)
        .flatten()
        .find(|statement| statement.parameters.first().is_some_and(|first| first == name))
        .map_or(0, |statement| statement.line)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_become_blocks_and_their_directions_lines() {
        let text = "client\ndev tun\nremote host 1194\nca ca.pem\ntls-auth ta.key 1\npeer-fingerprint AA:BB\n\
                    <cert>\nC\n</cert>\nauth-user-pass\n";
        let mut read = |name: &str| Ok(format!("content of {name}\n").into_bytes());
        let inlined = inlined("x.ovpn", text, &mut read).unwrap();
        assert!(inlined.contains("<ca>\ncontent of ca.pem\n</ca>"), "{}", *inlined);
        assert!(
            inlined.contains("<tls-auth>\ncontent of ta.key\n</tls-auth>"),
            "{}",
            *inlined
        );
        assert!(
            inlined.contains("key-direction 1") && inlined.contains("<cert>\nC\n</cert>"),
            "{}",
            *inlined
        );
        assert!(
            inlined.contains("peer-fingerprint AA:BB") && inlined.contains("\nauth-user-pass\n"),
            "{}",
            *inlined
        );
    }

    #[test]
    fn a_missing_file_is_told_with_its_line() {
        let mut read = |_: &str| Err("there is none".to_owned());
        let error = inlined("x.ovpn", "client\nca ca.pem\nkey k.pem\n", &mut read).unwrap_err();
        assert_eq!(
            error,
            "x.ovpn:2: `ca` names the file \"ca.pem\": there is none\nx.ovpn:3: `key` names the file \"k.pem\": there is none"
        );
    }
}
