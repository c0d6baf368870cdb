//! A profile's options as text and as JSON, and back from JSON.
//!
//! The text is what a client process runs; it reads back as the same options. The JSON is what front ends and files
//! have: options by their names. With the order of names beside it nothing is lost.

use std::collections::HashMap;

use serde_json::{Map, Value as Json};
use zeroize::{Zeroize as _, Zeroizing};

use super::option::{ProfileOption, effective};

/// Options that are blocks when they hold content, and arrays with that content in JSON.
const INLINE: [&str; 12] = [
    "auth-user-pass",
    "ca",
    "cert",
    "connection",
    "dh",
    "extra-certs",
    "http-proxy-user-pass",
    "key",
    "pkcs12",
    "tls-auth",
    "tls-crypt",
    "tls-crypt-v2",
];

/// Options that are arrays of arrays in JSON, even where there is one alone.
const LISTS: [&str; 6] = [
    "connection",
    "peer-fingerprint",
    "pull-filter",
    "remote",
    "route",
    "route-ipv6",
];

/// Access Server's remarks about a profile that come back as `setenv opt …`.
const REMARKS: [&str; 4] = ["AUTOLOGIN", "FRIENDLY_NAME", "PROFILE", "USERNAME"];

/// Beginnings of remarks that are for its own client alone and do not come back.
const DROPPED: [&str; 17] = [
    "ALLOW_UNSIGNED",
    "APP_VERIFY",
    "AUTOLOGIN_SPEC",
    "CLI_PREF_",
    "DYNAMIC",
    "EXTERNAL_PKI",
    "GENERIC",
    "HOST_FIELD",
    "HOST_LIST",
    "SITE_LIST",
    "ICON_",
    "IS_",
    "NO_WEB",
    "ORGANIZATION",
    "PORTAL_URL",
    "WEB_CA",
    "WSHOST",
];

/// Tells whether `name` is a remark of Access Server's that is kept with a profile; those stand in comments.
pub fn is_remark(name: &str) -> bool {
    REMARKS.contains(&name) || is_dropped(name)
}

fn is_dropped(name: &str) -> bool {
    DROPPED.iter().any(|start| name.starts_with(start))
}

/// Writes options as text, one a line.
pub fn text(options: &[ProfileOption]) -> Zeroizing<String> {
    let bytes = options.iter().map(size).sum();
    // As large as it gets, since what a string leaves behind when it grows is not wiped.
    let mut text = Zeroizing::new(String::with_capacity(bytes));
    for option in options.iter().filter(|option| !is_dropped(effective(option).0)) {
        if let Some(content) = &option.inline {
            text.extend(["<", &option.name, ">\n", content]);
            if !content.is_empty() && !content.ends_with('\n') {
                text.push('\n');
            }
            text.extend(["</", &option.name, ">\n"]);
            continue;
        }
        if REMARKS.contains(&option.name.as_str()) {
            text.push_str("setenv opt ");
        }
        text.push_str(&option.name);
        for arg in &option.args {
            text.push(' ');
            quote(arg, &mut text);
        }
        text.push('\n');
    }
    text
}

/// Most bytes that [`text`] makes of an option.
fn size(option: &ProfileOption) -> usize {
    let args: usize = option.args.iter().map(|arg| 2 * arg.len() + 3).sum();
    let inline = option.inline.as_ref().map_or(0, |text| text.len());
    args + inline + 2 * option.name.len() + 16
}

/// Writes a parameter so that a lexer reads it back, as shortly as possible: lines have a limit.
fn quote(arg: &str, text: &mut String) {
    let special = |c: char| c.is_whitespace() || c == '\\';
    if !arg.is_empty() && !arg.contains(special) && !arg.starts_with(['"', '\'', '#', ';']) {
        text.push_str(arg);
    } else if !arg.contains('\'') {
        text.extend(["'", arg, "'"]);
    } else {
        text.push('"');
        for letter in arg.chars() {
            if matches!(letter, '"' | '\\') {
                text.push('\\');
            }
            text.push(letter);
        }
        text.push('"');
    }
}

/// Writes options as an object: each name with its parameters, or with a list of them.
pub(super) fn json(options: &[ProfileOption]) -> Map<String, Json> {
    let mut found: HashMap<&str, usize> = HashMap::new();
    for option in options {
        *found.entry(&option.name).or_default() += 1;
    }
    let mut all = Map::new();
    for option in options {
        let value = parameters(option);
        let several = found.get(option.name.as_str()).is_some_and(|count| *count > 1);
        if !several && !LISTS.contains(&option.name.as_str()) {
            all.insert(option.name.clone(), value);
            continue;
        }
        let list = all
            .entry(option.name.clone())
            .or_insert_with(|| Json::Array(Vec::new()));
        if let Json::Array(list) = list {
            list.push(value);
        }
    }
    all
}

fn parameters(option: &ProfileOption) -> Json {
    match &option.inline {
        Some(content) => Json::Array(vec![Json::String(String::clone(content))]),
        None if option.args.is_empty() => Json::Null,
        None => Json::Array(option.args.iter().cloned().map(Json::String).collect()),
    }
}

/// The names in order, those of blocks in angle brackets: what [`json`] does not say.
pub(super) fn order(options: &[ProfileOption]) -> Vec<String> {
    let name = |option: &ProfileOption| match option.inline {
        Some(_) => format!("<{}>", option.name),
        None => option.name.clone(),
    };
    options.iter().map(name).collect()
}

/// Reads what [`json`] wrote. Without an order (files of other programs) options come in the object's own, blocks for
/// remotes last, and content that has lines is a block.
pub(super) fn from_json(
    all: &Map<String, Json>,
    order: Option<&[String]>,
) -> Result<Vec<ProfileOption>, String> {
    let mut waiting: HashMap<&str, std::vec::IntoIter<ProfileOption>> = HashMap::new();
    for (name, value) in all {
        waiting.insert(name, entries(name, value)?.into_iter());
    }
    let Some(order) = order else {
        let (blocks, mut others): (Vec<_>, Vec<_>) = all
            .keys()
            .filter_map(|name| waiting.remove(name.as_str()))
            .flatten()
            .map(guess_block)
            .partition(|option| option.name == "connection");
        others.extend(blocks);
        return Ok(others);
    };
    let mut options = Vec::with_capacity(order.len());
    for entry in order {
        let bare = entry.strip_prefix('<').and_then(|rest| rest.strip_suffix('>'));
        let next = waiting.get_mut(bare.unwrap_or(entry)).and_then(Iterator::next);
        let mut option = next.ok_or_else(|| "its order names options that it does not have".to_owned())?;
        if bare.is_some() {
            option = as_block(option)?;
        }
        options.push(option);
    }
    if waiting.values_mut().any(|rest| rest.next().is_some()) {
        return Err("its order leaves options out".to_owned());
    }
    Ok(options)
}

/// The options that one name stands for.
fn entries(name: &str, value: &Json) -> Result<Vec<ProfileOption>, String> {
    let bad = || format!("`{name}` is not a list of texts");
    let option = |args: Vec<String>| ProfileOption {
        name: name.to_owned(),
        args,
        inline: None,
    };
    let texts = |value: &Json| match value {
        Json::Null => Some(Vec::new()),
        Json::Array(list) => list.iter().map(|text| text.as_str().map(str::to_owned)).collect(),
        Json::Bool(_) | Json::Number(_) | Json::String(_) | Json::Object(_) => None,
    };
    // A list of lists is several options, also where one of them has no parameters.
    let several = value
        .as_array()
        .filter(|list| LISTS.contains(&name) || list.iter().any(|entry| !entry.is_string()));
    match several {
        Some(list) => list
            .iter()
            .map(|entry| texts(entry).map(option).ok_or_else(bad))
            .collect(),
        None => Ok(vec![option(texts(value).ok_or_else(bad)?)]),
    }
}

fn guess_block(mut option: ProfileOption) -> ProfileOption {
    let has_lines = matches!(option.args.as_slice(), [content] if content.contains('\n'));
    if has_lines && INLINE.contains(&option.name.as_str()) {
        option.inline = option.args.pop().map(Zeroizing::new);
    }
    option
}

fn as_block(mut option: ProfileOption) -> Result<ProfileOption, String> {
    let (1, Some(content)) = (option.args.len(), option.args.pop()) else {
        return Err(format!("`{}` is a block without content", option.name));
    };
    option.inline = Some(Zeroizing::new(content));
    Ok(option)
}

/// Wipes the texts in a value.
pub(super) fn wipe(value: &mut Json) {
    match value {
        Json::String(text) => text.zeroize(),
        Json::Array(list) => list.iter_mut().for_each(wipe),
        Json::Object(all) => wipe_all(all),
        Json::Null | Json::Bool(_) | Json::Number(_) => {}
    }
}

/// Wipes the texts in an object.
pub(super) fn wipe_all(all: &mut Map<String, Json>) {
    all.values_mut().for_each(wipe);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;
    use crate::configuration::fixtures::{block, option};

    fn rendered(options: &[ProfileOption]) -> String {
        text(options).to_string()
    }

    #[test]
    fn text_quotes_where_it_must() {
        let options = [
            option("client", &[]),
            option("remote", &["vpn.example", "1194"]),
            option("pull-filter", &["ignore", "dhcp option"]),
            option("x", &["", r"a\b", "#c", "it's", r#"it's "it" \"#]),
            block("ca", "PEM\n"),
            block("key", "no end of line"),
            block("auth-user-pass", ""),
        ];
        let expected = concat!(
            "client\n",
            "remote vpn.example 1194\n",
            "pull-filter ignore 'dhcp option'\n",
            r#"x '' 'a\b' '#c' it's "it's \"it\" \\""#,
            "\n",
            "<ca>\nPEM\n</ca>\n",
            "<key>\nno end of line\n</key>\n",
            "<auth-user-pass>\n</auth-user-pass>\n",
        );
        assert_eq!(rendered(&options), expected);
    }

    #[test]
    fn remarks_of_access_server_come_back_or_do_not() {
        let options = [
            option("AUTOLOGIN", &["1"]),
            option("FRIENDLY_NAME", &["My VPN"]),
            option("WSHOST", &["x:443"]),
            option("IS_OPENVPN_WEB_CA", &["1"]),
            option("AUTOLOGIN_SPEC", &["1"]),
            option("setenv", &["opt", "GENERIC_CONFIG", "1"]),
            option("setenv", &["opt", "USERNAME", "me"]),
            option("setenv", &["opt", "block-outside-dns"]),
        ];
        assert_eq!(
            rendered(&options),
            "setenv opt AUTOLOGIN 1\nsetenv opt FRIENDLY_NAME 'My VPN'\nsetenv opt USERNAME me\nsetenv opt block-outside-dns\n"
        );
    }

    #[test]
    fn text_is_written_without_growing() {
        let options = [
            option("x", &["'\"\\"; 15]),
            block("ca", "x"),
            option("USERNAME", &["a'b c"]),
        ];
        let bytes: usize = options.iter().map(size).sum();
        assert!(rendered(&options).len() <= bytes);
    }

    #[test]
    fn json_has_the_shape_that_front_ends_read() {
        let options = [
            option("client", &[]),
            option("port", &["1194"]),
            option("remote", &["a", "1194", "udp"]),
            option("setenv", &["UV_A", "1"]),
            option("setenv", &["UV_B", "2"]),
            block("ca", "PEM\n"),
            block("connection", "remote b\n"),
        ];
        let expected = json!({
            "client": null,
            "port": ["1194"],
            "remote": [["a", "1194", "udp"]],
            "setenv": [["UV_A", "1"], ["UV_B", "2"]],
            "ca": ["PEM\n"],
            "connection": [["remote b\n"]],
        });
        assert_eq!(Json::Object(json(&options)), expected);
    }

    #[test]
    fn a_file_without_order_keeps_its_blocks_and_puts_remotes_blocks_last() {
        let file = json!({
            "auth-user-pass": null,
            "ca": ["PEM\nPEM\n"],
            "connection": [["remote b\nproto tcp\n"], ["remote c\n"]],
            "dev": ["tun"],
            "remote": [["a", "1194"]],
        });
        let options = from_json(file.as_object().unwrap(), None).unwrap();
        assert_eq!(
            rendered(&options),
            "auth-user-pass\n<ca>\nPEM\nPEM\n</ca>\ndev tun\nremote a 1194\n\
             <connection>\nremote b\nproto tcp\n</connection>\n<connection>\nremote c\n</connection>\n"
        );
    }

    #[test]
    fn broken_objects_are_told() {
        for (file, order) in [
            (json!({"dev": "tun"}), None),
            (json!({"dev": [1]}), None),
            (json!({"remote": ["a"]}), None),
            (json!({"dev": ["tun"]}), Some(vec![])),
            (json!({"dev": ["tun"]}), Some(vec!["dev", "dev"])),
            (json!({"dev": ["tun"]}), Some(vec!["proto"])),
            (json!({"ca": null}), Some(vec!["<ca>"])),
        ] {
            let order: Option<Vec<String>> = order.map(|list| list.into_iter().map(str::to_owned).collect());
            let read = from_json(file.as_object().unwrap(), order.as_deref());
            assert!(read.is_err(), "{file} {order:?}");
        }
    }

    fn any_option() -> impl Strategy<Value = ProfileOption> {
        let name = prop_oneof![
            "[a-c]",
            Just("remote".to_owned()),
            Just("connection".to_owned()),
            Just("ca".to_owned())
        ];
        let args = prop::collection::vec("\\PC{0,8}", 0..4);
        let content = prop::option::of("[a-z\n ]{0,12}");
        (name, args, content).prop_map(|(name, args, content)| ProfileOption {
            args: if content.is_some() { Vec::new() } else { args },
            inline: content.map(Zeroizing::new),
            name,
        })
    }

    proptest! {
        #[test]
        fn json_with_its_order_reads_back(options in prop::collection::vec(any_option(), 0..12)) {
            let mut object = json(&options);
            // Through text, as in a file.
            let file: Map<String, Json> = serde_json::from_str(&serde_json::to_string(&object).unwrap()).unwrap();
            prop_assert_eq!(&file, &object);
            prop_assert_eq!(from_json(&file, Some(&order(&options))).unwrap(), options);
            wipe_all(&mut object);
        }
    }
}
