//! What a profile answers to its owner and to others.

use super::*;
use crate::configuration::fixtures::{block, option};

const OWNER: Who = Who {
    uid: 1000,
    service: 990,
};
const OTHER: Who = Who { uid: 1001, ..OWNER };
const SERVICE: Who = Who { uid: 990, ..OWNER };
const ROOT: Who = Who { uid: 0, ..OWNER };

fn profile(valid: bool) -> Profile {
    let mut options = vec![
        option("client", &[]),
        option("dev", &["tun"]),
        option("remote", &["h"]),
    ];
    if valid {
        options.push(block("ca", "secret\n"));
    }
    let origin = Origin {
        path: "/net/openvpn/v3/configuration/a".to_owned(),
        persistent: false,
        single_use: false,
        import_timestamp: 17,
    };
    let settings = Settings {
        owner: OWNER.uid,
        name: "home".to_owned(),
        ..Settings::default()
    };
    Profile::new(origin, OptionList::new(options).unwrap(), settings)
}

fn said<T: std::fmt::Debug>(result: Result<T, CallError>) -> String {
    result.unwrap_err().to_string()
}

#[test]
fn every_property_has_its_type() {
    let profile = profile(true);
    profile
        .set_override(OWNER, "persist-tun", &Value::from(true))
        .unwrap();
    for property in crate::configuration::table::PROFILE.properties {
        let value = profile.property(OWNER, property.name).unwrap();
        assert_eq!(
            value.value_signature().to_string(),
            property.signature,
            "{}",
            property.name
        );
    }
    assert_eq!(
        profile.property(OWNER, "import_timestamp").unwrap(),
        Value::from(17_u64)
    );
}

#[test]
fn properties_are_read_by_those_of_the_table() {
    let profile = profile(true);
    let readable = |who: Who| -> Vec<&str> {
        crate::configuration::table::PROFILE
            .properties
            .iter()
            .map(|property| property.name)
            .filter(|name| profile.property(who, name).is_ok())
            .collect()
    };
    assert_eq!(readable(OTHER), ["owner"]);
    assert_eq!(readable(ROOT), ["owner"]);
    let hidden = ["acl", "public_access", "single_use"];
    let of_service = readable(SERVICE);
    assert!(hidden.iter().all(|name| !of_service.contains(name)) && of_service.len() == 13);
    profile
        .set_property(OWNER, "public_access", Value::from(true))
        .unwrap();
    assert_eq!(readable(OTHER).len(), 16);
    assert!(profile.text(OTHER).is_err() && profile.json(OTHER).is_err());
}

#[test]
fn tags_have_limits_and_no_doubles() {
    let profile = profile(true);
    assert_eq!(said(profile.add_tag(OWNER, "\n")), "Tag value cannot be empty");
    assert_eq!(
        said(profile.add_tag(OWNER, &"x".repeat(129))),
        "Tag value too long"
    );
    profile.add_tag(OWNER, "system:x\n").unwrap();
    assert_eq!(said(profile.add_tag(OWNER, "system:x")), "Tag already exists");
    assert_eq!(said(profile.remove_tag(OWNER, "y")), "Non-existing tag");
    for number in 1..MAX_TAGS {
        profile.add_tag(OWNER, &number.to_string()).unwrap();
    }
    assert!(said(profile.add_tag(OWNER, "more")).contains("at most"));
    profile.remove_tag(OWNER, "system:x").unwrap();
    profile.add_tag(OWNER, "more").unwrap();
}

#[test]
fn access_is_granted_once_and_revoked() {
    let profile = profile(true);
    assert_eq!(
        said(profile.grant(OTHER, 1001)),
        "Access to the configuration profile is denied."
    );
    profile.grant(OWNER, 1001).unwrap();
    assert_eq!(said(profile.grant(OWNER, 1001)), "UID already granted access");
    assert_eq!(said(profile.grant(OWNER, 1000)), "UID already granted access");
    assert!(profile.text(OTHER).is_ok());
    profile
        .set_property(OWNER, "locked_down", Value::from(true))
        .unwrap();
    assert!(profile.text(OTHER).is_err() && profile.text(SERVICE).is_ok());
    profile.revoke(OWNER, 1001).unwrap();
    assert_eq!(said(profile.revoke(OWNER, 1001)), "UID not granted access");
    for uid in 2000..2000 + u32::try_from(MAX_ACL).unwrap() {
        profile.grant(OWNER, uid).unwrap();
    }
    assert!(said(profile.grant(OWNER, 5000)).contains("at most"));
    assert_eq!(said(profile.grant(OWNER, 2000)), "UID already granted access");
}

#[test]
fn a_sealed_profile_stays_as_it_is() {
    assert_eq!(
        said(profile(false).seal(OWNER)),
        "Configuration is not currently valid"
    );
    let profile = profile(true);
    profile.grant(OWNER, OTHER.uid).unwrap();
    assert!(profile.seal(OTHER).is_err());
    profile.seal(OWNER).unwrap();
    let sealed = "Configuration profile is sealed and read-only";
    assert_eq!(said(profile.add_tag(OWNER, "x")), sealed);
    assert_eq!(
        said(profile.set_override(OWNER, "ipv6", &Value::from("no"))),
        sealed
    );
    assert_eq!(
        said(profile.set_property(OWNER, "name", Value::from("x"))),
        sealed
    );
    assert_eq!(
        said(profile.set_property(OTHER, "dco", Value::from(false))),
        sealed
    );
    assert_eq!(profile.property(OWNER, "readonly").unwrap(), Value::from(true));
    profile.check(Right::Own, OWNER).unwrap();
    profile.seal(OWNER).unwrap();
}

#[test]
fn dco_can_be_off_only() {
    let profile = profile(true);
    profile.set_property(OWNER, "dco", Value::from(false)).unwrap();
    assert!(said(profile.set_property(OWNER, "dco", Value::from(true))).contains("DCO is not available"));
}

#[test]
fn names_have_a_length_and_no_control_characters() {
    let profile = profile(true);
    let set = |name: &str| profile.set_property(OWNER, "name", Value::from(name.to_owned()));
    set("new\u{1b}\n").unwrap();
    assert_eq!(profile.property(OWNER, "name").unwrap(), Value::from("new"));
    assert!(set("").is_err() && set("\n").is_err() && set(&"x".repeat(257)).is_err());
    set(&"x".repeat(256)).unwrap();
}

#[test]
fn overrides_are_set_seen_and_unset() {
    let profile = profile(true);
    profile
        .set_override(OWNER, "proxy-password", &Value::from("p"))
        .unwrap();
    let shown = profile.property(SERVICE, "overrides").unwrap();
    assert!(format!("{shown:?}").contains("proxy-password"));
    assert!(profile.property(OTHER, "overrides").is_err());
    profile.unset_override(OWNER, "proxy-password").unwrap();
    let text = "Override 'proxy-password' has not been set";
    assert_eq!(said(profile.unset_override(OWNER, "proxy-password")), text);
    assert_eq!(
        said(profile.unset_override(OWNER, "no\nsuch")),
        "Override 'nosuch' has not been set"
    );
}

#[test]
fn root_and_the_owner_may_give_it_away() {
    let profile = profile(true);
    profile
        .set_property(OWNER, "public_access", Value::from(true))
        .unwrap();
    assert!(profile.transfer(OTHER, 1001).is_err());
    profile.grant(OWNER, 1001).unwrap();
    assert!(profile.transfer(OTHER, 1001).is_err());
    profile.transfer(ROOT, 1001).unwrap();
    assert_eq!(profile.property(ROOT, "owner").unwrap(), Value::from(1001_u32));
    assert!(profile.settings().acl.is_empty());
    profile.transfer(OTHER, 1000).unwrap();
}

#[test]
fn what_prints_holds_no_secret() {
    assert!(!format!("{:?}", profile(true)).contains("secret"));
}
