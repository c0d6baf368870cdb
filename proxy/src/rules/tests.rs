//! Rules from their text to what they decide.

use super::*;

fn rules(text: &str) -> Rules {
    let parsed = text.split_whitespace().map(|rule| rule.parse().unwrap());
    Rules::new(parsed.collect()).unwrap()
}

fn action(rules: &Rules, host: &str) -> Action {
    rules.decide(&Target::parse(host, 80).unwrap()).action
}

#[test]
fn without_rules_everything_goes_through_the_tunnel() {
    let none = Rules::default();
    for host in ["a.test", "10.0.0.1", "::1", "localhost"] {
        assert_eq!(action(&none, host), Action::Tunnel, "{host}");
    }
    assert!(!none.has_direct());
}

#[test]
fn the_first_rule_that_matches_wins() {
    let rules =
        rules("=www.corp.example=direct corp.example=refuse 10.1.0.0/16=tunnel 10.0.0.0/8=refuse *=direct");
    for (host, wanted) in [
        ("www.corp.example", Action::Direct),
        ("WWW.Corp.Example.", Action::Direct),
        ("a.www.corp.example", Action::Refuse),
        ("corp.example", Action::Refuse),
        ("notcorp.example", Action::Direct),
        ("corp.example.test", Action::Direct),
        ("10.1.2.3", Action::Tunnel),
        ("::ffff:10.1.2.3", Action::Tunnel),
        ("10.2.2.3", Action::Refuse),
        ("11.2.2.3", Action::Direct),
        ("fd00::1", Action::Direct),
    ] {
        assert_eq!(action(&rules, host), wanted, "{host}");
    }
    assert!(rules.has_direct());
}

#[test]
fn a_leading_dot_or_star_leaves_the_name_itself_out() {
    for text in [".corp.example=refuse", "*.corp.example=refuse"] {
        let rules = rules(text);
        assert_eq!(action(&rules, "corp.example"), Action::Tunnel, "{text}");
        assert_eq!(action(&rules, "a.b.corp.example"), Action::Refuse, "{text}");
    }
}

#[test]
fn networks_never_send_names_anywhere_but_may_refuse_their_addresses() {
    let rules =
        rules("10.1.0.0/16=tunnel 10.0.0.0/8=refuse 0.0.0.0/0=direct a.test=tunnel 192.0.2.0/24=refuse");
    let name = Target::parse("a.test", 80).unwrap();
    let decision = rules.decide(&name);
    assert_eq!(decision.action, Action::Tunnel);
    assert!(rules.may_refuse_addresses(decision));
    for (address, refused) in [
        ("10.1.0.1", false),
        ("10.2.0.1", true),
        ("::ffff:10.2.0.1", true),
        ("198.51.100.1", false),
        // The rule for the name stands before this network's.
        ("192.0.2.1", false),
    ] {
        assert_eq!(
            rules.refuses_address(decision, address.parse().unwrap()),
            refused,
            "{address}"
        );
    }
    let other = rules.decide(&Target::parse("b.test", 80).unwrap());
    assert_eq!(
        other.action,
        Action::Tunnel,
        "a name is not what 0.0.0.0/0 is about"
    );
}

#[test]
fn names_that_nothing_can_refuse_need_not_be_resolved_first() {
    let rules = rules("a.test=tunnel 10.0.0.0/8=refuse");
    let first = rules.decide(&Target::parse("a.test", 80).unwrap());
    let second = rules.decide(&Target::parse("b.test", 80).unwrap());
    assert!(!rules.may_refuse_addresses(first) && rules.may_refuse_addresses(second));
}

#[test]
fn only_a_rule_for_everything_is_not_specific() {
    let rules = rules("a.test=direct 127.0.0.0/8=direct *=direct");
    for (host, specific) in [
        ("a.test", true),
        ("127.0.0.1", true),
        ("b.test", false),
        ("10.0.0.1", false),
    ] {
        let decision = rules.decide(&Target::parse(host, 80).unwrap());
        assert_eq!(decision.is_specific, specific, "{host}");
    }
}

#[test]
fn rules_print_as_they_are_written() {
    for text in [
        "*=direct",
        "10.0.0.0/8=refuse",
        "fd00::/8=tunnel",
        "=host.example=direct",
        ".corp.example=tunnel",
        "corp.example=refuse",
    ] {
        assert_eq!(text.parse::<Rule>().unwrap().to_string(), text);
    }
    for (text, printed) in [
        ("10.1.2.3=direct", "10.1.2.3/32=direct"),
        ("[fd00::1]=direct", "fd00::1/128=direct"),
        ("*.Corp.Example.=direct", ".corp.example=direct"),
    ] {
        assert_eq!(text.parse::<Rule>().unwrap().to_string(), printed);
    }
}

#[test]
fn what_is_no_rule_is_told_with_a_remedy() {
    for (text, part) in [
        ("corp.example", "write PATTERN=tunnel"),
        (
            "corp.example=block",
            "\"block\" is no action; write tunnel, direct or refuse",
        ),
        (
            "10.0.0.0/33=direct",
            "\"10.0.0.0/33\" is no network; write ADDRESS/BITS",
        ),
        ("10.0.0.1/8=direct", "write 10.0.0.0/8 for the network"),
        ("=direct", "neither an address, a network"),
        ("a b=direct", "neither an address, a network"),
        ("*.*=direct", "neither an address, a network"),
        ("10.1=direct", "ends in a number"),
        ("host:80=direct", "0x3a"),
    ] {
        let told = text.parse::<Rule>().unwrap_err().to_string();
        assert!(told.contains(part), "{text}: {told}");
    }
    let one: Rule = "*=tunnel".parse().unwrap();
    assert!(Rules::new(vec![one.clone(); MAX_RULES]).is_ok());
    let told = Rules::new(vec![one; MAX_RULES + 1]).unwrap_err().to_string();
    assert!(told.contains("1001 rules are given, 1000 are the most"), "{told}");
}
