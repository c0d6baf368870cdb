//! A profile's options, and what they say about the profile as a whole.

use std::fmt;

use zeroize::{Zeroize as _, Zeroizing};

/// Options of one profile; ours, so that a short text cannot take much memory.
pub(super) const MAX_OPTIONS: usize = 16_384;
/// What an allocation costs beside what it holds, about.
const ALLOCATION_BYTES: usize = 24;

/// One option of a profile as written.
#[derive(Clone, PartialEq, Eq)]
pub struct ProfileOption {
    /// Its name.
    pub name: String,
    /// Its parameters, without the name.
    pub args: Vec<String>,
    /// The content of its block.
    pub inline: Option<Zeroizing<String>>,
}

impl fmt::Debug for ProfileOption {
    /// Parameters and blocks may be secrets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (parameters: {})", self.name, self.args.len())
    }
}

/// Reads the text of a profile; implemented by the program over its own lexer.
pub trait ReadProfile: Send + Sync {
    /// Splits `text` into options; what they mean is not looked at.
    ///
    /// # Errors
    /// What is wrong with its form, and in which line, for people.
    fn read(&self, text: &str) -> Result<Vec<ProfileOption>, String>;
}

/// The options of a profile; wiped when dropped.
pub(super) struct OptionList(Vec<ProfileOption>);

impl OptionList {
    /// Takes options that can be stored and written down again.
    pub(super) fn new(options: Vec<ProfileOption>) -> Result<Self, String> {
        let list = Self(options);
        if list.0.len() > MAX_OPTIONS {
            return Err(format!("it has more than {MAX_OPTIONS} options"));
        }
        list.0.iter().try_for_each(check)?;
        Ok(list)
    }

    pub(super) fn as_slice(&self) -> &[ProfileOption] {
        &self.0
    }

    /// About as many bytes of memory as it takes, which is far more than its text where options are short.
    pub(super) fn memory_bytes(&self) -> usize {
        let text = |text: &str| text.len() + ALLOCATION_BYTES;
        let bytes = self.0.iter().map(|option| {
            let args = option.args.iter().map(|arg| size_of::<String>() + text(arg));
            let inline = option.inline.as_ref().map_or(0, |content| text(content));
            size_of::<ProfileOption>() + text(&option.name) + args.sum::<usize>() + ALLOCATION_BYTES + inline
        });
        bytes.sum()
    }

    /// What keeps the profile from being used, in the words of `Validate`.
    pub(super) fn fault(&self) -> Option<String> {
        let has = |names: &[&str]| self.0.iter().any(|option| names.contains(&effective(option).0));
        if self.is_server_locked() {
            return Some("Server locked profiles are unsupported".to_owned());
        }
        let wanted: [(&[&str], &str); 4] = [
            (&["ca"], "--ca"),
            (&["client", "tls-client"], "--client or --tls-client"),
            (&["dev"], "--dev"),
            (&["remote", "connection"], "--remote"),
        ];
        let missing: Vec<_> = wanted
            .iter()
            .filter(|(names, _)| !has(names))
            .map(|(_, shown)| *shown)
            .collect();
        if missing.is_empty() {
            return None;
        }
        let list = missing.join(", ");
        Some(format!(
            "Configuration profile is missing required options: {list}"
        ))
    }

    /// A profile of Access Server's that only its own client can complete.
    fn is_server_locked(&self) -> bool {
        self.0.iter().any(|option| {
            let (name, args) = effective(option);
            name == "GENERIC_CONFIG"
                || (name == "setenv" && args.first().is_some_and(|arg| arg == "GENERIC_CONFIG"))
        })
    }
}

impl fmt::Debug for OptionList {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} options", self.0.len())
    }
}

impl Drop for OptionList {
    fn drop(&mut self) {
        for option in &mut self.0 {
            option.args.zeroize();
        }
    }
}

/// Name and parameters, without the `setenv opt` before options that old versions may not know.
pub(super) fn effective(option: &ProfileOption) -> (&str, &[String]) {
    match option.args.as_slice() {
        [first, name, rest @ ..] if option.name == "setenv" && first == "opt" => (name, rest),
        args => (&option.name, args),
    }
}

/// An option whose text could be read as another one must not be stored: it would change its meaning when it is
/// fetched.
fn check(option: &ProfileOption) -> Result<(), String> {
    let name = &option.name;
    let fits = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    if name.is_empty() || name.starts_with('-') || !name.chars().all(fits) {
        let shown: String = name.chars().filter(|c| !c.is_control()).take(32).collect();
        return Err(format!("`{shown}` is no name of an option"));
    }
    if option.args.iter().any(|arg| arg.contains(char::is_control)) {
        return Err(format!("`{name}` has a parameter with control characters"));
    }
    let end = format!("</{name}>");
    let ends_early = |text: &str| text.lines().any(|line| line.trim_start().starts_with(&end));
    if option.inline.as_ref().is_some_and(|text| ends_early(text)) {
        return Err(format!("`{name}` has a block that holds its own end"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::configuration::fixtures::{block, option};

    fn fault(options: Vec<ProfileOption>) -> Option<String> {
        OptionList::new(options).unwrap().fault()
    }

    #[test]
    fn what_is_missing_is_listed_in_the_order_that_front_ends_show() {
        let all = || {
            vec![
                block("ca", "x\n"),
                option("client", &[]),
                option("dev", &["tun"]),
                option("remote", &["h"]),
            ]
        };
        assert_eq!(fault(all()), None);
        let prefix = "Configuration profile is missing required options:";
        assert_eq!(
            fault(vec![]).unwrap(),
            format!("{prefix} --ca, --client or --tls-client, --dev, --remote")
        );
        for (index, shown) in ["--ca", "--client or --tls-client", "--dev", "--remote"]
            .iter()
            .enumerate()
        {
            let mut options = all();
            options.remove(index);
            assert_eq!(fault(options).unwrap(), format!("{prefix} {shown}"));
        }
        let mut others = all();
        others[1] = option("tls-client", &[]);
        others[3] = block("connection", "remote h\n");
        assert_eq!(fault(others), None);
    }

    #[test]
    fn a_server_locked_profile_is_known_in_each_spelling() {
        for locked in [
            option("setenv", &["GENERIC_CONFIG", "1"]),
            option("setenv", &["opt", "GENERIC_CONFIG", "1"]),
            option("GENERIC_CONFIG", &["1"]),
        ] {
            assert_eq!(
                fault(vec![locked]).unwrap(),
                "Server locked profiles are unsupported"
            );
        }
    }

    #[test]
    fn what_would_read_back_as_something_else_is_not_taken() {
        for (bad, says) in [
            (option("", &[]), "no name"),
            (option("-x", &[]), "no name"),
            (option("a b", &[]), "no name"),
            (option("remote", &["a\nup /bin/sh"]), "control"),
            (block("ca", "x\n </ca>\nup x\n<ca>\n"), "its own end"),
        ] {
            let refused = OptionList::new(vec![bad]).unwrap_err();
            assert!(refused.contains(says), "{refused}");
        }
        let many = vec![option("x", &[]); MAX_OPTIONS + 1];
        assert!(OptionList::new(many).is_err());
    }

    #[test]
    fn options_do_not_print_what_they_hold() {
        let shown = format!("{:?} {:?}", option("a", &["hunter2"]), block("key", "hunter2"));
        assert!(!shown.contains("hunter2"), "{shown}");
    }
}
