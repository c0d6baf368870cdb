//! Tests of `key_method`: round trips, vectors and malformed input.

use proptest::prelude::*;

use super::*;

fn source(role: Role) -> KeySource {
    KeySource {
        pre_master: (role == Role::Client).then_some([1; 48]),
        random1: [2; 32],
        random2: [3; 32],
    }
}

fn from_client() -> KeyMethod {
    KeyMethod {
        username: Some("alice".into()),
        password: Some("wonder".into()),
        peer_info: "IV_VER=2.6.14\n".to_owned(),
        ..KeyMethod::new(source(Role::Client), "V4,dev-type tun")
    }
}

#[test]
fn a_clients_message_reads_back() {
    let bytes = from_client().encode(Role::Client);
    assert_eq!(&bytes[..5], &[0, 0, 0, 0, 2]);
    assert_eq!(&bytes[117..135], b"\0\x10V4,dev-type tun\0");
    let read = KeyMethod::decode(Role::Client, &bytes).unwrap();
    assert_eq!(read.source.pre_master, Some([1; 48]));
    assert_eq!((read.source.random1, read.source.random2), ([2; 32], [3; 32]));
    assert_eq!(read.options, "V4,dev-type tun");
    assert_eq!(read.username.as_ref().map(SecretString::expose), Some("alice"));
    assert_eq!(read.password.as_ref().map(SecretString::expose), Some("wonder"));
    assert_eq!(read.peer_info, "IV_VER=2.6.14\n");
    assert!(!read.credentials_too_long);
}

#[test]
fn a_servers_message_has_neither_secret_nor_credentials() {
    let message = KeyMethod::new(source(Role::Server), "V4");
    let bytes = message.encode(Role::Server);
    assert_eq!(bytes.len(), 5 + 64 + 5 + 6);
    assert_eq!(&bytes[69..], &[0, 3, b'V', b'4', 0, 0, 0, 0, 0, 0, 0]);
    let read = KeyMethod::decode(Role::Server, &bytes).unwrap();
    assert!(read.source.pre_master.is_none() && read.username.is_none() && read.password.is_none());
    assert!(read.peer_info.is_empty());
}

#[test]
fn an_empty_user_name_is_not_a_missing_one() {
    let mut message = from_client();
    message.username = Some("".into());
    message.password = None;
    let read = KeyMethod::decode(Role::Client, &message.encode(Role::Client)).unwrap();
    assert_eq!(read.username.as_ref().map(SecretString::expose), Some(""));
    assert!(read.password.is_none());
}

#[test]
fn every_prefix_fails_but_for_those_between_the_last_fields() {
    let bytes = from_client().encode(Role::Client);
    let options_end = 5 + 48 + 64 + 2 + 16;
    let boundaries = [
        options_end,
        options_end + 2 + 6,
        options_end + 2 + 6 + 2 + 7,
        bytes.len(),
    ];
    for len in 0..bytes.len() {
        let read = KeyMethod::decode(Role::Client, &bytes[..len]);
        assert_eq!(read.is_ok(), boundaries.contains(&len), "{len} bytes");
        assert_eq!(
            KeyMethod::complete_len(Role::Client, &bytes[..len]),
            Ok(None),
            "{len} bytes"
        );
    }
    let old = KeyMethod::decode(Role::Client, &bytes[..options_end]).unwrap();
    assert!(old.username.is_none() && old.password.is_none() && old.peer_info.is_empty());
}

#[test]
fn the_length_is_known_once_all_fields_are_there() {
    let mut bytes = from_client().encode(Role::Client).to_vec();
    let len = bytes.len();
    bytes.extend(b"PUSH_REQUEST\0");
    assert_eq!(KeyMethod::complete_len(Role::Client, &bytes), Ok(Some(len)));
}

#[test]
fn a_message_without_end_is_refused() {
    let mut bytes = from_client().encode(Role::Client).to_vec();
    let len = bytes.len();
    bytes.truncate(len - 17);
    bytes.extend([0xFF, 0xFF]);
    bytes.resize(MESSAGE_BYTES, b'x');
    assert_eq!(KeyMethod::complete_len(Role::Client, &bytes), Ok(None));
    bytes.push(b'x');
    KeyMethod::complete_len(Role::Client, &bytes).unwrap_err();
}

#[test]
fn credentials_that_are_too_long_are_flagged_and_skipped() {
    let mut message = from_client();
    message.password = Some(SecretString::new("x".repeat(127)));
    let read = KeyMethod::decode(Role::Client, &message.encode(Role::Client)).unwrap();
    assert!(!read.credentials_too_long && read.password.is_some());
    message.password = Some(SecretString::new("x".repeat(128)));
    let read = KeyMethod::decode(Role::Client, &message.encode(Role::Client)).unwrap();
    assert!(read.credentials_too_long && read.password.is_none());
    assert_eq!(read.peer_info, "IV_VER=2.6.14\n");
}

#[test]
fn another_key_method_is_refused() {
    let mut bytes = from_client().encode(Role::Client);
    bytes[4] = 0x12;
    KeyMethod::decode(Role::Client, &bytes).unwrap();
    bytes[4] = 1;
    assert_eq!(
        KeyMethod::decode(Role::Client, &bytes).unwrap_err(),
        WireError::KeyMethod(1)
    );
}

#[test]
fn nothing_secret_prints() {
    let shown = format!("{:?}", from_client());
    assert!(!shown.contains("wonder") && !shown.contains("alice"));
    assert!(shown.contains("KeySource([secret])"));
}

proptest! {
    #[test]
    fn any_text_reads_back(
        options in "[ -~]{0,80}",
        username in proptest::option::of("[^\0]{0,30}"),
        password in proptest::option::of("[^\0]{0,30}"),
        peer_info in "[ -~\n]{0,80}",
    ) {
        let message = KeyMethod {
            username: username.clone().map(SecretString::new),
            password: password.clone().map(SecretString::new),
            peer_info: peer_info.clone(),
            ..KeyMethod::new(source(Role::Client), options.clone())
        };
        let bytes = message.encode(Role::Client);
        prop_assert_eq!(KeyMethod::complete_len(Role::Client, &bytes), Ok(Some(bytes.len())));
        let read = KeyMethod::decode(Role::Client, &bytes).unwrap();
        prop_assert_eq!(read.options, options);
        prop_assert_eq!(read.username.as_ref().map(SecretString::expose), username.as_deref());
        prop_assert_eq!(read.password.as_ref().map(SecretString::expose), password.as_deref());
        prop_assert_eq!(read.peer_info, peer_info);
    }

    #[test]
    fn any_bytes_are_read_or_refused(
        tail in proptest::collection::vec(any::<u8>(), 0..100),
    ) {
        let mut bytes = vec![0, 0, 0, 0, 2];
        bytes.extend([5; 64]);
        bytes.extend(tail);
        let complete = KeyMethod::complete_len(Role::Server, &bytes).unwrap();
        let read = KeyMethod::decode(Role::Server, &bytes);
        prop_assert!(complete.is_none() || read.is_ok());
    }
}
