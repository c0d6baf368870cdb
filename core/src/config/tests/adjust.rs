//! Options that are set beside a profile.

use super::*;
use crate::config::{Family, Transport};

const BLOCKS: &str = "<ca>\n-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n</ca>\n";

fn read(text: &str) -> Directives {
    let text = format!("client\ndev tun\nauth-user-pass\n{text}\n{BLOCKS}");
    Directives::parse("vpn.ovpn", &text).unwrap()
}

fn config(directives: &Directives) -> ClientConfig {
    ClientConfig::resolve(directives, &mut |_| Err("no files".into()))
        .unwrap()
        .0
}

fn places(directives: &Directives) -> Vec<(String, u16, Transport)> {
    let remotes = config(directives).remotes.into_iter();
    remotes
        .map(|remote| (remote.host, remote.port, remote.proto.transport))
        .collect()
}

#[test]
fn one_option_takes_the_place_of_all_of_its_name() {
    let mut directives = read("verb 3\nremote a\nverb 4");
    directives.set("verb", &["6"]).unwrap();
    assert_eq!(directives.all("verb").count(), 1);
    assert_eq!(config(&directives).verbosity, 6);
    directives.remove("verb");
    assert!(!directives.has("verb"));
}

#[test]
fn options_in_blocks_are_replaced_too_and_blocks_inherit_the_new_one() {
    let mut directives = read("<connection>\nremote a\nconnect-timeout 7\n</connection>\nconnect-timeout 8");
    directives.set("connect-timeout", &["9"]).unwrap();
    assert_eq!(config(&directives).remotes[0].connect_timeout.as_secs(), 9);
}

#[test]
fn the_table_decides_and_its_answer_names_the_file() {
    let mut directives = read("remote a");
    for (name, args, says) in [
        ("plugin", &["x"][..], "plug-ins are not loaded"),
        ("no-such", &[], "is not a known option"),
        ("verb", &["1", "2"], "wants 1 parameter"),
        ("server", &["10.0.0.0", "255.0.0.0"], "servers only"),
    ] {
        let errors = directives.set(name, args).unwrap_err().to_string();
        assert!(
            errors.starts_with("vpn.ovpn: `") && errors.contains(says),
            "{errors}"
        );
        assert!(!directives.has(name));
    }
    assert!(directives.set_block("verb", "6".into()).is_err());
}

#[test]
fn a_block_may_be_set() {
    let mut directives = read("remote a");
    directives
        .set_block("auth-user-pass", "me\nsecret\n".into())
        .unwrap();
    let given = CredentialSource::Given {
        username: "me".to_owned(),
        password: "secret".into(),
    };
    assert_eq!(config(&directives).credentials, Some(given));
}

#[test]
fn all_remotes_get_what_is_set_and_keep_the_rest() {
    use Transport::{Tcp, Udp};
    let place = |host: &str, port, transport| (host.to_owned(), port, transport);
    let text = "remote a\nremote b 1\nremote c 2 tcp4\nport 3\nproto-force udp";
    let mut directives = read(text);
    directives.set_remotes(None, Some(443), None).unwrap();
    assert_eq!(places(&directives), [place("a", 443, Udp), place("b", 443, Udp)]);

    let mut directives = read(text);
    directives.set_remotes(Some("h"), None, Some(Tcp)).unwrap();
    assert_eq!(
        places(&directives),
        [place("h", 3, Tcp), place("h", 1, Tcp), place("h", 2, Tcp)]
    );

    let mut directives = read("proto udp\n<connection>\nremote a 5\nproto udp6\n</connection>");
    directives.set_remotes(None, None, Some(Tcp)).unwrap();
    let remote = config(&directives).remotes.remove(0);
    assert_eq!((remote.port, remote.proto.transport), (5, Tcp));
    assert_eq!(remote.proto.family, Family::Any);
}

#[test]
fn a_host_that_is_none_is_told_when_it_is_resolved() {
    let mut directives = read("remote a");
    directives.set_remotes(Some("a b"), None, None).unwrap();
    let errors = ClientConfig::resolve(&directives, &mut |_| Err("no files".into())).unwrap_err();
    assert!(errors.to_string().contains("a name or an address"), "{errors}");
}
