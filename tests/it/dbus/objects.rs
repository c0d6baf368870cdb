//! What introspection shows, and that what is not there answers as front ends expect.

use super::{ANN, Services};
use crate::server::Options;

#[test]
fn every_object_has_the_members_and_types_that_the_api_s_documents_list() {
    let services = Services::start("dbus-objects", Options::default());
    services.scenario("objects.py", "objects", &[&ANN.to_string()]);
}
