//! The sequences of section 8 of the D-Bus reference, event by event.

use super::*;
use crate::client::program::Secret;

/// Minor numbers of what was said, major 3 marked.
fn minors(notices: &[Notice]) -> Vec<u32> {
    let statuses = notices.iter().filter_map(|notice| match notice {
        Notice::Status(status) => Some(status),
        Notice::Attention(..) | Notice::Log(..) => None,
    });
    statuses
        .map(|status| {
            let (major, minor, _) = status.parts();
            if major == 3 { 300 + minor } else { minor }
        })
        .collect()
}

fn registered(needs: Vec<Need>) -> Life {
    let mut life = Life::new();
    assert_eq!(minors(&life.register("/c/1", needs))[0], 2);
    life
}

fn provide(life: &mut Life, group: AttentionGroup, id: u32, value: &str) {
    let value = Secret::new(value.to_owned());
    life.queue.provide(1, group as u32, id, value).unwrap();
}

fn up() -> Event {
    Event::Connected(Box::default())
}

fn lost() -> Event {
    Event::Reconnecting {
        auth_failed: false,
        reason: "lost".into(),
    }
}

fn refused() -> Event {
    Event::Reconnecting {
        auth_failed: true,
        reason: "refused".into(),
    }
}

fn run(life: &mut Life, events: impl IntoIterator<Item = Event>) -> Vec<u32> {
    let mut said = Vec::new();
    for event in events {
        said.extend(minors(&life.on_event(event)));
    }
    said
}

#[test]
fn a_connection_that_works() {
    let mut life = registered(Vec::new());
    assert!(life.ready().is_ok());
    let (said, step) = life.connect().unwrap();
    assert_eq!(minors(&said), [2, 6]);
    assert!(matches!(step, Step::Start(_)));
    assert_eq!(run(&mut life, [Event::Connecting, Event::Answered, up()]), [6, 7]);
    // Again changes nothing.
    let (said, step) = life.connect().unwrap();
    assert!(said.is_empty() && matches!(step, Step::Nothing));
    assert_eq!(
        run(&mut life, [lost(), Event::Connecting, Event::Answered, up()]),
        [12, 7]
    );
    let (said, runs) = life.disconnect();
    assert!(runs);
    assert_eq!(minors(&said), [8]);
    assert_eq!(run(&mut life, [Event::Ended(Ended::Done)]), [9]);
    assert_eq!(minors(&life.done()), [16]);
}

#[test]
fn user_name_and_password_are_asked_for_first() {
    let mut life = Life::new();
    let said = life.register("/c/1", vec![Need::UserPassword]);
    assert_eq!(minors(&said), [2, 4]);
    assert!(said.contains(&Notice::Attention(
        AttentionGroup::UserPassword,
        WANTS_LOGIN.into()
    )));
    assert_eq!(life.ready().unwrap_err().to_string(), "Missing user credentials");
    assert!(
        life.connect()
            .unwrap_err()
            .to_string()
            .contains("Required user input")
    );
    provide(&mut life, AttentionGroup::UserPassword, 0, "ann");
    provide(&mut life, AttentionGroup::UserPassword, 1, "secret");
    let (_, step) = life.connect().unwrap();
    let Step::Start(answers) = step else {
        panic!("it starts")
    };
    assert_eq!(answers.user_password.unwrap().0.as_str(), "ann");
    // Wrong ones: it ends there, and leaving says nothing of a connection.
    assert_eq!(
        run(
            &mut life,
            [Event::Answered, Event::Ended(Ended::AuthFailed("no".into()))]
        ),
        [6, 11]
    );
    let (said, runs) = life.disconnect();
    assert_eq!((minors(&said), runs), (vec![8], false));
}

#[test]
fn the_same_credentials_again_show_each_refusal() {
    let mut life = registered(Vec::new());
    let _started = life.connect().unwrap();
    let events = [
        Event::Connecting,
        Event::Answered,
        refused(),
        Event::Connecting,
        Event::Answered,
        refused(),
    ];
    assert_eq!(run(&mut life, events), [6, 11, 6, 6]);
    assert_eq!(
        run(&mut life, [Event::Connecting, Event::Answered, up()]),
        [11, 6, 6, 7]
    );
}

#[test]
fn a_dynamic_challenge_is_answered_by_connecting_again() {
    let mut life = registered(Vec::new());
    let _started = life.connect().unwrap();
    let ask = |id| {
        Event::Question(Question {
            id,
            kind: QuestionKind::Challenge {
                group: AttentionGroup::ChallengeDynamic,
                text: "code?".into(),
                echo: false,
            },
        })
    };
    for id in [7, 8] {
        assert_eq!(
            run(
                &mut life,
                [Event::Connecting, Event::Answered, refused(), ask(id)]
            ),
            [6, 4]
        );
        assert_eq!(life.status().message, "Dynamic Challenge");
        provide(&mut life, AttentionGroup::ChallengeDynamic, 0, &id.to_string());
        assert!(life.provided().is_none());
        let (said, step) = life.connect().unwrap();
        assert_eq!(minors(&said), [2, 6]);
        let Step::Answer(question, Answer::Text(answer)) = step else {
            panic!("it is answered")
        };
        assert_eq!((question, answer.as_str()), (id, id.to_string().as_str()));
    }
}

#[test]
fn what_the_server_asks_while_it_decides_is_answered_at_once() {
    let mut life = registered(Vec::new());
    let _started = life.connect().unwrap();
    let ask = Event::Question(Question {
        id: 3,
        kind: QuestionKind::Challenge {
            group: AttentionGroup::ChallengeAuthPending,
            text: "PIN".into(),
            echo: true,
        },
    });
    assert_eq!(run(&mut life, [Event::Answered, ask]), [6, 4]);
    provide(&mut life, AttentionGroup::ChallengeAuthPending, 0, "1");
    assert!(matches!(life.provided(), Some((3, Answer::Text(_)))));
    let (said, step) = life.connect().unwrap();
    assert!(matches!(step, Step::Nothing));
    assert_eq!(minors(&said), [6], "nobody is asked any more");
    assert_eq!(run(&mut life, [Event::QuestionGone(3), up()]), [7]);
}

#[test]
fn a_page_to_open_is_a_status_of_the_session() {
    let mut life = registered(Vec::new());
    let _started = life.connect().unwrap();
    let url = Question {
        id: 1,
        kind: QuestionKind::OpenUrl("https://x/".into()),
    };
    assert_eq!(run(&mut life, [Event::Question(url)]), [322]);
    assert_eq!(
        life.ready().unwrap_err().to_string(),
        "Pending web authentication"
    );
    assert_eq!(run(&mut life, [Event::QuestionGone(1), up()]), [7]);
    assert!(life.ready().is_ok());
}

#[test]
fn pause_resume_and_restart() {
    let mut life = registered(Vec::new());
    assert!(life.pause("x").is_err());
    let _started = life.connect().unwrap();
    assert_eq!(run(&mut life, [up()]), [7]);
    let said = life.pause("lunch").unwrap();
    assert_eq!(minors(&said), [13]);
    assert_eq!(life.status().message, "Reason: lunch");
    assert_eq!(run(&mut life, [lost(), Event::Paused]), [14]);
    assert_eq!(
        life.pause("x").unwrap_err().to_string(),
        "Connection is already paused"
    );
    assert_eq!(minors(&life.resume().unwrap()), [15, 12]);
    assert_eq!(life.resume().unwrap_err().to_string(), "Connection is not paused");
    assert_eq!(run(&mut life, [Event::Connecting, Event::Answered, up()]), [7]);
    assert_eq!(minors(&life.restart().unwrap()), [12]);
    assert_eq!(run(&mut life, [lost(), up()]), [12, 7]);
}

#[test]
fn failures_and_too_little_traffic_have_their_own_words() {
    for (ended, minor, text) in [
        (Ended::Failed("why".into()), 10, "why"),
        (Ended::WrongPassphrase, 10, "PEM_PASSWORD_FAIL"),
        (Ended::Inactive, 16, "Inactive tunnel, disconnected"),
        (Ended::Done, 9, ""),
    ] {
        let mut life = registered(Vec::new());
        let _started = life.connect().unwrap();
        assert_eq!(run(&mut life, [Event::Ended(ended)]), [minor]);
        assert!(life.status().message.starts_with(text), "{:?}", life.status());
    }
}
