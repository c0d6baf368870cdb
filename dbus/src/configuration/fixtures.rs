//! What the tests of this folder share.

use zeroize::Zeroizing;

use super::option::ProfileOption;

pub(super) fn option(name: &str, args: &[&str]) -> ProfileOption {
    ProfileOption {
        name: name.to_owned(),
        args: args.iter().map(|arg| (*arg).to_owned()).collect(),
        inline: None,
    }
}

pub(super) fn block(name: &str, content: &str) -> ProfileOption {
    ProfileOption {
        name: name.to_owned(),
        args: Vec::new(),
        inline: Some(Zeroizing::new(content.to_owned())),
    }
}
