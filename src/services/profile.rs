//! Splits profiles into options for the configuration service, over the lexer that runs them.
//!
//! Names that nobody knows are let through: a profile may be stored for others. What it means is said when it is run.

use tunless_core::config::lex;
use tunless_dbus::configuration::{ProfileOption, ReadProfile, is_remark};
use zeroize::Zeroizing;

/// Faults that are told; whoever repairs them sees the others then.
const MAX_FAULTS: usize = 5;
/// How Access Server's remarks begin, in comments.
const REMARK: &str = "OVPN_ACCESS_SERVER_";

/// Splits profiles as the program itself reads them.
#[derive(Debug, Clone, Copy, Default)]
pub struct ProfileReader;

impl ReadProfile for ProfileReader {
    fn read(&self, text: &str) -> Result<Vec<ProfileOption>, String> {
        let mut faults = Faults::default();
        let mut options: Vec<_> = text.lines().filter_map(remark).collect();
        for item in lex::statements(text, 1) {
            let statement = match item {
                Ok(statement) => statement,
                Err(bad) => {
                    faults.add(&bad);
                    continue;
                }
            };
            let mut parameters = statement.parameters.into_iter();
            let name = parameters.next().unwrap_or_default();
            if let Some(block) = statement.block.as_ref().filter(|_| name == "connection") {
                let inside = lex::statements(block.text.expose(), block.line);
                inside.filter_map(Result::err).for_each(|bad| faults.add(&bad));
            }
            let option = ProfileOption {
                name,
                args: parameters.collect(),
                inline: statement
                    .block
                    .map(|block| Zeroizing::new(block.text.expose().to_owned())),
            };
            if !is_placeholder(&option) {
                options.push(option);
            }
        }
        faults.or(options)
    }
}

#[derive(Debug, Default)]
struct Faults {
    told: Vec<String>,
    more: usize,
}

impl Faults {
    fn add(&mut self, bad: &lex::BadLine) {
        if self.told.len() < MAX_FAULTS {
            self.told
                .push(format!("profile:{}: `{}` {}", bad.line, bad.word, bad.error));
        } else {
            self.more += 1;
        }
    }

    fn or<T>(self, value: T) -> Result<T, String> {
        if self.told.is_empty() {
            return Ok(value);
        }
        let told = self.told.join("; ");
        Err(match self.more {
            0 => told,
            more => format!("{told}; and {more} more"),
        })
    }
}

/// A line that only says that a block follows, as in `ca [inline]`.
fn is_placeholder(option: &ProfileOption) -> bool {
    option.inline.is_none() && matches!(option.args.as_slice(), [only] if only == "[inline]")
}

/// A remark of Access Server's: `# OVPN_ACCESS_SERVER_NAME=VALUE`.
fn remark(line: &str) -> Option<ProfileOption> {
    let rest = line.strip_prefix('#')?.trim_start().strip_prefix(REMARK)?;
    let (name, value) = rest.split_once('=').unwrap_or((rest, ""));
    let (name, value) = (name.trim_end(), value.trim());
    let args = Some(value.to_owned()).filter(|value| !value.is_empty());
    is_remark(name).then(|| ProfileOption {
        name: name.to_owned(),
        args: args.into_iter().collect(),
        inline: None,
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use tunless_dbus::configuration::render_text;

    use super::*;

    fn names(text: &str) -> Vec<String> {
        let options = ProfileReader.read(text).unwrap();
        options.into_iter().map(|option| option.name).collect()
    }

    #[test]
    fn options_blocks_and_what_nobody_knows_are_read() {
        let text = "client\n--dev tun\nfrobnicate 'a b'\nca [inline]\n<ca>\nPEM\n</ca>\n# comment\n";
        assert_eq!(names(text), ["client", "dev", "frobnicate", "ca"]);
        let options = ProfileReader.read(text).unwrap();
        assert_eq!(options[2].args, ["a b"]);
        assert_eq!(
            options[3].inline.as_ref().map(|text| text.as_str()),
            Some("PEM\n")
        );
    }

    #[test]
    fn faults_of_form_are_told_with_their_lines() {
        let text = "client\nremote \"a\n<connection>\nremote 'b\n</connection>\n<ca>\n";
        let error = ProfileReader.read(text).unwrap_err();
        for says in [
            "profile:2: `remote` has a",
            "profile:4: `remote` has a",
            "profile:6: `ca` opens a block",
        ] {
            assert!(error.contains(says), "{error}");
        }
        let error = ProfileReader.read(&"x '\n".repeat(9)).unwrap_err();
        assert!(error.ends_with("and 4 more"), "{error}");
    }

    #[test]
    fn remarks_of_access_server_are_kept_as_options() {
        let text = "# OVPN_ACCESS_SERVER_FRIENDLY_NAME=My VPN\n# OVPN_ACCESS_SERVER_AUTOLOGIN=1\n\
                    # OVPN_ACCESS_SERVER_UNHEARD_OF=1\n# OVPN_ACCESS_SERVER_WEB_CA_BUNDLE_START\nclient\n";
        assert_eq!(
            names(text),
            ["FRIENDLY_NAME", "AUTOLOGIN", "WEB_CA_BUNDLE_START", "client"]
        );
        assert_eq!(
            render_text(&ProfileReader.read(text).unwrap()).as_str(),
            "setenv opt FRIENDLY_NAME 'My VPN'\nsetenv opt AUTOLOGIN 1\nclient\n"
        );
    }

    fn parameter() -> impl Strategy<Value = String> {
        prop_oneof!["[a-z0-9.]{1,8}", "[^\\p{Cc}]{0,12}", "[ '\"\\\\#;x]{0,6}"]
    }

    proptest! {
        #[test]
        fn what_is_rendered_reads_back(
            lines in prop::collection::vec(("[a-z]{2,10}", prop::collection::vec(parameter(), 0..5)), 0..8),
            blocks in prop::collection::vec(("[a-z]{2,6}", "([ -~]{0,10}\n){0,4}"), 0..3),
        ) {
            let line = |(name, args): (String, Vec<String>)| ProfileOption { name, args, inline: None };
            let block = |(name, text): (String, String)| ProfileOption {
                name,
                args: Vec::new(),
                inline: Some(Zeroizing::new(text)),
            };
            let blocks = blocks.into_iter().filter(|(name, _)| name != "connection");
            let options: Vec<_> = lines.into_iter().map(line).chain(blocks.map(block)).collect();
            prop_assert_eq!(ProfileReader.read(&render_text(&options)).unwrap(), options);
        }

        #[test]
        fn a_profile_that_was_read_can_be_fetched_and_read_again(text in "([a-z'\"\\\\ #;<>/]{0,30}\n){0,8}") {
            // The service takes no other names.
            let fits = |option: &ProfileOption| {
                !option.name.is_empty() && option.name.chars().all(|c| c.is_ascii_lowercase())
            };
            if let Some(options) = ProfileReader.read(&text).ok().filter(|options| options.iter().all(fits)) {
                prop_assert_eq!(ProfileReader.read(&render_text(&options)).ok(), Some(options));
            }
        }
    }
}
