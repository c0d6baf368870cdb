//! The calls of the known front ends in their orders, through whole lives of sessions, by an independent implementation
//! of D-Bus.

use super::{ANN, Services};
use crate::server::{Login, Options};

#[test]
fn the_calls_of_every_known_front_end_lead_where_it_wants() {
    let options = Options {
        login: Login::Both,
        ..Options::default()
    };
    let services = Services::start("dbus-front", options);
    services
        .net
        .write("profile.ovpn", &services.server.profile("auth-user-pass\n"));
    for front_end in ["command_line", "openvpn2", "autoload", "indicator", "helper"] {
        services.scenario("front_ends.py", front_end, &[&ANN.to_string()]);
    }
    services.no_client_is_left();
}
