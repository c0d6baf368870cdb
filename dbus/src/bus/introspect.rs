//! Introspection: an object's interfaces and the nodes below its path, as XML.

use std::{collections::BTreeSet, fmt::Write as _};

use super::interface::{Arg, INTROSPECTABLE, Interface, PEER, PROPERTIES};

const DOCTYPE: &str = "<!DOCTYPE node PUBLIC \"-//freedesktop//DTD D-BUS Object Introspection 1.0//EN\"\n\
    \"http://www.freedesktop.org/standards/dbus/1.0/introspect.dtd\">\n";

/// Describes `path`: its `interfaces`, none where there is no object, and which of `paths` lie below it.
pub(super) fn describe(path: &str, interfaces: &[&'static Interface], paths: &[String]) -> String {
    let mut xml = format!("{DOCTYPE}<node>\n");
    if !interfaces.is_empty() {
        for interface in [&PROPERTIES, &INTROSPECTABLE, &PEER]
            .into_iter()
            .chain(interfaces.iter().copied())
        {
            describe_interface(&mut xml, interface);
        }
    }
    for child in children(path, paths) {
        line(&mut xml, 2, &format!("<node name=\"{child}\"/>"));
    }
    xml.push_str("</node>\n");
    xml
}

/// The next element of every path below `path`.
fn children<'a>(path: &str, paths: &'a [String]) -> BTreeSet<&'a str> {
    let prefix = if path == "/" { "" } else { path };
    let below = paths
        .iter()
        .filter_map(|other| other.strip_prefix(prefix)?.strip_prefix('/'));
    below
        .filter_map(|rest| rest.split('/').next())
        .filter(|name| !name.is_empty())
        .collect()
}

fn describe_interface(xml: &mut String, interface: &Interface) {
    line(xml, 2, &format!("<interface name=\"{}\">", interface.name));
    for method in interface.methods {
        line(xml, 4, &format!("<method name=\"{}\">", method.name));
        args(xml, method.inputs, " direction=\"in\"");
        args(xml, method.outputs, " direction=\"out\"");
        line(xml, 4, "</method>");
    }
    for signal in interface.signals {
        line(xml, 4, &format!("<signal name=\"{}\">", signal.name));
        args(xml, signal.args, "");
        line(xml, 4, "</signal>");
    }
    for property in interface.properties {
        let access = if property.writable { "readwrite" } else { "read" };
        let text = format!(
            "<property type=\"{}\" name=\"{}\" access=\"{access}\"/>",
            property.signature, property.name
        );
        line(xml, 4, &text);
    }
    line(xml, 2, "</interface>");
}

fn args(xml: &mut String, args: &[Arg], direction: &str) {
    for (name, signature) in args {
        line(
            xml,
            6,
            &format!("<arg type=\"{signature}\" name=\"{name}\"{direction}/>"),
        );
    }
}

fn line(xml: &mut String, indent: usize, text: &str) {
    // Writing to a string cannot fail.
    let _written = writeln!(xml, "{:indent$}{text}", "");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nodes_on_the_way_to_an_object_are_listed_once() {
        let paths: Vec<String> = [
            "/net/openvpn/v3/log",
            "/net/openvpn/v3/log/proxy/a",
            "/net/openvpn/v3/log/proxy/b",
        ]
        .map(String::from)
        .into();
        assert_eq!(children("/", &paths).into_iter().collect::<Vec<_>>(), ["net"]);
        assert_eq!(
            children("/net/openvpn/v3", &paths)
                .into_iter()
                .collect::<Vec<_>>(),
            ["log"]
        );
        let below: Vec<_> = children("/net/openvpn/v3/log/proxy", &paths)
            .into_iter()
            .collect();
        assert_eq!(below, ["a", "b"]);
        assert!(children("/net/openvpn/v3/lo", &paths).is_empty());
    }

    #[test]
    fn a_path_without_an_object_shows_nothing_but_nodes() {
        let xml = describe("/net", &[], &["/net/openvpn".to_owned()]);
        assert!(
            xml.contains("<node name=\"openvpn\"/>") && !xml.contains("<interface"),
            "{xml}"
        );
        let xml = describe("/net/openvpn", &[&PEER], &[]);
        assert!(xml.contains("<method name=\"Ping\">"), "{xml}");
    }
}
