//! What may be set beside a profile's text: which keys there are, and which types their values have.
//!
//! Values are not looked at here; whoever runs the profile says what it makes of them.

use std::{collections::BTreeMap, fmt};

use zbus::Variant;

use crate::{bus::Value, error::CallError, names::printable};

/// Longest value, in bytes; ours.
const MAX_VALUE_BYTES: usize = 1024;

/// A value that was set.
#[derive(Clone, PartialEq, Eq)]
pub enum OverrideValue {
    /// A text.
    Text(String),
    /// Yes or no.
    Flag(bool),
}

/// Everything that was set for one profile, by key.
pub type Overrides = BTreeMap<String, OverrideValue>;

impl fmt::Debug for OverrideValue {
    /// Texts may be passwords.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(_) => f.write_str("Text(…)"),
            Self::Flag(flag) => write!(f, "Flag({flag})"),
        }
    }
}

impl OverrideValue {
    /// Reads a value of the property `overrides`; `None` for another type.
    #[expect(clippy::wildcard_enum_match_arm, reason = "no other type is in that property")]
    pub fn from_variant(value: &Value) -> Option<Self> {
        match value {
            Variant::Str(text) => Some(Self::Text(text.to_string())),
            Variant::Bool(flag) => Some(Self::Flag(*flag)),
            _ => None,
        }
    }

    /// The value as it travels.
    pub fn to_variant(&self) -> Value {
        match self {
            Self::Text(text) => Value::from(text.clone()),
            Self::Flag(flag) => Value::from(*flag),
        }
    }
}

/// The type of a key's values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Text,
    Flag,
}

/// Every key. Front ends fail on others, so that no others can be set.
const KEYS: [(&str, Kind); 22] = [
    ("allow-compression", Kind::Text),
    ("auth-fail-retry", Kind::Flag),
    ("automatic-restart", Kind::Text),
    ("dns-fallback-google", Kind::Flag),
    ("dns-scope", Kind::Text),
    ("dns-setup-disabled", Kind::Flag),
    ("dns-sync-lookup", Kind::Flag),
    ("enable-legacy-algorithms", Kind::Flag),
    ("enterprise-profile", Kind::Text),
    ("ipv6", Kind::Text),
    ("log-level", Kind::Text),
    ("persist-tun", Kind::Flag),
    ("port-override", Kind::Text),
    ("proto-override", Kind::Text),
    ("proxy-auth-cleartext", Kind::Flag),
    ("proxy-host", Kind::Text),
    ("proxy-password", Kind::Text),
    ("proxy-port", Kind::Text),
    ("proxy-username", Kind::Text),
    ("server-override", Kind::Text),
    ("tls-cert-profile", Kind::Text),
    ("tls-version-min", Kind::Text),
];

/// Keys whose values are ports: numbers are taken, too, since an old front end sends them.
const PORTS: [&str; 2] = ["port-override", "proxy-port"];

fn kind(key: &str) -> Option<Kind> {
    let found = KEYS.iter().find(|(known, _)| *known == key);
    found.map(|(_, kind)| *kind)
}

/// Reads what `SetOverride` is given for `key`.
pub(super) fn read(key: &str, value: &Value) -> Result<OverrideValue, CallError> {
    let Some(kind) = kind(key) else {
        return Err(CallError::method(format!(
            "Invalid override key '{}'",
            printable(key)
        )));
    };
    let signature = value.value_signature().to_string();
    if PORTS.contains(&key)
        && let Some(port) = number(value)
    {
        return Ok(OverrideValue::Text(port));
    }
    match (kind, OverrideValue::from_variant(value)) {
        (Kind::Text, Some(OverrideValue::Text(text))) if text.len() > MAX_VALUE_BYTES => {
            Err(CallError::method(format!("Override value too long for '{key}'")))
        }
        (Kind::Text, Some(OverrideValue::Text(text))) => Ok(OverrideValue::Text(printable(&text))),
        (Kind::Flag, Some(flag @ OverrideValue::Flag(_))) => Ok(flag),
        (Kind::Text | Kind::Flag, Some(_)) => Err(CallError::method(format!(
            "(SetOverride) Invalid override data type for '{key}': {signature}"
        ))),
        (_, None) => Err(CallError::method(format!(
            "Unsupported override data type: {signature}"
        ))),
    }
}

/// Tells whether a stored value is one that could have been set.
pub(super) fn is_fit(key: &str, value: &OverrideValue) -> bool {
    matches!(
        (kind(key), value),
        (Some(Kind::Text), OverrideValue::Text(_)) | (Some(Kind::Flag), OverrideValue::Flag(_))
    )
}

#[expect(clippy::wildcard_enum_match_arm, reason = "all others are no numbers")]
fn number(value: &Value) -> Option<String> {
    match value {
        Variant::I32(number) => Some(number.to_string()),
        Variant::U32(number) => Some(number.to_string()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(key: &str, value: &Value) -> String {
        read(key, value).unwrap_err().to_string()
    }

    #[test]
    fn each_key_takes_its_own_type_alone() {
        assert_eq!(KEYS.len(), 22);
        for (key, kind) in KEYS {
            let (text, flag) = (Value::from("x"), Value::from(true));
            let (good, bad, signature) = match kind {
                Kind::Text => (text, flag, "b"),
                Kind::Flag => (flag, text, "s"),
            };
            let read_back = read(key, &good).unwrap();
            assert!(is_fit(key, &read_back));
            assert_eq!(
                OverrideValue::from_variant(&read_back.to_variant()),
                Some(read_back)
            );
            let expected = format!("(SetOverride) Invalid override data type for '{key}': {signature}");
            assert_eq!(refusal(key, &bad), expected);
        }
    }

    #[test]
    fn ports_may_be_numbers_and_nothing_else_may() {
        let text = |text: &str| OverrideValue::Text(text.to_owned());
        assert_eq!(read("port-override", &Value::from(443_i32)).unwrap(), text("443"));
        assert_eq!(read("proxy-port", &Value::from(3128_u32)).unwrap(), text("3128"));
        assert_eq!(
            refusal("log-level", &Value::from(4_u32)),
            "Unsupported override data type: u"
        );
        assert_eq!(
            refusal("persist-tun", &Value::from(vec!["a"])),
            "Unsupported override data type: as"
        );
    }

    #[test]
    fn unknown_keys_long_values_and_control_characters_do_not_get_in() {
        assert_eq!(
            refusal("no\nsuch", &Value::from("x")),
            "Invalid override key 'nosuch'"
        );
        let long = Value::from("x".repeat(MAX_VALUE_BYTES + 1));
        assert_eq!(
            refusal("server-override", &long),
            "Override value too long for 'server-override'"
        );
        let clean = read("server-override", &Value::from("a\r\nb")).unwrap();
        assert_eq!(clean, OverrideValue::Text("ab".to_owned()));
    }

    #[test]
    fn texts_do_not_print() {
        let secret = OverrideValue::Text("hunter2".to_owned());
        assert!(!format!("{secret:?}").contains("hunter2"));
    }
}
