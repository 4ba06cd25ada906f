use super::*;

/// Another value for each setting than its default.
const OTHERS: [(&str, &str); 14] = [
    ("auth.data_plane", "keys"),
    ("limits.body", "1MiB"),
    ("limits.body_read_timeout", "1s"),
    ("limits.max_in_flight", "1"),
    ("limits.body_memory", "2GiB"),
    ("limits.decompression_ratio", "1"),
    ("triton.model_control", "explicit"),
    ("logging.level", "debug"),
    ("logging.access", "all"),
    ("limits.upload", "1MiB"),
    ("limits.max_connections", "1"),
    ("server.listen", "127.0.0.1:1"),
    ("logging.format", "json"),
    ("engine.threads", "3"),
];

const LIVE: usize = 9;

fn changed() -> Settings {
    let mut settings = Settings::default();
    for (key, value) in OTHERS {
        (table::setting(key).unwrap().set)(&mut settings, value).unwrap();
    }
    settings.tiers.insert("gold".into(), Tier::default());
    settings.tiers.get_mut("default").unwrap().weight = 2;
    settings
}

#[test]
fn nothing_changed_is_no_difference() {
    assert_eq!(Settings::default().differences(&Settings::default()), []);
    assert_eq!(changed().differences(&changed()), []);
}

#[test]
fn each_change_is_told_once_and_whether_it_counts_at_once() {
    let (old, new) = (Settings::default(), changed());
    for (one, other) in [(&old, &new), (&new, &old)] {
        let differences = one.differences(other);
        assert_eq!(differences.len(), OTHERS.len() + 2, "{differences:#?}");
        for (place, (key, _)) in OTHERS.iter().enumerate() {
            let wanted = Difference { key: (*key).to_owned(), is_live: place < LIVE };
            assert!(differences.contains(&wanted), "{wanted:?}");
        }
        for key in ["tiers.default", "tiers.gold"] {
            assert!(differences.contains(&Difference { key: key.to_owned(), is_live: true }));
        }
    }
    let live = TABLE.iter().filter(|setting| setting.is_live);
    assert_eq!(live.count(), LIVE);
}

#[test]
fn a_running_server_takes_over_what_is_live_and_nothing_else() {
    let (old, new) = (Settings::default(), changed());
    let taken = old.with_live(&new);
    assert!(old.differences(&taken).iter().all(|difference| difference.is_live));
    assert_eq!(old.differences(&taken).len(), LIVE + 2);
    assert!(taken.differences(&new).iter().all(|difference| !difference.is_live));
    assert_eq!(taken.differences(&new).len(), OTHERS.len() - LIVE);
    assert_eq!(taken.with_live(&old), old);
}

#[test]
fn each_setting_compares_and_takes_its_own_field() {
    // Through the text, which knows nothing of how fields are compared and copied.
    for setting in TABLE {
        let (mut one, other) = (Settings::default(), changed());
        let differs = (setting.show)(&one) != (setting.show)(&other);
        assert_eq!((setting.is_same)(&one, &other), !differs, "{}", setting.key);
        (setting.take)(&mut one, &other);
        assert_eq!((setting.show)(&one), (setting.show)(&other), "{}", setting.key);
        assert_eq!(Settings::default().differences(&one).len(), usize::from(differs));
    }
}

#[test]
fn groups_of_each_kind_are_live() {
    let text = example::text();
    for kind in &KINDS {
        let mut new = Settings::default();
        (kind.add)(&mut new, "new");
        let differences = Settings::default().differences(&new);
        let wanted = Difference { key: format!("{}.new", kind.name), is_live: true };
        assert_eq!(differences, [wanted]);
        assert_eq!(Settings::default().with_live(&new), new);
        assert!(kind.about.ends_with("Live."), "{}", kind.name);
    }
    assert_eq!(text.matches("Live.\n").count(), LIVE + KINDS.len());
}
