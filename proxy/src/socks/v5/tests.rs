//! SOCKS5 messages without a socket: what is taken, what is answered, what is left for the flow.

use proptest::prelude::*;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, duplex, join};

use super::*;

const NO_METHOD: &[u8] = &[5, 1, 0];

fn known() -> Credentials {
    Credentials::new("ann", "s3cret").unwrap()
}

/// What reading `input` came to, what was written meanwhile, what is left.
async fn read(
    input: &[u8],
    credentials: Option<&Credentials>,
) -> (Result<Asked, Rejected>, Vec<u8>, Vec<u8>) {
    let mut incoming = Incoming::new(join(input, Vec::new()));
    let asked = read_request(&mut incoming, credentials).await;
    let (stream, rest) = incoming.into_parts();
    (asked, stream.into_inner().1, rest)
}

fn connect_to(target: &str, port: u16) -> Asked {
    Asked::Connect(Request {
        protocol: Protocol::Socks5,
        target: Target::parse(target, port).unwrap(),
    })
}

fn request(command: u8, address: &[u8]) -> Vec<u8> {
    [NO_METHOD, &[5, command, 0], address].concat()
}

fn by_name(name: &[u8]) -> Vec<u8> {
    let length = u8::try_from(name.len()).unwrap();
    [&[3, length], name, &[0, 80]].concat()
}

fn reply_code(rejected: &Rejected) -> u8 {
    assert_eq!(rejected.answer.len(), 10, "a reply with an IPv4 address");
    assert_eq!(rejected.answer[0], 5);
    rejected.answer[1]
}

#[tokio::test]
async fn each_kind_of_address_is_understood_and_the_rest_left_alone() {
    let v6 = [&[4][..], &std::net::Ipv6Addr::LOCALHOST.octets(), &[1, 187]].concat();
    for (address, wanted) in [
        (vec![1, 192, 0, 2, 1, 0, 80], connect_to("192.0.2.1", 80)),
        (v6, connect_to("::1", 443)),
        (by_name(b"Inner.Example"), connect_to("inner.example", 80)),
        (by_name(b"192.0.2.7"), connect_to("192.0.2.7", 80)),
        (by_name(b"2001:db8::7"), connect_to("2001:db8::7", 80)),
    ] {
        let input = [request(1, &address), b"early".to_vec()].concat();
        let (asked, written, rest) = read(&input, None).await;
        assert_eq!(asked.unwrap(), wanted);
        assert_eq!(written, [5, 0]);
        assert_eq!(rest, b"early");
    }
}

#[tokio::test]
async fn a_request_that_arrives_byte_by_byte_is_the_same_request() {
    let input = [request(1, &by_name(b"inner.example")), b"early".to_vec()].concat();
    let (client, server) = duplex(1);
    let (mut client_reads, mut client_writes) = tokio::io::split(client);
    let write = async {
        for byte in &input {
            client_writes.write_all(&[*byte]).await.unwrap();
        }
    };
    let drain = async {
        let mut chosen = [0; 2];
        client_reads.read_exact(&mut chosen).await.unwrap();
        assert_eq!(chosen, [5, 0]);
    };
    let mut incoming = Incoming::new(server);
    let read = async {
        let asked = read_request(&mut incoming, None).await;
        while incoming.waiting().len() < 5 {
            incoming.fill(1).await.unwrap();
        }
        asked
    };
    let (asked, (), ()) = tokio::join!(read, write, drain);
    assert_eq!(asked.unwrap(), connect_to("inner.example", 80));
    assert_eq!(incoming.waiting(), b"early");
}

#[tokio::test]
async fn other_commands_and_address_types_have_their_replies() {
    for (input, code) in [
        (request(2, &[1, 192, 0, 2, 1, 0, 80]), 7),
        (request(9, &[1, 192, 0, 2, 1, 0, 80]), 7),
        (request(1, &[2, 1, 2, 3]), 8),
        (request(1, &[1, 192, 0, 2, 1, 0, 0]), 2),
        (request(1, &by_name(b"")), 4),
        (request(1, &by_name(&[b'a'; 255])), 4),
        (request(1, &by_name(b"a\0b")), 4),
        (request(1, &by_name(b"a\r\nb")), 4),
        (request(1, &by_name(&[0xff, 0xfe])), 4),
        (request(1, &by_name(b"127.1")), 4),
    ] {
        let (asked, _, _) = read(&input, None).await;
        assert_eq!(reply_code(&asked.unwrap_err()), code, "{input:?}");
    }
}

#[tokio::test]
async fn a_wrong_version_gets_no_reply() {
    let (asked, written, _) = read(&[NO_METHOD, &[4, 1, 0, 1, 192, 0, 2, 1, 0, 80]].concat(), None).await;
    assert!(asked.unwrap_err().answer.is_empty());
    assert_eq!(written, [5, 0]);
}

#[tokio::test]
async fn the_right_password_is_taken_and_the_wrong_one_ends_the_connection() {
    let sign_in = |user: &[u8], password: &[u8]| {
        let lengths = [user, password].map(|field| u8::try_from(field.len()).unwrap());
        let request = [5, 1, 0, 1, 192, 0, 2, 1, 0, 80];
        [
            &[5, 2, 0, 2, 1, lengths[0]],
            user,
            &[lengths[1]],
            password,
            &request,
        ]
        .concat()
    };
    let (asked, written, _) = read(&sign_in(b"ann", b"s3cret"), Some(&known())).await;
    assert_eq!(asked.unwrap(), connect_to("192.0.2.1", 80));
    assert_eq!(written, [5, 2, 1, 0]);
    for (user, password) in [("ann", "S3cret"), ("bob", "s3cret"), ("", ""), ("ann", "")] {
        let (asked, written, _) = read(&sign_in(user.as_bytes(), password.as_bytes()), Some(&known())).await;
        let rejected = asked.unwrap_err();
        assert!(matches!(rejected.why, RequestError::Credentials));
        assert_eq!(rejected.answer, [1, 255], "{user} {password}");
        assert_eq!(written, [5, 2], "nothing after the choice of the method");
    }
}

#[tokio::test]
async fn a_method_that_will_not_do_is_refused() {
    for (greeting, credentials) in [
        (&[5, 1, 0][..], Some(known())),
        (&[5, 1, 1], None),
        (&[5, 0], None),
    ] {
        let (asked, written, _) = read(greeting, credentials.as_ref()).await;
        let rejected = asked.unwrap_err();
        assert!(matches!(rejected.why, RequestError::Method));
        assert_eq!(rejected.answer, [5, 255]);
        assert!(written.is_empty());
    }
    let (asked, _, _) = read(&[5, 1, 2, 2, 0, 0], Some(&known())).await;
    assert!(matches!(
        asked.unwrap_err().why,
        RequestError::SignInVersion { version: 2 }
    ));
}

#[tokio::test]
async fn without_credentials_a_client_that_insists_on_signing_in_may() {
    let input = [
        &[5, 1, 2, 1, 1, b'x', 1, b'y', 5, 1, 0][..],
        &by_name(b"inner.example"),
    ]
    .concat();
    let (asked, written, _) = read(&input, None).await;
    assert_eq!(asked.unwrap(), connect_to("inner.example", 80));
    assert_eq!(written, [5, 2, 1, 0]);
}

#[tokio::test]
async fn every_prefix_of_a_request_is_an_early_end() {
    let input = request(1, &by_name(b"inner.example"));
    for length in 0..input.len() {
        let (asked, _, _) = read(&input[..length], None).await;
        assert!(matches!(asked.unwrap_err().why, RequestError::Closed), "{length}");
    }
}

#[test]
fn success_tells_the_bound_address() {
    assert_eq!(
        success("10.8.0.2:49152".parse().unwrap()),
        [5, 0, 0, 1, 10, 8, 0, 2, 192, 0]
    );
    let v6 = success("[fd00::2]:80".parse().unwrap());
    assert_eq!(v6[..6], [5, 0, 0, 4, 0xfd, 0]);
    assert_eq!(v6[18..], [0, 2, 0, 80]);
}

proptest! {
    #[test]
    fn no_input_makes_it_panic(data in proptest::collection::vec(any::<u8>(), 0..600)) {
        crate::testing::socks5(&data);
        crate::testing::socks5(&[NO_METHOD, &[5, 1, 0], &data].concat());
        crate::testing::socks5(&[&[5, 1, 2, 1], &data[..]].concat());
    }
}
