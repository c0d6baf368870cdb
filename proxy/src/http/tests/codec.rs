//! Parsers against slow, obvious models, against another parser, and against their own output.

use proptest::prelude::*;

use super::lab::{HEAD, Lab, say};
use crate::http::body::{Body, Length};
use crate::http::fuzz;
use crate::http::head::RequestHead;

/// What a body in chunks says, read without any cleverness; `None` where it is malformed or incomplete.
fn model(mut input: &[u8]) -> Option<(Vec<u8>, usize)> {
    let whole = input.len();
    let line = |input: &mut &[u8]| -> Option<Vec<u8>> {
        let end = input.iter().position(|byte| *byte == b'\n')?;
        let line = input[..end].strip_suffix(b"\r")?.to_vec();
        *input = &input[end + 1..];
        let is_clean = line.iter().all(|byte| *byte == b'\t' || !byte.is_ascii_control());
        is_clean.then_some(line)
    };
    let mut data = Vec::new();
    loop {
        let size = line(&mut input)?;
        let size = size.split(|byte| *byte == b';').next()?;
        if size.is_empty() || size.len() > 16 || !size.iter().all(u8::is_ascii_hexdigit) {
            return None;
        }
        let size = usize::from_str_radix(std::str::from_utf8(size).ok()?, 16).ok()?;
        if size == 0 {
            break;
        }
        data.extend_from_slice(input.get(..size)?);
        input = &input[size..];
        if !input.starts_with(b"\r\n") {
            return None;
        }
        input = &input[2..];
    }
    loop {
        let trailer = line(&mut input)?;
        if trailer.is_empty() {
            return Some((data, whole - input.len()));
        }
        let colon = trailer.iter().position(|byte| *byte == b':')?;
        if !trailer[..colon].iter().all(u8::is_ascii_alphanumeric) || colon == 0 {
            return None;
        }
    }
}

/// What the decoder says of the same bytes in the given pieces.
fn decoded(input: &[u8], piece: usize) -> Option<(Vec<u8>, usize)> {
    let mut body = Body::new(Length::Chunked, false);
    let (mut out, mut taken, mut given) = (Vec::new(), 0, 0);
    loop {
        taken += body.advance(&input[taken..given], &mut out).ok()?;
        if body.has_ended() {
            return Some((out, taken));
        }
        if given == input.len() {
            return None;
        }
        given = (given + piece).min(input.len());
    }
}

/// Chunks that are mostly right.
fn chunks() -> impl Strategy<Value = Vec<u8>> {
    let chunk = prop_oneof![
        8 => proptest::collection::vec(any::<u8>(), 1..40)
            .prop_map(|data| [format!("{:X}\r\n", data.len()).as_bytes(), &data, b"\r\n"].concat()),
        2 => Just(b"3;name=value\r\nabc\r\n".to_vec()),
        1 => "[0-9a-f+ ;x\r\n]{0,6}".prop_map(String::into_bytes),
    ];
    let end = prop_oneof![
        Just("0\r\n\r\nnext"),
        Just("000;x\r\nA: b\r\nC: d\r\n\r\n"),
        Just("0\r\n"),
        Just("0\r\n\r")
    ];
    (proptest::collection::vec(chunk, 0..6), end)
        .prop_map(|(chunks, end)| [chunks.concat(), end.as_bytes().to_vec()].concat())
}

/// Heads that are mostly right.
fn head() -> impl Strategy<Value = String> {
    let line = prop_oneof![
        8 => "[A-Za-z-]{1,8}: [ -~]{0,12}",
        1 => "[ -~\t]{0,12}",
        1 => Just("X: a\r\n b".to_owned()),
        1 => Just("Content-Length: 5".to_owned()),
        1 => Just("Transfer-Encoding: chunked".to_owned()),
        1 => Just("Connection: X, close, upgrade".to_owned()),
    ];
    (
        "[A-Z]{1,4}",
        "(http://a\\.test)?/[!-~]{0,8}",
        proptest::collection::vec(line, 0..6),
    )
        .prop_map(|(method, target, lines)| {
            let mut text = format!("{method} {target} HTTP/1.1\r\nHost: a\r\n");
            for line in lines {
                text += &line;
                text += "\r\n";
            }
            text + "\r\n"
        })
}

proptest! {
    #[test]
    fn chunks_say_what_a_slow_reader_says(input in chunks(), piece in 1_usize..9) {
        let read = decoded(&input, input.len().max(1));
        prop_assert_eq!(&read, &decoded(&input, piece));
        prop_assert_eq!(read, model(&input));
    }

    #[test]
    fn a_head_that_is_taken_reads_the_same_elsewhere(text in head()) {
        fuzz::request(text.as_bytes());
        if let Ok(Some((ours, bytes))) = RequestHead::decode(text.as_bytes()) {
            let mut space = [httparse::EMPTY_HEADER; 64];
            let mut theirs = httparse::Request::new(&mut space);
            prop_assert_eq!(theirs.parse(text.as_bytes()), Ok(httparse::Status::Complete(bytes)));
            prop_assert_eq!(theirs.method, Some(ours.method.as_str()));
            prop_assert_eq!(theirs.path, Some(ours.target.as_str()));
            let fields: Vec<_> = ours.fields.iter().map(|field| (field.name.as_str(), field.value.as_slice())).collect();
            let others: Vec<_> = theirs.headers.iter().map(|field| (field.name, field.value)).collect();
            prop_assert_eq!(fields, others);
        }
    }

    #[test]
    fn no_input_makes_a_parser_panic(data in proptest::collection::vec(any::<u8>(), 0..300), text in "[ -~\r\n]{0,200}") {
        for body in [fuzz::request, fuzz::response, fuzz::chunked] {
            body(&data);
            body(text.as_bytes());
        }
        fuzz::request(format!("GET http://a.test/ HTTP/1.1\r\n{text}\r\n\r\n").as_bytes());
        fuzz::response(format!("HTTP/1.1 200 OK\r\n{text}\r\n\r\n").as_bytes());
        fuzz::chunked(format!("5\r\n{text}").as_bytes());
    }
}

#[test]
fn every_prefix_of_chunks_is_incomplete_and_not_wrong() {
    let whole = b"5;a=b\r\nhello\r\n00f\r\n0123456789abcde\r\n0\r\nX: y\r\n\r\n";
    for length in 0..whole.len() {
        let mut body = Body::new(Length::Chunked, false);
        assert!(
            body.advance(&whole[..length], &mut Vec::new()).is_ok(),
            "{length}"
        );
        assert!(!body.has_ended(), "{length}");
    }
    assert_eq!(
        decoded(whole, whole.len()),
        Some((b"hello0123456789abcde".to_vec(), whole.len()))
    );
}

#[test]
fn framing_that_never_ends_is_cut_off() {
    for endless in [
        "0".repeat(300),
        format!("1;{}", "x".repeat(300)),
        format!("0\r\nX: {}", "y".repeat(9000)),
        format!("0\r\n{}", "X: y\r\n".repeat(33)),
    ] {
        let mut body = Body::new(Length::Chunked, false);
        assert!(body.advance(endless.as_bytes(), &mut Vec::new()).is_err());
    }
}

/// However a client's bytes are cut up, the far end and the client get the same.
#[tokio::test(start_paused = true)]
async fn pieces_do_not_matter() {
    let input = "POST http://a.test/1 HTTP/1.1\r\nHost: a.test\r\nTransfer-Encoding: chunked\r\n\r\n\
                 1\r\na\r\n1\r\nb\r\n0\r\n\r\nGET http://a.test/2 HTTP/1.1\r\nHost: a.test\r\n\r\nGET /3 HTTP/1.1\r\n\
                 Host: localhost\r\n\r\nBAD\r\n\r\n";
    let run = async |piece: usize| {
        let ok = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";
        let lab = Lab::new(vec![vec![
            super::lab::Step::Await("0\r\n\r\n"),
            say(ok),
            HEAD,
            say(ok),
        ]]);
        let got = lab.talk_in_pieces(input.as_bytes(), piece).await.got;
        (lab.received(), got)
    };
    let whole = run(usize::MAX).await;
    assert!(whole.1.contains("HTTP/1.1 400 "), "{}", whole.1);
    for piece in (1..12).chain([37, 64]) {
        assert_eq!(run(piece).await, whole, "{piece} bytes at a time");
    }
}
