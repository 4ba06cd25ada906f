use super::*;

fn policy(allow: &str) -> AddressPolicy {
    AddressPolicy::new(allow.parse().unwrap())
}

#[test]
fn public_addresses_may_be_asked_and_no_others() {
    for address in [
        "1.1.1.1",
        "9.255.255.255",
        "11.0.0.0",
        "100.63.255.255",
        "100.128.0.0",
        "126.255.255.255",
        "128.0.0.0",
        "168.63.129.15",
        "169.253.255.255",
        "169.255.0.0",
        "172.15.255.255",
        "172.32.0.0",
        "192.0.1.0",
        "192.167.255.255",
        "192.169.0.0",
        "198.17.255.255",
        "198.20.0.0",
        "223.255.255.255",
        "2001:200::1",
        "2001:4860:4860::8888",
        "2606:4700::1111",
        "2a00:1450:4001::1",
        "::ffff:1.1.1.1",
        "64:ff9b::1.1.1.1",
    ] {
        let parsed = address.parse().unwrap();
        assert_eq!(policy("none").admit(Scheme::Tls, parsed), Ok(()), "{address}");
        assert!(policy("none").admit(Scheme::Plain, parsed).is_err(), "{address} over http");
    }
    for (address, kind) in [
        ("0.0.0.0", "unspecified"),
        ("0.255.255.255", "unspecified"),
        ("10.0.0.0", "private"),
        ("10.255.255.255", "private"),
        ("100.64.0.0", "carrier"),
        ("100.100.100.200", "carrier"),
        ("100.127.255.255", "carrier"),
        ("127.0.0.1", "loopback"),
        ("127.255.255.255", "loopback"),
        ("168.63.129.16", "cloud machine"),
        ("169.254.0.0", "link-local"),
        ("169.254.169.254", "link-local"),
        ("172.16.0.0", "private"),
        ("172.31.255.255", "private"),
        ("192.0.0.192", "protocols"),
        ("192.0.2.1", "documentation"),
        ("192.88.99.1", "6to4"),
        ("192.168.0.1", "private"),
        ("198.18.0.0", "benchmarks"),
        ("198.19.255.255", "benchmarks"),
        ("198.51.100.7", "documentation"),
        ("203.0.113.7", "documentation"),
        ("224.0.0.1", "multicast"),
        ("239.255.255.255", "multicast"),
        ("240.0.0.1", "reserved"),
        ("255.255.255.254", "reserved"),
        ("255.255.255.255", "broadcast"),
        ("::", "unspecified"),
        ("::1", "loopback"),
        ("::ffff:127.0.0.1", "loopback"),
        ("::ffff:169.254.169.254", "link-local"),
        ("::127.0.0.1", "no public"),
        ("64:ff9b::10.0.0.1", "private"),
        ("64:ff9b:1::a00:1", "no public"),
        ("100::1", "no public"),
        ("2001::1", "tunnels"),
        ("2001:2::1", "protocols"),
        ("2001:1ff:ffff::1", "protocols"),
        ("2001:db8::1", "documentation"),
        ("2002:7f00:1::", "6to4"),
        ("3fff:fff::1", "documentation"),
        ("4000::1", "no public"),
        ("5f00::1", "no public"),
        ("fc00::1", "private"),
        ("fd00:ec2::254", "private"),
        ("fe80::1", "link-local"),
        ("febf::1", "link-local"),
        ("fec0::1", "no public"),
        ("ff02::1", "multicast"),
    ] {
        for scheme in [Scheme::Plain, Scheme::Tls] {
            let told = policy("none").admit(scheme, address.parse().unwrap()).unwrap_err();
            assert!(matches!(told, Forbidden::Address(_, of) if of.contains(kind)), "{told}");
        }
    }
}

#[test]
fn what_the_setting_allows_may_be_asked_over_both_schemes() {
    let policy = policy("10.0.0.0/8,fd00::/8,8.8.8.0/24");
    for (address, allowed) in [
        ("10.1.2.3", true),
        ("::ffff:10.1.2.3", true),
        ("fd00::1", true),
        ("8.8.8.8", true),
        ("127.0.0.1", false),
        ("192.168.0.1", false),
        ("fc00::1", false),
    ] {
        for scheme in [Scheme::Plain, Scheme::Tls] {
            let admitted = policy.admit(scheme, address.parse().unwrap());
            assert_eq!(admitted.is_ok(), allowed, "{address} {scheme:?}");
        }
    }
    assert_eq!(policy.admit(Scheme::Tls, [1, 1, 1, 1].into()), Ok(()));
}

#[test]
fn urls_are_checked_by_what_they_mean() {
    for (url, told) in [
        ("https://hooks.example.com/fraud?x=1", None),
        ("https://8.8.8.8:8443/", None),
        ("http://hooks.example.com/", Some("permits no address over plain http://")),
        ("http://8.8.8.8/", Some("8.8.8.8 is not one of the addresses")),
        ("https://127.0.0.1/", Some("127.0.0.1 is a loopback address")),
        ("http://127.0.0.1/", Some("127.0.0.1 is a loopback address")),
        ("https://2130706433/", Some("127.0.0.1 is a loopback")),
        ("https://0x7f.1/", Some("127.0.0.1 is a loopback")),
        ("https://0177.0.0.1/", Some("127.0.0.1 is a loopback")),
        ("https://\u{ff11}27.0.0.1/", Some("127.0.0.1 is a loopback")),
        ("https://127.0.0.1./", Some("127.0.0.1 is a loopback")),
        ("https://[::ffff:7f00:1]/", Some("127.0.0.1 is a loopback")),
        ("https://[::1]/", Some("::1 is a loopback")),
        ("https://localhost:8443/", Some("loopback")),
        ("https://LOCALHOST./", Some("loopback")),
        ("https://api.localhost/", Some("loopback")),
        ("https://localhost.example.com/", None),
        ("https://169.254.169.254/latest/meta-data/", Some("link-local")),
        ("https://user:secret@example.com/", Some("credentials")),
        ("https://example.com\\@127.0.0.1/", None),
        ("ftp://example.com/", Some("wanted http:// or https://")),
        ("https://", Some("wanted a URL such as")),
        ("example.com", Some("wanted a URL such as")),
        ("https://[fe80::1%25eth0]/", Some("wanted a URL such as")),
    ] {
        match (policy("none").target(url), told) {
            (Ok(target), None) => assert_ne!(target.url.host_str(), Some("127.0.0.1"), "{url}"),
            (Err(error), Some(told)) => assert!(error.to_string().contains(told), "{url}: {error}"),
            (came, _) => panic!("{url}: {came:?}"),
        }
    }
    let long = format!("https://example.com/{}", "x".repeat(LONGEST_URL));
    assert!(policy("none").target(&long).is_err());
}

#[test]
fn plain_names_wait_for_their_addresses_once_something_is_allowed() {
    let policy = policy("127.0.0.0/8");
    for url in ["http://hooks.example.com/", "http://localhost/", "http://127.0.0.1:9/"] {
        assert!(policy.target(url).is_ok(), "{url}");
    }
    assert!(policy.target("http://[::1]/").is_err());
    assert!(policy.target("http://8.8.8.8/").is_err());
}

#[test]
fn mistakes_name_the_place_in_the_spec() {
    let webhook = |url: &str| Webhook { url: url.to_owned(), on: Vec::new() };
    let webhooks = ["https://example.com/", "https://10.0.0.1/x", "http://example.com/"];
    let found = policy("none").mistakes(&webhooks.map(webhook));
    let told: Vec<String> = found.iter().map(ToString::to_string).collect();
    assert_eq!(
        told,
        [
            "webhooks[1].url: 10.0.0.1 is a private address, which the setting webhooks.allow does not permit",
            "webhooks[2].url: wanted https://: the setting webhooks.allow permits no address over plain http://",
        ]
    );
    let allowed = policy("10.0.0.0/8").mistakes(&webhooks.map(webhook));
    assert_eq!(allowed, [], "a name may resolve to an address that is allowed");
}

#[test]
fn logs_show_where_a_webhook_goes_without_its_path() {
    let target = policy("none").target("https://hooks.example.com:8443/T0/secret?k=1").unwrap();
    assert_eq!(target.origin(), "https://hooks.example.com:8443");
}
