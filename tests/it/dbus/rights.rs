//! Who may do what, under the shipped policy: two users, root and the services' own; and callers who mean no good.

use super::{ANN, BOB, Services};
use crate::server::Options;

#[test]
fn sessions_are_their_owner_s_and_those_he_lets_in() {
    let services = Services::start("dbus-rights", Options::default());
    let (ann, bob) = (ANN.to_string(), BOB.to_string());
    services.scenario("rights.py", "sessions", &[&ann, &bob]);
    services.scenario("rights.py", "profiles", &[&ann, &bob]);
    services.scenario("rights.py", "policy", &[&ann]);
}

#[test]
fn callers_who_mean_no_good_harm_nobody_else() {
    let mut services = Services::start("dbus-hostile", Options::default());
    let before = services.all.log();
    let (ann, bob) = (ANN.to_string(), BOB.to_string());
    services.scenario("rights.py", "hostile", &[&ann, &bob]);
    assert!(services.all.is_running());
    let log = services.all.log();
    let since = &log[before.len()..];
    assert!(
        !since.contains("started anew") && !since.contains("panicked"),
        "{since}"
    );
}
