//! Several requests on a connection, what is kept, what is tried again, and what ends it.

use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::lab::{HEAD, Handed, Lab, Step, say};
use crate::connect::ConnectError;

const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

fn get(host: &str, path: &str) -> String {
    format!("GET http://{host}/{path} HTTP/1.1\r\nHost: {host}\r\n\r\n")
}

fn statuses(got: &str) -> Vec<&str> {
    got.split("HTTP/1.1 ")
        .skip(1)
        .map(|answer| &answer[..3])
        .collect()
}

async fn until(done: impl Fn() -> bool) {
    for _ in 0..100_000 {
        if done() {
            return;
        }
        tokio::task::yield_now().await;
    }
    panic!("does not come to pass");
}

#[tokio::test(start_paused = true)]
async fn requests_wait_their_turn_and_share_the_connection_to_the_same_place() {
    for piece in [1, 7, usize::MAX] {
        let lab = Lab::new(vec![
            vec![HEAD, say(OK), HEAD, say(OK), HEAD, say(OK)],
            vec![HEAD, say(OK)],
            vec![HEAD, say(OK)],
        ]);
        let input = [
            get("a.test", "1"),
            // Old clients end a body with an empty line.
            "\r\n".to_owned(),
            get("a.test", "2"),
            get("b.test:81", "4"),
            get("a.test", "5"),
        ];
        let talk = lab.talk_in_pieces(input.concat().as_bytes(), piece).await;
        assert_eq!(statuses(&talk.got), ["200"; 4], "{}", talk.got);
        let targets: Vec<_> = lab.seen().into_iter().map(|seen| seen.target).collect();
        assert_eq!(targets, ["a.test:80", "b.test:81", "a.test:80"]);
        let received = lab.received();
        assert_eq!(received[0].matches("GET /").count(), 2, "{received:?}");
        let counts = lab.settings.stats.snapshot();
        assert_eq!((counts.http_plain, counts.opened, counts.failed), (4, 3, 0));
        assert_eq!(lab.settings.connections.count(), 0, "nothing is left behind");
    }
}

#[tokio::test(start_paused = true)]
async fn a_tunnel_may_follow_plain_requests() {
    let lab = Lab::new(vec![vec![HEAD, say(OK)]]);
    let talk = lab
        .talk(get("a.test", "1") + "CONNECT b.test:443 HTTP/1.1\r\nHost: b.test:443\r\n\r\nearly")
        .await;
    assert_eq!(statuses(&talk.got), ["200"]);
    let Handed { request, early } = talk.connect.unwrap();
    assert_eq!(
        (request.target.to_string(), &early[..]),
        ("b.test:443".to_owned(), &b"early"[..])
    );
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_either_side_ends_is_not_used_again() {
    for response in [
        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok",
        "HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok",
        // A byte too many is the start of somebody's next response.
        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok!",
        "HTTP/1.1 204 No Content\r\nContent-Length: 2\r\n\r\n",
    ] {
        let lab = Lab::new(vec![vec![HEAD, say(response)], vec![HEAD, say(OK)]]);
        let got = lab.talk(get("a.test", "1") + &get("a.test", "2")).await.got;
        assert_eq!(lab.received().len(), 2, "{response:?}");
        assert!(got.ends_with("\r\n\r\nok"), "{response:?}: {got}");
    }
    let kept = "HTTP/1.0 200 OK\r\nContent-Length: 2\r\nConnection: keep-alive\r\n\r\nok";
    let lab = Lab::new(vec![vec![HEAD, say(kept), HEAD, say(kept)]]);
    let got = lab.talk(get("a.test", "1") + &get("a.test", "2")).await.got;
    assert_eq!((statuses(&got).len(), lab.received().len()), (2, 1));
}

#[tokio::test(start_paused = true)]
async fn what_can_be_done_twice_is_asked_again_once_where_a_kept_connection_has_ended() {
    let post = "POST http://a.test/ HTTP/1.1\r\nHost: a.test\r\n\r\n";
    let put = "PUT http://a.test/ HTTP/1.1\r\nHost: a.test\r\nContent-Length: 1\r\n\r\n1";
    for (second, wanted, connections) in [
        (get("a.test", "2"), ["200", "200"], 2),
        (post.to_owned(), ["200", "502"], 1),
        (put.to_owned(), ["200", "502"], 1),
    ] {
        for last in [Step::End, Step::Reset] {
            // It ends when the second request has arrived, so the proxy could not have known.
            let end = if second == put { Step::Await("1") } else { HEAD };
            let lab = Lab::new(vec![vec![HEAD, say(OK), end, last.clone()], vec![HEAD, say(OK)]]);
            let got = lab.talk(get("a.test", "1") + &second).await.got;
            assert_eq!(statuses(&got), wanted, "{second:?} {last:?}: {got}");
            assert_eq!(lab.received().len(), connections, "{second:?}");
        }
    }
    let gone = vec![HEAD, Step::End];
    let lab = Lab::new(vec![vec![HEAD, say(OK), HEAD, Step::End], gone.clone(), gone]);
    let got = lab.talk(get("a.test", "1") + &get("a.test", "2")).await.got;
    assert_eq!(
        (statuses(&got), lab.received().len()),
        (vec!["200", "502"], 2),
        "not for ever"
    );
    assert!(got.contains("error=http_response_incomplete"), "{got}");
}

#[tokio::test(start_paused = true)]
async fn a_body_goes_up_while_the_answer_comes_down() {
    let lab = Lab::new(vec![vec![
        HEAD,
        say("HTTP/1.1 100 Continue\r\n\r\n"),
        Step::Await("0\r\n\r\n"),
        say(OK),
    ]]);
    let (mut client, _serving) = lab.start();
    let head = "POST http://a.test/ HTTP/1.1\r\nHost: a.test\r\nExpect: 100-continue\r\nTransfer-Encoding: chunked\r\n\r\n";
    client.write_all(head.as_bytes()).await.unwrap();
    let mut interim = vec![0; "HTTP/1.1 100 Continue\r\nVia: 1.1 tunless\r\n\r\n".len()];
    client.read_exact(&mut interim).await.unwrap();
    assert!(interim.ends_with(b"tunless\r\n\r\n"));
    client.write_all(b"3\r\nabc\r\n0\r\n\r\n").await.unwrap();
    let mut got = String::new();
    client.read_to_string(&mut got).await.unwrap();
    assert!(got.starts_with("HTTP/1.1 200 OK\r\n"), "{got}");
}

#[tokio::test(start_paused = true)]
async fn an_answer_before_the_end_of_its_request_is_the_connection_s_last() {
    let early = "HTTP/1.1 413 Content Too Large\r\nContent-Length: 2\r\n\r\nno";
    let lab = Lab::new(vec![vec![HEAD, say(early)]]);
    let head = "POST http://a.test/ HTTP/1.1\r\nHost: a.test\r\nContent-Length: 100\r\n\r\nonly a part";
    let got = lab.talk(head).await.got;
    assert!(
        got.starts_with("HTTP/1.1 413 Content Too Large\r\nContent-Length: 2\r\nConnection: close\r\n"),
        "{got}"
    );
    assert!(got.ends_with("\r\n\r\nno"), "{got}");
}

#[tokio::test(start_paused = true)]
async fn bodies_of_any_size_pass_whole_in_both_directions() {
    let big: String = ('a'..='z').cycle().take(3_000_000).collect();
    let response = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{big}", big.len());
    let lab = Lab::new(vec![vec![
        HEAD,
        Step::Await("xyz!"),
        Step::Say(response.into_bytes()),
    ]]);
    let body = format!("{}xyz!", &big[..500_000]);
    let head = format!(
        "POST http://a.test/ HTTP/1.1\r\nHost: a.test\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    let got = lab.talk(head + &body).await.got;
    assert!(got.ends_with(&format!("\r\n\r\n{big}")), "{} bytes", got.len());
    assert!(lab.received()[0].ends_with(&format!("\r\n\r\n{body}")));
}

#[tokio::test(start_paused = true)]
async fn a_far_end_does_not_fill_the_proxy_s_memory() {
    let lab = Lab::new(vec![vec![
        HEAD,
        Step::Say([&b"HTTP/1.1 200 OK\r\n\r\n"[..], &vec![7; 8_000_000]].concat()),
        Step::Await("said it all"),
    ]]);
    let (mut client, serving) = lab.start();
    client.write_all(get("a.test", "").as_bytes()).await.unwrap();
    let mut start = [0; 1000];
    client.read_exact(&mut start).await.unwrap();
    // The client stops reading; what is under way is what sockets and one buffer hold, so nothing moves any more.
    for _ in 0..1000 {
        tokio::task::yield_now().await;
    }
    assert!(!serving.is_finished());
    drop(client);
    assert!(serving.await.unwrap().is_none(), "and its going ends everything");
}

#[tokio::test(start_paused = true)]
async fn a_changed_protocol_is_a_tunnel_with_two_ends() {
    let switch = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: x\r\n\r\nhello";
    let lab = Lab::new(vec![vec![
        HEAD,
        say(switch),
        Step::Await("bye"),
        say("bye too"),
        Step::End,
    ]]);
    let (mut client, serving) = lab.start();
    let head = "GET http://a.test/ HTTP/1.1\r\nHost: a.test\r\nConnection: keep-alive, Upgrade\r\nUpgrade: h2c, websocket\r\nSec-WebSocket-Key: k\r\n\r\n";
    client
        .write_all(format!("{head}early, ").as_bytes())
        .await
        .unwrap();
    let wanted = "HTTP/1.1 101 Switching Protocols\r\nSec-WebSocket-Accept: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nVia: 1.1 tunless\r\n\r\nhello";
    let mut got = vec![0; wanted.len()];
    client.read_exact(&mut got).await.unwrap();
    assert_eq!(String::from_utf8(got).unwrap(), wanted);
    client.write_all(b"bye").await.unwrap();
    let mut rest = String::new();
    client.read_to_string(&mut rest).await.unwrap();
    assert_eq!(rest, "bye too");
    assert!(!serving.is_finished(), "the client's direction is still open");
    client.write_all(b" and the last word").await.unwrap();
    client.shutdown().await.unwrap();
    assert!(serving.await.unwrap().is_none());
    until(|| lab.received()[0].ends_with("word")).await;
    assert_eq!(
        lab.received(),
        [
            "GET / HTTP/1.1\r\nHost: a.test\r\nSec-WebSocket-Key: k\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nVia: 1.1 tunless\r\n\r\nearly, bye and the last word"
        ]
    );
}

#[tokio::test(start_paused = true)]
async fn without_the_change_it_goes_on_as_before() {
    let lab = Lab::new(vec![vec![HEAD, say(OK), HEAD, say(OK)]]);
    let ask =
        "GET http://a.test/ HTTP/1.1\r\nHost: a.test\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n";
    let got = lab.talk(ask.to_owned() + &get("a.test", "2")).await.got;
    assert_eq!((statuses(&got).len(), lab.received().len()), (2, 1));
}

#[tokio::test(start_paused = true)]
async fn a_request_that_goes_no_further_is_answered_here_without_secrets() {
    let lab = Lab::default();
    let trace = "TRACE http://a.test/ HTTP/1.1\r\nHost: a.test\r\nMax-Forwards: 0\r\nCookie: secret\r\nAuthorization: secret\r\nX: y\r\n\r\n";
    let options = "OPTIONS http://a.test/ HTTP/1.1\r\nHost: a.test\r\nMax-Forwards: 0\r\n\r\n";
    let got = lab.talk(trace.to_owned() + options).await.got;
    assert_eq!(statuses(&got)[0], "200");
    assert!(
        got.contains("Content-Type: message/http\r\n") && got.contains("X: y\r\n\r\n"),
        "{got}"
    );
    assert!(!got.contains("secret") && got.contains("\r\nAllow: "), "{got}");
    assert!(lab.received().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_place_that_cannot_be_reached_costs_no_connection() {
    let mut lab = Lab::default();
    lab.failure = Some(ConnectError::NameNotFound);
    let post = "POST http://a.test/ HTTP/1.1\r\nHost: a.test\r\nContent-Length: 4\r\n\r\nGET ";
    let got = lab.talk(get("a.test", "") + post + &get("a.test", "")).await.got;
    assert_eq!(statuses(&got), ["502"; 3], "{got}");
    assert!(got.contains("Proxy-Status: tunless; error=dns_error"), "{got}");
    assert!(got.contains("check the spelling"), "{got}");
    assert_eq!(lab.settings.stats.snapshot().failed, 3);
}

#[tokio::test(start_paused = true)]
async fn a_reset_without_an_answer_is_told_as_such() {
    let lab = Lab::new(vec![vec![HEAD, Step::Reset]]);
    let got = lab.talk(get("a.test", "")).await.got;
    assert!(
        got.contains("Proxy-Status: tunless; error=connection_terminated"),
        "{got}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_client_that_goes_ends_what_it_asked_for() {
    let lab = Lab::new(vec![vec![HEAD]]);
    let (mut client, serving) = lab.start();
    client.write_all(get("a.test", "").as_bytes()).await.unwrap();
    until(|| {
        lab.received()
            .first()
            .is_some_and(|got| got.ends_with("\r\n\r\n"))
    })
    .await;
    assert_eq!(lab.settings.connections.list()[0].target, "a.test:80");
    drop(client);
    assert!(serving.await.unwrap().is_none());
    assert_eq!(lab.settings.connections.count(), 0);
}

/// What `nc -N` sees: it ends its direction right behind its request.
async fn ask_and_end(lab: &Lab, request: &str) -> String {
    let (mut client, serving) = lab.start();
    client.write_all(request.as_bytes()).await.unwrap();
    client.shutdown().await.unwrap();
    let mut got = String::new();
    client.read_to_string(&mut got).await.unwrap();
    assert!(serving.await.unwrap().is_none());
    assert_eq!(lab.settings.connections.count(), 0, "nothing is left behind");
    got
}

/// Gives a far end's answer time: the client has ended long before.
fn after_a_while(response: &[&str]) -> Vec<Step> {
    let pause = Step::Pause(Duration::from_secs(5));
    let said = response.iter().flat_map(|part| [pause.clone(), say(part)]);
    [HEAD].into_iter().chain(said).collect()
}

#[tokio::test(start_paused = true)]
async fn a_client_that_ends_its_direction_behind_its_request_gets_the_whole_response() {
    let head = "HTTP/1.1 200 OK\r\n";
    let length = format!("{head}Content-Length: 10\r\n\r\nfirst");
    let chunked = format!("{head}Transfer-Encoding: chunked\r\n\r\n5\r\nfirst\r\n");
    let until_close = format!("{head}\r\nfirst");
    let in_chunks = "\r\n\r\n5\r\nfirst\r\n5\r\n last\r\n0\r\n\r\n";
    for (parts, ends, body) in [
        ([length.as_str(), " last"], false, "\r\n\r\nfirst last"),
        ([chunked.as_str(), "5\r\n last\r\n0\r\n\r\n"], false, in_chunks),
        ([until_close.as_str(), " last"], true, in_chunks),
    ] {
        for request in [
            get("a.test", ""),
            "POST http://a.test/ HTTP/1.1\r\nHost: a.test\r\nContent-Length: 4\r\n\r\n\r\n\r\n".to_owned(),
        ] {
            let mut script = after_a_while(&parts);
            if ends {
                script.push(Step::End);
            }
            let lab = Lab::new(vec![script]);
            let got = ask_and_end(&lab, &request).await;
            assert!(got.ends_with(body), "{parts:?}: {got}");
            assert!(got.contains("\r\nConnection: close\r\n"), "{got}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn every_request_before_the_client_s_end_is_answered() {
    let slow = [after_a_while(&[OK]), after_a_while(&[OK])].concat();
    let lab = Lab::new(vec![slow]);
    let got = ask_and_end(&lab, &(get("a.test", "1") + &get("a.test", "2"))).await;
    assert_eq!(statuses(&got), ["200", "200"], "{got}");
    assert_eq!(got.matches("Connection: close").count(), 1, "{got}");
}

#[tokio::test(start_paused = true)]
async fn a_request_whose_body_ends_too_early_is_not_answered() {
    let lab = Lab::new(vec![after_a_while(&[OK])]);
    let post = "POST http://a.test/ HTTP/1.1\r\nHost: a.test\r\nContent-Length: 5\r\n\r\nhalf";
    assert_eq!(ask_and_end(&lab, post).await, "");
}

#[tokio::test(start_paused = true)]
async fn a_client_that_ends_its_direction_and_goes_later_ends_what_it_asked_for() {
    let lab = Lab::new(vec![vec![HEAD]]);
    let (mut client, serving) = lab.start();
    client.write_all(get("a.test", "").as_bytes()).await.unwrap();
    client.shutdown().await.unwrap();
    tokio::time::sleep(Duration::from_secs(30)).await;
    assert_eq!(lab.settings.connections.count(), 1, "it waits");
    let went = tokio::time::Instant::now();
    drop(client);
    assert!(serving.await.unwrap().is_none());
    assert!(went.elapsed() <= Duration::from_secs(2), "{:?}", went.elapsed());
    assert_eq!(lab.settings.connections.count(), 0);
}

#[tokio::test(start_paused = true)]
async fn an_end_while_the_far_end_is_being_reached_is_no_reason_to_give_up() {
    let mut lab = Lab::new(vec![vec![HEAD, say(OK)]]);
    lab.slowness = Duration::from_secs(5);
    let got = ask_and_end(&lab, &get("a.test", "")).await;
    assert_eq!(statuses(&got), ["200"], "{got}");

    let (mut client, serving) = lab.start();
    client.write_all(get("b.test", "").as_bytes()).await.unwrap();
    drop(client);
    assert!(serving.await.unwrap().is_none());
    let counts = lab.settings.stats.snapshot();
    assert_eq!((counts.opened, counts.failed), (1, 0), "the second was given up");
}

#[tokio::test]
async fn over_tcp_an_end_is_told_from_a_closed_socket() {
    let pause = Step::Pause(Duration::from_millis(300));
    let lab = Lab::new(vec![vec![HEAD, pause, say(OK)], vec![HEAD]]);
    let (mut client, serving) = lab.start_tcp().await;
    client.write_all(get("a.test", "").as_bytes()).await.unwrap();
    client.shutdown().await.unwrap();
    let mut got = String::new();
    client.read_to_string(&mut got).await.unwrap();
    assert!(got.ends_with("\r\n\r\nok"), "{got}");
    assert!(serving.await.unwrap().is_none());

    let (mut client, serving) = lab.start_tcp().await;
    client.write_all(get("b.test", "").as_bytes()).await.unwrap();
    drop(client);
    assert!(serving.await.unwrap().is_none());
    assert_eq!(lab.settings.connections.count(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_listed_connection_can_be_closed() {
    let lab = Lab::new(vec![vec![HEAD]]);
    let (mut client, serving) = lab.start();
    client.write_all(get("a.test", "").as_bytes()).await.unwrap();
    until(|| {
        lab.received()
            .first()
            .is_some_and(|got| got.ends_with("\r\n\r\n"))
    })
    .await;
    let listed = lab.settings.connections.list();
    assert!(listed[0].is_open && listed[0].client == "client");
    assert!(lab.settings.connections.close(listed[0].id));
    assert!(serving.await.unwrap().is_none());
    let mut got = Vec::new();
    client.read_to_end(&mut got).await.unwrap();
    assert_eq!(got, b"");
}

#[tokio::test(start_paused = true)]
async fn silence_between_requests_has_a_limit_on_both_sides() {
    let lab = Lab::new(vec![vec![HEAD, say(OK)]]);
    let began = tokio::time::Instant::now();
    let (mut client, serving) = lab.start();
    client.write_all(get("a.test", "").as_bytes()).await.unwrap();
    let mut got = [0; 58];
    client.read_exact(&mut got).await.unwrap();
    tokio::time::sleep(Duration::from_secs(20)).await;
    assert_eq!(lab.settings.connections.count(), 0, "the far end's goes first");
    assert!(serving.await.unwrap().is_none());
    let took = began.elapsed();
    assert!(
        took >= Duration::from_mins(1) && took < Duration::from_secs(70),
        "{took:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_later_head_that_never_ends_is_told_so() {
    let lab = Lab::new(vec![vec![HEAD, say(OK)]]);
    let got = lab.talk(get("a.test", "") + "GET http://a.test/").await.got;
    assert_eq!(statuses(&got), ["200", "408"], "{got}");
    assert_eq!(lab.settings.stats.snapshot().head_timeouts, 1);
}

#[tokio::test(start_paused = true)]
async fn shutdown_lets_the_current_request_end_and_takes_no_other() {
    let lab = Lab::new(vec![vec![HEAD, Step::Await("go"), say(OK)]]);
    let (mut client, serving) = lab.start();
    let post = "POST http://a.test/ HTTP/1.1\r\nHost: a.test\r\nContent-Length: 2\r\n\r\n";
    client.write_all(post.as_bytes()).await.unwrap();
    until(|| {
        lab.received()
            .first()
            .is_some_and(|got| got.ends_with("\r\n\r\n"))
    })
    .await;
    lab.shutdown.cancel();
    client.write_all(b"go").await.unwrap();
    client.write_all(get("a.test", "2").as_bytes()).await.unwrap();
    let mut got = String::new();
    client.read_to_string(&mut got).await.unwrap();
    assert_eq!(statuses(&got), ["200"], "{got}");
    assert!(got.contains("\r\nConnection: close\r\n"), "{got}");
    drop(client);
    assert!(serving.await.unwrap().is_none());
}
