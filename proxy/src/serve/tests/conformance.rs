//! What the texts say about SOCKS, line by line: bytes in, bytes out, over real connections.
//!
//! "Memo 4" is "SOCKS: A protocol for TCP proxy across firewalls", "memo 4A" its extension for names. Every connection
//! of a line is closed by the server after its answer, but for those that are open, which echo.

use super::double::DATAGRAMS;
use super::*;

/// What a client must know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Door {
    /// Nothing.
    Open,
    /// `ann` and `pass`.
    Password,
}

/// A line of the list.
struct Line {
    /// Where it stands.
    source: &'static str,
    door: Door,
    sent: Vec<u8>,
    got: Vec<u8>,
}

use Door::{Open, Password};

const NO_METHOD: &[u8] = &[5, 1, 0];
const TAKEN: &[u8] = &[5, 0];
/// An echo, whose flow says what came behind the request.
const ECHO: &[u8] = &[1, 192, 0, 2, 1, 0, 80];
const GRANTED: &[u8] = &[0, 90, 192, 0, 10, 8, 0, 2];
const REJECTED: &[u8] = &[0, 91, 0, 0, 0, 0, 0, 0];

fn line(source: &'static str, door: Door, sent: &[&[u8]], got: &[&[u8]]) -> Line {
    Line {
        source,
        door,
        sent: sent.concat(),
        got: got.concat(),
    }
}

fn named(name: &[u8]) -> Vec<u8> {
    [&[3, u8::try_from(name.len()).unwrap()], name, &[0, 80]].concat()
}

fn reply(code: u8) -> [u8; 10] {
    [5, code, 0, 1, 0, 0, 0, 0, 0, 0]
}

fn methods() -> Vec<Line> {
    let section = "RFC 1928 §3";
    let all: Vec<u8> = (0..=254).collect();
    let request = [&[5, 1, 0], ECHO, b"hi"].concat();
    vec![
        line(section, Open, &[NO_METHOD, &request], &[TAKEN, &BOUND, b"hi"]),
        line(
            section,
            Open,
            &[&[5, 3, 9, 1, 0], &request],
            &[TAKEN, &BOUND, b"hi"],
        ),
        line(
            section,
            Open,
            &[&[5, 255], &all, &request],
            &[TAKEN, &BOUND, b"hi"],
        ),
        line(section, Open, &[&[5, 0]], &[&[5, 255]]),
        // GSSAPI, which the text asks for, is served by nobody; neither are private methods.
        line(section, Open, &[&[5, 1, 1]], &[&[5, 255]]),
        line(section, Open, &[&[5, 1, 0x80]], &[&[5, 255]]),
        line(section, Open, &[&[5, 1, 255]], &[&[5, 255]]),
        line(section, Password, &[NO_METHOD, &request], &[&[5, 255]]),
        line(section, Password, &[&[5, 2, 0, 1], &request], &[&[5, 255]]),
        line(section, Open, &[&[6, 1, 0]], &[]),
        line(section, Open, &[&[0, 1, 0]], &[]),
    ]
}

fn sign_in() -> Vec<Line> {
    let section = "RFC 1929 §2";
    let choice: &[u8] = &[5, 1, 2];
    let request = [&[5, 1, 0], ECHO, b"hi"].concat();
    let long = [&[1, 255][..], &[b'a'; 255], &[255], &[b'p'; 255]].concat();
    let refused: &[u8] = &[5, 2, 1, 255];
    let fine = [&[5, 2, 1, 0], &BOUND[..], b"hi"].concat();
    let right: &[u8] = b"\x01\x03ann\x04pass";
    vec![
        line(section, Password, &[choice, right, &request], &[&fine]),
        line(section, Password, &[&[5, 2, 0, 2], right, &request], &[&fine]),
        line(
            section,
            Password,
            &[choice, b"\x01\x03ann\x04pasS", &request],
            &[refused],
        ),
        line(
            section,
            Password,
            &[choice, b"\x01\x03anN\x04pass", &request],
            &[refused],
        ),
        line(
            section,
            Password,
            &[choice, b"\x01\x00\x04pass", &request],
            &[refused],
        ),
        line(
            section,
            Password,
            &[choice, b"\x01\x03ann\x00", &request],
            &[refused],
        ),
        line(
            section,
            Password,
            &[choice, b"\x01\x00\x00", &request],
            &[refused],
        ),
        line(section, Password, &[choice, &long, &request], &[refused]),
        line(
            section,
            Password,
            &[choice, b"\x01\x03ann\x04pas\0", &request],
            &[refused],
        ),
        // The version of the sign-in is its own, and is 1.
        line(
            section,
            Password,
            &[choice, b"\x05\x03ann\x04pass", &request],
            &[refused],
        ),
        line(
            section,
            Password,
            &[choice, b"\x00\x03ann\x04pass", &request],
            &[refused],
        ),
        line(
            section,
            Password,
            &[choice, b"\x02\x03ann\x04pass", &request],
            &[refused],
        ),
        // Nothing depends on what a client says that insists on signing in where nobody has to.
        line(section, Open, &[choice, b"\x01\x01x\x01y", &request], &[&fine]),
        line(section, Open, &[choice, b"\x01\x00\x00", &request], &[&fine]),
        line(section, Open, &[choice, &long, &request], &[&fine]),
        line(section, Open, &[choice, b"\x02\x01x\x01y", &request], &[refused]),
    ]
}

fn refused(code: u8) -> Vec<u8> {
    [TAKEN, &reply(code)].concat()
}

fn connect(address: &[u8]) -> Vec<u8> {
    [NO_METHOD, &[5, 1, 0], address, b"hi"].concat()
}

fn v6(last: u8) -> Vec<u8> {
    let address = [4, 0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, last];
    [&address[..], &[0, 80]].concat()
}

fn requests() -> Vec<Line> {
    let section = "RFC 1928 §4";
    let mapped = [4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 192, 0, 2, 1, 0, 80];
    let opened = [TAKEN, &BOUND, b"hi"].concat();
    vec![
        line(section, Open, &[&connect(ECHO)], &[&opened]),
        line(section, Open, &[&connect(&v6(1))], &[&opened]),
        line(section, Open, &[&connect(&mapped)], &[&opened]),
        line(section, Open, &[&connect(&named(b"echo.example"))], &[&opened]),
        line(section, Open, &[&connect(&named(b"ECHO.Example"))], &[&opened]),
        line(section, Open, &[&connect(&named(b"192.0.2.1"))], &[&opened]),
        // The text says that the reserved byte must be 0; what it is changes nothing.
        line(
            section,
            Open,
            &[NO_METHOD, &[5, 1, 0xff], ECHO, b"hi"],
            &[&opened],
        ),
        line(section, Open, &[NO_METHOD, &[4, 1, 0], ECHO], &[TAKEN]),
        line(section, Open, &[NO_METHOD, &[1, 1, 0], ECHO], &[TAKEN]),
        // BIND (2) is served by nobody; 0 and the rest are no commands.
        line(section, Open, &[NO_METHOD, &[5, 2, 0], ECHO], &[&refused(7)]),
        line(
            section,
            Open,
            &[NO_METHOD, &[5, 2, 0], &named(b"echo.example")],
            &[&refused(7)],
        ),
        line(section, Open, &[NO_METHOD, &[5, 0, 0], ECHO], &[&refused(7)]),
        line(section, Open, &[NO_METHOD, &[5, 4, 0], ECHO], &[&refused(7)]),
        line(section, Open, &[NO_METHOD, &[5, 255, 0], ECHO], &[&refused(7)]),
        line("RFC 1928 §5", Open, &[&connect(&named(b""))], &[&refused(4)]),
        line(
            "RFC 1928 §5",
            Open,
            &[&connect(&named(&[b'a'; 255]))],
            &[&refused(4)],
        ),
        line(
            "RFC 1928 §5",
            Open,
            &[&connect(&named(&[b'a'; 64]))],
            &[&refused(4)],
        ),
        line("RFC 1928 §5", Open, &[&connect(&named(b"a\0b"))], &[&refused(4)]),
        line("RFC 1928 §5", Open, &[&connect(&named(b"a b"))], &[&refused(4)]),
    ]
}

fn answers() -> Vec<Line> {
    let mut lines = vec![
        line(
            "RFC 1928 §5",
            Open,
            &[&connect(&named(&[0xc3, 0x28]))],
            &[&refused(4)],
        ),
        line(
            "RFC 1928 §6",
            Open,
            &[&connect(&named(b"unknown.example"))],
            &[&refused(4)],
        ),
        line("RFC 1928 §6", Open, &[&connect(&v6(5))], &[&refused(5)]),
        line("RFC 1928 §6", Open, &[&connect(&v6(3))], &[&refused(3)]),
        line("RFC 1928 §6", Open, &[&connect(&v6(2))], &[&refused(2)]),
        line(
            "RFC 1928 §6",
            Open,
            &[&connect(&[1, 192, 0, 2, 1, 0, 0])],
            &[&refused(2)],
        ),
        // The fate of ports for datagrams here is to be refused.
        line(
            "RFC 1928 §7",
            Open,
            &[NO_METHOD, &[5, 3, 0], &[1, 0, 0, 0, 0, 0, 0]],
            &[&refused(2)],
        ),
        line(
            "RFC 1928 §7",
            Open,
            &[NO_METHOD, &[5, 3, 0], &v6(1)],
            &[&refused(2)],
        ),
        line(
            "RFC 1928 §7",
            Open,
            &[NO_METHOD, &[5, 3, 0], &named(b"me.example")],
            &[&refused(2)],
        ),
    ];
    for unknown in [0, 2, 5, 0x7f, 255] {
        lines.push(line(
            "RFC 1928 §5",
            Open,
            &[&connect(&[unknown, 1, 2, 3, 4, 0, 80])],
            &[&refused(8)],
        ));
    }
    lines
}

fn socks4() -> Vec<Line> {
    let (memo, memo_4a) = ("memo 4, CONNECT", "memo 4A");
    let to_echo: &[u8] = &[4, 1, 0, 80, 192, 0, 2, 1];
    let named: &[u8] = &[4, 1, 0, 80, 0, 0, 0, 1];
    let opened = [GRANTED, b"hi"].concat();
    let (longest, too_long) = (vec![b'u'; 255], vec![b'u'; 256]);
    vec![
        line(memo, Open, &[to_echo, b"\0hi"], &[&opened]),
        line(memo, Open, &[to_echo, b"ann\0hi"], &[&opened]),
        line(
            memo,
            Open,
            &[to_echo, &[0xff, 0xfe, b'\r', b'\n'], b"\0hi"],
            &[&opened],
        ),
        line(memo, Open, &[to_echo, &longest, b"\0hi"], &[&opened]),
        line(memo, Open, &[to_echo, &too_long, b"\0hi"], &[REJECTED]),
        line(memo, Open, &[&[4, 1, 0, 80, 192, 0, 2, 9], b"\0"], &[REJECTED]),
        line(memo, Open, &[&[4, 1, 0, 0, 192, 0, 2, 1], b"\0"], &[REJECTED]),
        line(memo, Open, &[&[4, 1, 0, 80, 0, 0, 0, 0], b"\0"], &[REJECTED]),
        line(memo, Open, &[&[4, 0, 0, 80, 192, 0, 2, 1], b"\0"], &[REJECTED]),
        line(memo, Open, &[&[4, 3, 0, 80, 192, 0, 2, 1], b"\0"], &[REJECTED]),
        line(
            "memo 4, BIND",
            Open,
            &[&[4, 2, 0, 80, 192, 0, 2, 1], b"ann\0"],
            &[REJECTED],
        ),
        // The protocol has no place for a password.
        line(memo, Password, &[to_echo, b"ann\0hi"], &[REJECTED]),
        line(memo_4a, Password, &[named, b"ann\0echo.example\0hi"], &[REJECTED]),
        line(memo_4a, Open, &[named, b"\0echo.example\0hi"], &[&opened]),
        line(
            memo_4a,
            Open,
            &[&[4, 1, 0, 80, 0, 0, 0, 255], b"ann\0Echo.EXAMPLE\0hi"],
            &[&opened],
        ),
        line(memo_4a, Open, &[named, b"\x00192.0.2.1\0hi"], &[&opened]),
        line(memo_4a, Open, &[named, b"\0unknown.example\0"], &[REJECTED]),
        line(memo_4a, Open, &[named, b"\0\0"], &[REJECTED]),
        line(memo_4a, Open, &[named, b"\0a b\0"], &[REJECTED]),
        line(memo_4a, Open, &[named, b"\0a\xff\0"], &[REJECTED]),
        line(memo_4a, Open, &[named, b"\x00127.1\0"], &[REJECTED]),
        line(memo_4a, Open, &[named, b"\0", &too_long, b"\0"], &[REJECTED]),
        line(
            memo_4a,
            Open,
            &[&[4, 2, 0, 80, 0, 0, 0, 1], b"\0echo.example\0"],
            &[REJECTED],
        ),
        // 0.0.1.0 is an address like any other, if not one that leads anywhere.
        line(memo_4a, Open, &[&[4, 1, 0, 80, 0, 0, 1, 0], b"\0"], &[REJECTED]),
    ]
}

async fn server(door: Door) -> Running {
    let open = Fate::Open(echo().await);
    let fates = [
        ("192.0.2.1:80", open),
        ("[2001:db8::1]:80", open),
        ("echo.example:80", open),
        ("[2001:db8::2]:80", Fate::Fail(ConnectError::NotAllowed)),
        ("[2001:db8::3]:80", Fate::Fail(ConnectError::NetworkUnreachable)),
        ("[2001:db8::5]:80", Fate::Fail(ConnectError::Refused)),
        (DATAGRAMS, Fate::Fail(ConnectError::NotAllowed)),
    ];
    Running::start(&fates, |settings| {
        if door == Password {
            settings.credentials = Some(Credentials::new("ann", "pass").unwrap());
        }
    })
    .await
}

/// Sends, ends, and reads everything.
async fn converse(server: &Running, sent: &[u8]) -> Vec<u8> {
    let mut client = server.client().await;
    client.write_all(sent).await.unwrap();
    client.shutdown().await.unwrap();
    rest(&mut client).await
}

#[tokio::test]
async fn socks_is_spoken_as_the_texts_have_it() {
    let (open, password) = (server(Open).await, server(Password).await);
    for line in [methods(), sign_in(), requests(), answers(), socks4()]
        .into_iter()
        .flatten()
    {
        let server = if line.door == Open { &open } else { &password };
        let got = converse(server, &line.sent).await;
        assert_eq!(got, line.got, "{}: {:?} {:?}", line.source, line.door, line.sent);
    }
}

#[tokio::test]
async fn every_prefix_is_closed_with_what_was_due_until_then() {
    let (open, password) = (server(Open).await, server(Password).await);
    let socks5 = [NO_METHOD, &[5, 1, 0], &named(b"echo.example")].concat();
    let signed = [&[5, 1, 2][..], b"\x01\x03ann\x04pass", &[5, 1, 0], ECHO].concat();
    let socks4 = b"\x04\x01\x00\x50\x00\x00\x00\x01ann\0echo.example\0";
    for (server, whole, due) in [
        (&open, &socks5[..], &[(3, TAKEN)][..]),
        (&password, &signed, &[(3, &[5, 2][..]), (3 + 10, &[1, 0])]),
        (&open, socks4, &[]),
    ] {
        for length in 0..whole.len() {
            let wanted: Vec<u8> = due
                .iter()
                .filter(|(at, _)| *at <= length)
                .flat_map(|(_, bytes)| bytes.to_vec())
                .collect();
            let got = converse(server, &whole[..length]).await;
            assert_eq!(got, wanted, "{length} of {whole:?}");
        }
    }
    assert_eq!(open.stats.snapshot().opened + password.stats.snapshot().opened, 0);
}

#[tokio::test]
async fn each_protocol_is_counted_for_itself() {
    let server = server(Open).await;
    assert_eq!(
        converse(&server, b"\x04\x01\0\x50\xc0\0\x02\x01\0hi").await,
        [GRANTED, b"hi"].concat()
    );
    assert_eq!(
        converse(&server, &[NO_METHOD, &[5, 1, 0], ECHO].concat()).await,
        [TAKEN, &BOUND].concat()
    );
    let counts = server.stats.snapshot();
    assert_eq!((counts.socks4, counts.socks5, counts.opened), (1, 1, 2));
}

#[tokio::test]
async fn a_socks4_connection_is_listed_as_one() {
    let server = server(Open).await;
    let mut client = server.client().await;
    client
        .write_all(b"\x04\x01\0\x50\0\0\0\x01ann\0echo.example\0")
        .await
        .unwrap();
    assert_eq!(read::<8>(&mut client).await, GRANTED);
    let listed = server.connections.list();
    assert_eq!(listed[0].kind, crate::ConnectionKind::Socks4);
    assert_eq!(listed[0].target, "echo.example:80");
    says_back(client, b"by SOCKS4").await;
}
