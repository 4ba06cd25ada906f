use super::*;

/// Groups that are right, beside what clients need.
const GOOD: &str = r#"
[server]
tls_certificate = "cert.pem"
tls_key = "key.pem"
tls_client_ca = "ca.pem"

[issuers.corp]
issuer = "https://login.example.com"
audience = "weighbridge, other"
algorithms = "RS256,EdDSA"
keys = "https://login.example.com/keys"

[clients.billing-eu]
subject = "billing.example.com"
tier = "gold"
scopes = "metrics predict:invoices-*"

[tiers.gold]
requests = "100/s burst 200"
requests_per_day = 1000000
priority = "high"
weight = 10
"#;

/// [`GOOD`] with the only `from` in it replaced.
fn with(from: &str, to: &str) -> String {
    assert_eq!(GOOD.matches(from).count(), 1, "{from}");
    GOOD.replace(from, to)
}

fn variables(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    let named =
        |(name, value): &(&str, &str)| (format!("WEIGHBRIDGE__{name}"), (*value).to_owned());
    pairs.iter().map(named).collect()
}

#[test]
fn groups_are_read_with_their_defaults() {
    let settings = from_file(GOOD).unwrap();
    let corp = &settings.issuers["corp"];
    assert_eq!(corp.issuer, "https://login.example.com");
    assert_eq!(corp.audience, ["weighbridge", "other"]);
    assert_eq!(corp.algorithms, [Algorithm::Rs256, Algorithm::EdDsa]);
    assert_eq!(corp.keys, "https://login.example.com/keys".parse().unwrap());
    assert_eq!((corp.leeway, corp.scopes.as_ref()), (Duration::from_secs(30), None));
    let claims = [&corp.scope_claim, &corp.tenant_claim, &corp.tier_claim, &corp.tier];
    assert_eq!(claims, ["scope", "sub", "tier", "default"]);

    let billing = &settings.clients["billing-eu"];
    assert_eq!((billing.subject.as_str(), billing.tier.as_str()), ("billing.example.com", "gold"));
    assert_eq!(billing.tenant_or("billing-eu"), "billing-eu");
    assert!(billing.scopes.may_predict("invoices-2") && !billing.scopes.may_predict("fraud"));

    let gold = &settings.tiers["gold"];
    let rate = Rate { count: 100, per: Duration::from_secs(1), burst: 200 };
    assert_eq!((gold.requests, gold.rows), (Some(rate), None));
    assert_eq!((gold.requests_per_day, gold.rows_per_day), (Some(1_000_000), None));
    assert_eq!((gold.priority, gold.weight), (Priority::High, 10));
    assert_eq!(settings.tiers["default"], Tier::default());
}

#[test]
fn a_group_without_settings_is_there_all_the_same() {
    let settings = from_file("[tiers.free]\n[issuers]\n").unwrap();
    assert_eq!(settings.tiers["free"], Tier::default());
    assert_eq!(settings.tiers.len(), 2);
    let limited = from_file("[tiers.default]\nrequests = \"1/s\"\n").unwrap();
    assert_eq!(limited.tiers["default"].requests.unwrap().count, 1);
}

#[test]
fn every_field_of_a_group_is_in_its_table() {
    let settings = from_file(GOOD).unwrap();
    let shown = [
        format!("{:#?}", settings.issuers["corp"]),
        format!("{:#?}", settings.clients["billing-eu"]),
        format!("{:#?}", settings.tiers["gold"]),
    ];
    for (kind, shown) in KINDS.iter().zip(&shown) {
        let is_field = |line: &&str| line.starts_with("    ") && !line.starts_with("     ");
        let lines = shown.lines().filter(is_field).filter(|line| line.contains(": "));
        let names: Vec<_> = lines.filter_map(|line| line.trim().split(':').next()).collect();
        let fields: Vec<_> = kind.fields.iter().map(|field| field.name).collect();
        assert_eq!(names, fields, "{}", kind.name);
    }
}

#[test]
fn mistakes_in_groups_name_the_group_and_come_together() {
    let cases = [
        (
            with("requests = \"100/s burst 200\"", "reqests = 1"),
            "tiers.gold.reqests: no such setting; did you mean tiers.gold.requests?",
        ),
        (
            with("requests = \"100/s burst 200\"", "colour = 1"),
            "tiers.gold.colour: no such setting; weighbridge.example.toml",
        ),
        (
            with("100/s burst 200", "100"),
            "tiers.gold.requests = \"100\": wanted a rate such as 100/s",
        ),
        (
            with("1000000", "0"),
            "tiers.gold.requests_per_day = \"0\": wanted requests, a whole number from 1",
        ),
        (
            with("1000000", "1e6"),
            "tiers.gold.requests_per_day: wanted a text in quotes or a whole number",
        ),
        (with("weight = 10", "weight = 1001"), "from 1 to 1000"),
        (with("\"high\"", "\"urgent\""), "\"low\", \"normal\", \"high\""),
        (
            with("[tiers.gold]", "[tiers.Gold]\n[tiers.gold]"),
            "tiers.Gold: wanted a name of 1 to 64 lower-case",
        ),
        (with("[tiers.gold]", "[tiers.\"a.b\"]\n[tiers.gold]"), "tiers.a.b: wanted a name of"),
        (
            with("[tiers.gold]", "[tiers]\nrows = \"1/s\"\n[tiers.gold]"),
            "tiers.rows: wanted groups: [tiers.NAME], such as [tiers.gold]",
        ),
        (
            with("[tiers.gold]", "[tier.gold]\n[tiers.gold]"),
            "tier: no such setting; did you mean tiers?",
        ),
        (format!("issuer = 1\n{GOOD}"), "issuer: no such setting; did you mean issuers?"),
        (
            with("audience = \"weighbridge, other\"", ""),
            "w.toml:7: issuers.corp.audience: wanted audiences separated by commas",
        ),
        (with("issuer = \"https", "#"), "issuers.corp.issuer: wanted 1 to 512 characters"),
        (with("algorithms = \"RS256,EdDSA\"", ""), "issuers.corp.algorithms: wanted algorithms"),
        (
            with("keys = \"https", "#"),
            "issuers.corp.keys: wanted the path of a file or an https:// URL; none came",
        ),
        (with("subject =", "tenant ="), "clients.billing-eu.subject: wanted 1 to 512"),
        (with("scopes =", "# "), "clients.billing-eu.scopes: wanted scopes"),
        (with("metrics predict:invoices-*", ""), "clients.billing-eu.scopes = \"\": wanted scopes"),
        (with("metrics predict:", "metrcs predict:"), "\"metrcs\" is no scope: wanted predict, "),
        (with("weighbridge, other", "a,,b"), "separated by commas"),
        (with("weighbridge, other", "a, a"), "is there twice"),
        (with("EdDSA", "EDDSA"), "\"EdDSA\""),
        (with("EdDSA", "HS256"), "wanted HS256 alone"),
        (with("/keys\"", "/keys\"\nleeway = \"6m\""), "from 0s to 5m"),
        (with("/keys\"", "/keys\"\ntier_claim = \"a b\""), "the name of a claim"),
        (with("/keys\"", "/keys\"\nscopes = \"all\""), "or \"none\""),
        (with("https://login.example.com\"", " a\""), "without space around"),
    ];
    for (text, wanted) in cases {
        let file = Some(("w.toml", text.as_str()));
        let mistakes = Settings::load_from(file, [], &Overrides::default()).unwrap_err();
        let lines = lines(&mistakes);
        assert_eq!(lines.len(), 1, "{wanted}: {lines:#?}");
        assert!(lines[0].contains(wanted), "wanted {wanted} in {}", lines[0]);
    }
    let empty = lines(&from_file("[issuers.a]\n[clients.b]\n").unwrap_err());
    let missing = empty.iter().filter(|line| line.ends_with("none came"));
    assert_eq!((empty.len(), missing.count()), (7, 6), "{empty:#?}");
}

#[test]
fn groups_that_do_not_fit_are_mistakes() {
    let again = |group: &str, as_name: &str| {
        let start = GOOD.find(group).unwrap();
        let body = GOOD[start..].split("\n\n").next().unwrap();
        format!("{GOOD}\n{}\n", body.replace(group, as_name))
    };
    for (text, wanted) in [
        (
            with("RS256,EdDSA", "HS256"),
            "issuers.corp.keys = \"https://login.example.com/keys\": wanted a file, for a secret, \
             with issuers.corp.algorithms, which is HS256 (w.toml:10)",
        ),
        (
            again("[issuers.corp]", "[issuers.two]"),
            "issuers.two.issuer = \"https://login.example.com\": wanted another than \
             issuers.corp.issuer, which is https://login.example.com (w.toml:8)",
        ),
        (
            again("[clients.billing-eu]", "[clients.two]"),
            "clients.two.subject = \"billing.example.com\": wanted another than \
             clients.billing-eu.subject",
        ),
        (
            with("tier = \"gold\"", "tier = \"golf\""),
            "w.toml:15: clients.billing-eu.tier = \"golf\": no such tier; did you mean gold?",
        ),
        (
            with("/keys\"", "/keys\"\ntier = \"silver\""),
            "issuers.corp.tier = \"silver\": no such tier: wanted [tiers.silver]",
        ),
        (
            with("tls_client_ca = \"ca.pem\"", ""),
            "w.toml:13: clients.billing-eu: wanted a file in server.tls_client_ca, which is none \
             (default), or in admin.tls_client_ca, which is none (default)",
        ),
    ] {
        let file = Some(("w.toml", text.as_str()));
        let mistakes = Settings::load_from(file, [], &Overrides::default()).unwrap_err();
        let lines = lines(&mistakes);
        assert_eq!(lines.len(), 1, "{wanted}: {lines:#?}");
        assert!(lines[0].contains(wanted), "wanted {wanted} in {}", lines[0]);
    }
    let secret = with("RS256,EdDSA", "HS256").replace("https://login.example.com/keys", "secret");
    assert!(from_file(&secret).is_ok());
}

#[test]
fn variables_set_fields_of_groups() {
    let load = |pairs: &[(&str, &str)]| {
        Settings::load_from(Some(("w.toml", GOOD)), variables(pairs), &Overrides::default())
    };
    let settings = load(&[
        ("TIERS__GOLD__REQUESTS", "5/m"),
        ("TIERS__A__B___ROWS_PER_DAY", "7"),
        ("ISSUERS__CORP__TIER_CLAIM", "plan"),
    ])
    .unwrap();
    assert_eq!(settings.tiers["gold"].requests, "5/m".parse().ok());
    assert_eq!(settings.tiers["gold"].weight, 10);
    assert_eq!(settings.tiers["a__b_"].rows_per_day, Some(7));
    assert_eq!(settings.issuers["corp"].tier_claim, "plan");

    for (name, value, wanted) in [
        (
            "TIERS__GOLD__REQUESTS",
            "5",
            "WEIGHBRIDGE__TIERS__GOLD__REQUESTS: tiers.gold.requests = \"5\"",
        ),
        ("TIERS__GOLD__REQESTS", "5/s", "did you mean WEIGHBRIDGE__TIERS__GOLD__REQUESTS?"),
        ("TIERS__gold__ROWS", "5/s", "did you mean WEIGHBRIDGE__TIERS__GOLD__ROWS?"),
        ("TIER__GOLD__REQUESTS", "5/s", "did you mean WEIGHBRIDGE__TIERS__GOLD__REQUESTS?"),
        ("TIERS__GOLD", "5/s", "WEIGHBRIDGE__SECTION__KEY"),
        ("CLIENTS__BILLING-EU__TIER", "gold", "__NAME__KEY"),
        ("TIERS____ROWS", "5/s", "WEIGHBRIDGE__TIERS__NAME__KEY"),
        ("TIERS__É__ROWS", "5/s", "WEIGHBRIDGE__TIERS__NAME__KEY"),
    ] {
        let lines = lines(&load(&[(name, value)]).unwrap_err());
        assert!(lines.len() == 1 && lines[0].contains(wanted), "{name}: {lines:#?}");
    }
    let missing = lines(&load(&[("ISSUERS__NEW__ISSUER", "x")]).unwrap_err());
    assert_eq!(missing.len(), 3, "{missing:#?}");
    let start = "WEIGHBRIDGE__ISSUERS__NEW__ISSUER: issuers.new.audience: wanted";
    assert!(missing[0].starts_with(start), "{}", missing[0]);
}

#[test]
fn what_is_printed_of_groups_means_the_same() {
    let env = variables(&[("TIERS__GOLD__ROWS", "9/h")]);
    let loaded = sources::of_texts(Some(("w.toml", GOOD)), env, &Overrides::default()).unwrap();
    let printed: Vec<_> = loaded.effective().iter().map(ToString::to_string).collect();
    for line in [
        "issuers.corp.algorithms = \"RS256,EdDSA\"  # w.toml:10",
        "issuers.corp.scopes = \"none\"  # default",
        "clients.billing-eu.scopes = \"metrics predict:invoices-*\"  # w.toml:16",
        "tiers.default.weight = 1  # default",
        "tiers.gold.requests_per_day = 1000000  # w.toml:20",
        "tiers.gold.rows_per_day = \"none\"  # default",
        "tiers.gold.rows = \"9/h\"  # WEIGHBRIDGE__TIERS__GOLD__ROWS",
    ] {
        assert!(printed.iter().any(|printed| printed == line), "{line} in {printed:#?}");
    }
    assert_eq!(from_file(&printed.join("\n")), Ok(loaded.settings));
}

#[test]
fn a_password_in_a_url_is_not_shown() {
    let text = with("https://login.example.com/keys", "https://u:hunter2@example.com/keys");
    let shown = from_file(&text).unwrap_err().to_string();
    assert!(shown.contains("issuers.corp.keys: wanted a URL without user"), "{shown}");
    assert!(!shown.contains("hunter2"), "{shown}");
}

#[test]
fn the_groups_of_the_example_are_right_once_they_are_uncommented() {
    let text = example::text();
    let start = text.find("# [issuers.corp]").unwrap();
    let uncommented: String = text[start..]
        .lines()
        .map(|line| {
            let line = line.strip_prefix("# ").unwrap_or(line);
            // What is said about a kind stands outside its group and stays a comment.
            let is_toml = line.starts_with(['#', '[']) || line.contains(" = ");
            if is_toml { format!("{line}\n") } else { "\n".to_owned() }
        })
        .collect();
    let tls = GOOD.split("[issuers").next().unwrap();
    let settings = from_file(&format!("{tls}{uncommented}")).unwrap();
    assert!(settings.issuers.contains_key("corp") && settings.clients.contains_key("billing"));
    assert!(settings.tiers.contains_key("gold"));
    for kind in &KINDS {
        for field in kind.fields {
            let shown = (field.show)(&settings, kind.example);
            assert_eq!(shown, field.example, "{}.{}", kind.name, field.name);
        }
    }
}
