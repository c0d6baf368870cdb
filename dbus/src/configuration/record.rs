//! A persistent profile as its file holds it.
//!
//! The keys are those of OpenVPN 3 Linux, so that its files can be read; `option_order` is of our own and keeps what
//! the profile's JSON cannot say.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value as Json};
use zeroize::Zeroizing;

use super::{
    option::OptionList,
    overrides::{self, OverrideValue},
    profile::{MAX_ACL, MAX_TAGS, Origin, Profile, Settings, fit_name},
    render,
};
use crate::names::printable;

#[derive(Serialize, Deserialize)]
#[expect(clippy::struct_excessive_bools, reason = "each is a key of the file")]
struct Record {
    object_path: String,
    owner: u32,
    name: String,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    tags: Vec<String>,
    #[serde(default)]
    import_timestamp: u64,
    #[serde(default)]
    last_used_timestamp: u64,
    #[serde(default)]
    locked_down: bool,
    #[serde(default)]
    transfer_owner_session: bool,
    #[serde(default)]
    readonly: bool,
    #[serde(default)]
    single_use: bool,
    #[serde(default)]
    used_count: u32,
    #[serde(default)]
    valid: bool,
    profile: Map<String, Json>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    option_order: Option<Vec<String>>,
    #[serde(default)]
    dco: bool,
    #[serde(default)]
    public_access: bool,
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    acl: BTreeSet<u32>,
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    overrides: Map<String, Json>,
}

impl Drop for Record {
    fn drop(&mut self) {
        render::wipe_all(&mut self.profile);
        render::wipe_all(&mut self.overrides);
    }
}

/// Writes a profile down; `None` once it is removed.
pub(super) fn write(profile: &Profile) -> Option<Zeroizing<Vec<u8>>> {
    let record = {
        let settings = profile.settings();
        if settings.removed {
            return None;
        }
        let overrides = settings.overrides.iter().map(|(key, value)| {
            let value = match value {
                OverrideValue::Text(text) => Json::String(text.clone()),
                OverrideValue::Flag(flag) => Json::Bool(*flag),
            };
            (key.clone(), value)
        });
        Record {
            object_path: profile.origin.path.clone(),
            owner: settings.owner,
            name: settings.name.clone(),
            tags: settings.tags.clone(),
            import_timestamp: profile.origin.import_timestamp,
            last_used_timestamp: settings.last_used_timestamp,
            locked_down: settings.locked_down,
            transfer_owner_session: settings.transfer_owner_session,
            readonly: settings.readonly,
            single_use: profile.origin.single_use,
            used_count: settings.used_count,
            valid: profile.is_valid(),
            profile: render::json(profile.options.as_slice()),
            option_order: Some(render::order(profile.options.as_slice())),
            dco: false,
            public_access: settings.public_access,
            acl: settings.acl.clone(),
            overrides: overrides.collect(),
        }
    };
    // Maps of texts cannot fail to be written.
    serde_json::to_vec(&record).ok().map(Zeroizing::new)
}

/// Reads the file of the profile at `path`.
///
/// # Errors
/// What is wrong with it, without any of its content.
pub(super) fn read(bytes: &[u8], path: &str) -> Result<Profile, String> {
    let record: Record = serde_json::from_slice(bytes).map_err(|error| {
        let kind = match error.classify() {
            serde_json::error::Category::Syntax => "it is not JSON",
            serde_json::error::Category::Eof => "it ends too early",
            serde_json::error::Category::Io | serde_json::error::Category::Data => {
                "a key is missing or of another type"
            }
        };
        format!("{kind} (line {})", error.line())
    })?;
    if record.object_path != path {
        return Err("it is of another object".to_owned());
    }
    let name = fit_name(&record.name).map_err(|error| error.to_string())?;
    let options = OptionList::new(render::from_json(
        &record.profile,
        record.option_order.as_deref(),
    )?)?;
    let origin = Origin {
        path: path.to_owned(),
        persistent: true,
        single_use: record.single_use,
        import_timestamp: record.import_timestamp,
    };
    let settings = Settings {
        owner: record.owner,
        name,
        tags: record
            .tags
            .iter()
            .take(MAX_TAGS)
            .map(|tag| printable(tag))
            .collect(),
        last_used_timestamp: record.last_used_timestamp,
        used_count: record.used_count,
        locked_down: record.locked_down,
        transfer_owner_session: record.transfer_owner_session,
        readonly: record.readonly,
        public_access: record.public_access,
        acl: record.acl.iter().copied().take(MAX_ACL).collect(),
        overrides: record.overrides.iter().filter_map(read_override).collect(),
        removed: false,
    };
    Ok(Profile::new(origin, options, settings))
}

fn read_override((key, value): (&String, &Json)) -> Option<(String, OverrideValue)> {
    let value = match value {
        Json::String(text) => OverrideValue::Text(printable(text)),
        Json::Bool(flag) => OverrideValue::Flag(*flag),
        Json::Null | Json::Number(_) | Json::Array(_) | Json::Object(_) => return None,
    };
    overrides::is_fit(key, &value).then(|| (key.clone(), value))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;
    use crate::configuration::{
        access::Who,
        fixtures::{block, option},
    };

    const PATH: &str = "/net/openvpn/v3/configuration/a";

    fn profile() -> Profile {
        let options = vec![
            option("client", &[]),
            option("setenv", &["UV_A", "1"]),
            block("connection", "remote a\n"),
            option("setenv", &["UV_B", "2"]),
            block("ca", "PEM\n"),
        ];
        let origin = Origin {
            path: PATH.to_owned(),
            persistent: true,
            single_use: true,
            import_timestamp: 5,
        };
        let settings = Settings {
            owner: 7,
            name: "n".to_owned(),
            tags: vec!["t".to_owned()],
            used_count: 3,
            last_used_timestamp: 6,
            locked_down: true,
            transfer_owner_session: true,
            readonly: true,
            public_access: true,
            acl: BTreeSet::from([8]),
            overrides: [
                ("persist-tun".to_owned(), OverrideValue::Flag(true)),
                ("ipv6".to_owned(), OverrideValue::Text("no".to_owned())),
            ]
            .into(),
            removed: false,
        };
        Profile::new(origin, OptionList::new(options).unwrap(), settings)
    }

    #[test]
    fn a_profile_reads_back_as_it_was() {
        let (before, bytes) = (profile(), write(&profile()).unwrap());
        let after = read(&bytes, PATH).unwrap();
        let who = Who { uid: 7, service: 7 };
        assert_eq!(before.text(who).unwrap(), after.text(who).unwrap());
        for property in crate::configuration::table::PROFILE.properties {
            let [a, b] = [&before, &after].map(|profile| profile.property(who, property.name).unwrap());
            assert_eq!(a, b, "{}", property.name);
        }
    }

    #[test]
    fn keys_are_those_that_are_known() {
        let file: Json = serde_json::from_slice(&write(&profile()).unwrap()).unwrap();
        assert_eq!(file["object_path"], PATH);
        assert_eq!(file["profile"]["ca"], json!(["PEM\n"]));
        assert_eq!(file["overrides"], json!({"ipv6": "no", "persist-tun": true}));
        assert_eq!((&file["acl"], &file["tags"]), (&json!([8]), &json!(["t"])));
        let removed = profile();
        removed.settings().removed = true;
        assert!(write(&removed).is_none());
    }

    #[test]
    fn a_file_of_the_other_implementation_is_read() {
        let file = json!({
            "object_path": PATH, "owner": 7, "name": "n", "import_timestamp": 1, "last_used_timestamp": 0,
            "locked_down": false, "transfer_owner_session": false, "readonly": false, "single_use": false,
            "used_count": 0, "valid": true, "dco": true, "public_access": false,
            "profile": {"ca": ["PEM\nPEM\n"], "client": null, "dev": ["tun"], "remote": [["h", "1194"]]},
        });
        let profile = read(file.to_string().as_bytes(), PATH).unwrap();
        assert!(profile.is_valid());
        let who = Who { uid: 7, service: 1 };
        assert!(profile.text(who).unwrap().contains("<ca>\nPEM\nPEM\n</ca>\n"));
    }

    #[test]
    fn what_is_wrong_is_told_without_the_content() {
        let good = String::from_utf8(write(&profile()).unwrap().to_vec()).unwrap();
        for (bad, says) in [
            (good.replace("\"owner\":7", "\"owner\":\"PEM\""), "another type"),
            (good.replace("\"name\":\"n\"", "\"name\":\"\""), "needs a name"),
            (good.replace("\"UV_A\"", "\"a\\nPEM\""), "control"),
            (
                good.replace("/configuration/a", "/configuration/b"),
                "another object",
            ),
            (good[..good.len() / 2].to_owned(), "too early"),
            ("PEM".to_owned(), "not JSON"),
        ] {
            let error = read(bad.as_bytes(), PATH).unwrap_err();
            assert!(error.contains(says) && !error.contains("PEM"), "{error}");
        }
    }

    proptest! {
        #[test]
        fn no_file_panics_and_what_is_read_can_be_written(
            cut in any::<prop::sample::Index>(),
            insert in "[\\[\\]{}\",:a-z0-9<>\\\\-]{0,6}",
            removed in 0_usize..6,
        ) {
            let good = String::from_utf8(write(&profile()).unwrap().to_vec()).unwrap();
            let at = cut.index(good.len());
            let end = (at + removed).min(good.len());
            let damaged = format!("{}{insert}{}", &good[..at], &good[end..]);
            if let Ok(profile) = read(damaged.as_bytes(), PATH) {
                prop_assert!(read(&write(&profile).unwrap(), PATH).is_ok());
            }
        }
    }
}
