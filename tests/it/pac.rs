//! The PAC file run by a real script engine (Debian's `nodejs`): which hosts go through the proxy.

use std::process::Command;
use std::time::Duration;

use tunless_proxy::rules::{
    Rules,
    pac::{Facts, file},
};

use crate::process::finish;

const PROXY: &str = "PROXY 127.0.0.1:1080";
const DIRECT: &str = "DIRECT";

/// What a browser has for scripts that resolve names: here they end the test.
const TRAPS: &str = "for (const name of ['dnsResolve', 'isInNet', 'isResolvable', 'myIpAddress', 'alert']) {\n  \
    globalThis[name] = () => { throw new Error('the script called ' + name); };\n}\n";

/// The decisions of the file made of `rules` and `facts`, host by host.
fn decide(rules: &str, facts: Option<&Facts>, hosts: &[&str]) -> Vec<String> {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let parsed = rules.split_whitespace().map(|rule| rule.parse().expect("a rule"));
    let rules = Rules::new(parsed.collect()).expect("few rules");
    let hosts = serde_json::to_string(hosts).expect("JSON");
    let program = format!(
        "{TRAPS}{}\nfor (const host of {hosts}) {{ console.log(FindProxyForURL('http://host/', host)); }}\n",
        file(&rules, facts, "127.0.0.1:1080")
    );
    let path = dir.path().join("pac.js");
    std::fs::write(&path, program).expect("the script");
    let run = finish(
        dir.path(),
        "nodejs",
        Command::new("nodejs").arg(path),
        Duration::from_secs(30),
    );
    assert_eq!(run.status, Some(0), "{}", run.stderr);
    run.stdout.lines().map(str::to_owned).collect()
}

fn check(rules: &str, facts: Option<&Facts>, table: &[(&str, &str)]) {
    let hosts: Vec<_> = table.iter().map(|(host, _)| *host).collect();
    let decided = decide(rules, facts, &hosts);
    assert_eq!(decided.len(), table.len());
    for ((host, wanted), got) in table.iter().zip(&decided) {
        assert_eq!(got, wanted, "{host:?}");
    }
}

fn split_tunnel() -> Facts {
    Facts {
        is_default_route: false,
        networks: [
            "10.88.0.0/24",
            "172.16.0.0/12",
            "200.0.0.1/32",
            "fd88::/64",
            "2001:db8:8000::/33",
        ]
        .map(|net| net.parse().expect("a network"))
        .to_vec(),
        domains: vec!["Corp.Example".into(), "inner.test.".into()],
    }
}

#[test]
fn what_the_server_pushed_goes_through_and_the_rest_directly() {
    check(
        "",
        Some(&split_tunnel()),
        &[
            ("corp.example", PROXY),
            ("CORP.example", PROXY),
            ("corp.example.", PROXY),
            ("www.Corp.Example.", PROXY),
            ("notcorp.example", DIRECT),
            ("corp.example.evil.test", DIRECT),
            ("example", PROXY),
            ("intranet", PROXY),
            ("www.example.org", DIRECT),
            ("10.88.0.2", PROXY),
            ("10.88.0.255", PROXY),
            ("10.88.1.0", DIRECT),
            ("10.87.255.255", DIRECT),
            ("172.31.255.255", PROXY),
            ("172.32.0.0", DIRECT),
            ("200.0.0.1", PROXY),
            ("200.0.0.2", DIRECT),
            ("10.88.0.2.evil.test", DIRECT),
            ("fd88::2", PROXY),
            ("[FD88::2]", PROXY),
            ("fd88:0:0:0:ffff::", PROXY),
            ("fd88:0:0:1::2", DIRECT),
            ("2001:db8:8000::1", PROXY),
            ("2001:db8:7fff::1", DIRECT),
            ("::ffff:10.88.0.2", PROXY),
            ("::ffff:a58:2", PROXY),
            ("::ffff:8.8.8.8", DIRECT),
            ("fd88::2%eth0", PROXY),
        ],
    );
}

#[test]
fn this_host_is_never_proxied_and_addresses_in_disguise_always_are() {
    let table = [
        ("localhost", DIRECT),
        ("LOCALHOST.", DIRECT),
        ("web.localhost", DIRECT),
        ("127.0.0.1", DIRECT),
        ("127.255.255.254", DIRECT),
        ("::1", DIRECT),
        ("[::1]", DIRECT),
        ("0:0:0:0:0:0:0:1", DIRECT),
        ("::ffff:127.0.0.1", DIRECT),
        ("notlocalhost", PROXY),
        ("localhost.evil.test", PROXY),
        ("128.0.0.1", PROXY),
        ("::2", PROXY),
    ];
    check("", None, &table);
    check("*=tunnel", Some(&split_tunnel()), &table);
    let disguised = [
        ("127.1", PROXY),
        ("010.88.0.2", PROXY),
        ("2130706433", PROXY),
        ("0x7f.0.0.1", PROXY),
        ("0x7f000001", PROXY),
        ("1.2.3.256", PROXY),
        ("", PROXY),
    ];
    check("", Some(&split_tunnel()), &disguised);
    check("*=direct", Some(&split_tunnel()), &disguised);
}

#[test]
fn the_users_rules_come_first_and_refused_targets_go_to_the_proxy_that_refuses() {
    check(
        "=www.corp.example=direct .ads.test=refuse 10.88.0.0/28=direct fd88::/120=direct 8.0.0.0/7=tunnel",
        Some(&split_tunnel()),
        &[
            ("www.corp.example", DIRECT),
            ("WWW.CORP.EXAMPLE.", DIRECT),
            ("a.www.corp.example", PROXY),
            ("corp.example", PROXY),
            ("ads.test", DIRECT),
            ("x.ads.test", PROXY),
            ("10.88.0.15", DIRECT),
            ("10.88.0.16", PROXY),
            ("fd88::ff", DIRECT),
            ("fd88::100", PROXY),
            ("8.8.8.8", PROXY),
            ("9.255.255.255", PROXY),
            ("7.255.255.255", DIRECT),
        ],
    );
}

#[test]
fn everything_goes_through_with_a_default_route_and_before_the_first_connection() {
    let redirected = Facts {
        is_default_route: true,
        ..Facts::default()
    };
    for facts in [None, Some(&redirected)] {
        check(
            "printer.test=direct",
            facts,
            &[
                ("www.example.org", PROXY),
                ("192.168.0.1", PROXY),
                ("fe80::1", PROXY),
                ("intranet", PROXY),
                ("printer.test", DIRECT),
            ],
        );
    }
}

#[test]
fn without_search_domains_plain_names_stay_outside() {
    let facts = Facts {
        networks: vec!["10.88.0.0/24".parse().expect("a network")],
        ..Facts::default()
    };
    check(
        "",
        Some(&facts),
        &[
            ("printer", DIRECT),
            ("10.88.0.2", PROXY),
            ("www.example.org", DIRECT),
        ],
    );
}

#[test]
fn what_a_server_pushes_never_becomes_code() {
    let facts = Facts {
        domains: vec![
            "\"]];throw 1;//".into(),
            "</script>".into(),
            "a\\\"b".into(),
            "good.test".into(),
            "*.star.test".into(),
        ],
        ..Facts::default()
    };
    check(
        "",
        Some(&facts),
        &[
            ("x.good.test", PROXY),
            ("x.star.test", PROXY),
            ("www.example.org", DIRECT),
        ],
    );
}
