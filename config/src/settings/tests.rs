mod groups;
mod reload;

use super::*;
use crate::environment;
use group_table::KINDS;
use table::{SECTIONS, TABLE};

fn from_file(text: &str) -> Result<Settings, Mistakes> {
    Settings::load_from(Some(("weighbridge.toml", text)), [], &Overrides::default())
}

fn from_env(pairs: &[(&str, &str)]) -> Result<Settings, Mistakes> {
    let env = pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    Settings::load_from(None, env, &Overrides::default())
}

fn lines(mistakes: &Mistakes) -> Vec<String> {
    mistakes.to_string().lines().map(str::to_owned).collect()
}

#[test]
fn nothing_set_means_the_defaults() {
    assert_eq!(from_file(""), Ok(Settings::default()));
    assert_eq!(from_file("[server]\n[logging]\n"), Ok(Settings::default()));
}

#[test]
fn a_file_with_five_mistakes_gives_five_lines() {
    let text = "\
[server]
listen = \"localhost\"
drain_timeout = 30
lisen = \"127.0.0.1:1\"

[engine]
threads = 2000

[serving]
timeout = \"soon\"
";
    let lines = lines(&from_file(text).unwrap_err());
    assert_eq!(lines.len(), 5, "{lines:#?}");
    let facts: [&[&str]; 5] = [
        &["weighbridge.toml:2: server.listen = \"localhost\"", "127.0.0.1:8080"],
        &["weighbridge.toml:3: server.drain_timeout = \"30\"", "1ms to 1h", "unit"],
        &["weighbridge.toml:4: server.lisen", "did you mean server.listen?"],
        &["weighbridge.toml:7: engine.threads = \"2000\"", "0 to 1024"],
        &["weighbridge.toml:10: serving.timeout = \"soon\"", "duration"],
    ];
    for (line, facts) in lines.iter().zip(facts) {
        for fact in facts {
            assert!(line.contains(fact), "wanted {fact} in {line}");
        }
    }
}

#[test]
fn mistakes_of_all_sources_come_together() {
    let flags = Overrides {
        listen: Some("nowhere".into()),
        data_dir: Some(PathBuf::new()),
        ..Overrides::default()
    };
    let env = [("WEIGHBRIDGE__LIMITS__BODY".to_owned(), "64".to_owned())];
    let file = Some(("w.toml", "[server]\nlisten = \"x\"\n"));
    let lines = lines(&Settings::load_from(file, env, &flags).unwrap_err());
    let starts = [
        "w.toml:2: server.listen = \"x\"",
        "WEIGHBRIDGE__LIMITS__BODY: limits.body = \"64\"",
        "--listen: server.listen = \"nowhere\"",
        "--data-dir: server.data_dir = \"\"",
    ];
    assert_eq!(lines.len(), starts.len(), "{lines:#?}");
    for (line, start) in lines.iter().zip(starts) {
        assert!(line.starts_with(start), "{line}");
    }
}

#[test]
fn a_variable_wins_over_the_file_and_a_flag_over_both() {
    let file = Some(("w.toml", "[server]\nlisten = \"127.0.0.1:1\"\nname = \"a\"\n"));
    let env = || [("WEIGHBRIDGE__SERVER__LISTEN".to_owned(), "127.0.0.1:2".to_owned())];
    let flags = Overrides {
        listen: Some("127.0.0.1:3".into()),
        admin_listen: Some("127.0.0.1:4".into()),
        data_dir: Some("elsewhere".into()),
    };
    let settings = Settings::load_from(file, env(), &Overrides::default()).unwrap();
    assert_eq!((settings.server.listen.port(), settings.server.name.as_str()), (2, "a"));
    let settings = Settings::load_from(file, env(), &flags).unwrap();
    assert_eq!((settings.server.listen.port(), settings.admin.listen.port()), (3, 4));
    assert_eq!(settings.server.data_dir, Path::new("elsewhere"));

    let loaded = sources::of_texts(file, env(), &Overrides::default()).unwrap();
    let shown = |key| {
        let entry = loaded.effective().into_iter().find(|entry| entry.key == key).unwrap();
        format!("{} ({})", entry.value, entry.source)
    };
    assert_eq!(shown("server.listen"), "127.0.0.1:2 (WEIGHBRIDGE__SERVER__LISTEN)");
    assert_eq!(shown("server.name"), "a (w.toml:3)");
    assert_eq!(shown("limits.body"), "64MiB (default)");
}

#[test]
fn every_setting_can_be_set_by_its_variable_and_reads_back() {
    for setting in TABLE {
        let default = setting.default();
        let settings = from_env(&[(&setting.variable(), &default)]).unwrap();
        assert_eq!(settings, Settings::default(), "{}", setting.key);
    }
}

#[test]
fn every_value_has_bounds() {
    for setting in TABLE {
        for bad in ["", "\0", "-1", "1e9", "99999999999999999999", "99999999h", "99999TiB"] {
            let mistakes = from_env(&[(&setting.variable(), bad)]);
            // A folder may have any name.
            let is_folder = setting.key == "server.data_dir" && !matches!(bad, "" | "\0");
            let is_name = setting.key == "server.name" && !matches!(bad, "" | "\0");
            // A certificate without its key does not fit, whatever its name.
            let files = ["webhooks.secret_file", "engine.onnxruntime_library"];
            let is_file = files.contains(&setting.key) && !matches!(bad, "" | "\0");
            let fits = is_folder || is_name || is_file;
            assert_eq!(mistakes.is_ok(), fits, "{} = {bad:?}", setting.key);
        }
    }
}

#[test]
fn bounds_are_inclusive() {
    for (key, value, fits) in [
        ("serving.max_batch_size", "1", true),
        ("serving.max_batch_size", "65536", true),
        ("serving.max_batch_size", "0", false),
        ("serving.max_batch_size", "65537", false),
        ("serving.max_batch_size", "+1", false),
        ("limits.body", "1KiB", true),
        ("limits.body", "1023B", false),
        ("serving.max_queue_delay", "0s", true),
        ("serving.max_queue_delay", "10s", true),
        ("serving.max_queue_delay", "10001ms", false),
        ("serving.timeout", "0s", false),
        ("engine.threads", "0", true),
        ("limits.headers", "8KiB", true),
        ("limits.headers", "1025KiB", false),
        ("limits.max_streams", "10000", true),
        ("limits.max_streams", "10001", false),
        ("limits.max_in_flight", "0", false),
        ("limits.body_memory", "64MiB", true),
        ("limits.body_memory", "1025GiB", false),
        ("limits.decompression_ratio", "1", true),
        ("limits.decompression_ratio", "10001", false),
        ("engine.loaded_versions_per_model", "1", false),
        ("logging.level", "info,weighbridge=debug,h2::proto=off", true),
        ("logging.level", "verbose", false),
        ("logging.level", "info,", false),
        ("logging.level", "weighbridge=loud", false),
        ("logging.format", "JSON", false),
        ("server.listen", "localhost:8080", false),
        ("server.listen", "[::1]:0", true),
        ("server.name", "a b", false),
        ("webhooks.allow", "127.0.0.0/8, ::1", true),
        ("webhooks.allow", "127.0.0.1/8", false),
        ("webhooks.allow", "localhost", false),
        ("webhooks.secret_file", "/run/secrets/webhooks", true),
    ] {
        let name = table::setting(key).unwrap().variable();
        assert_eq!(from_env(&[(&name, value)]).is_ok(), fits, "{key} = {value}");
    }
}

#[test]
fn keys_keep_their_case() {
    let lines =
        lines(&from_file("[server]\nListen = \"127.0.0.1:1\"\n[Admin]\nx = 1\n").unwrap_err());
    assert_eq!(lines.len(), 2, "{lines:#?}");
    assert!(lines[0].contains("server.Listen: no such setting; did you mean server.listen?"));
    assert!(lines[1].contains("Admin: no such setting; did you mean admin?"));
}

#[test]
fn unknown_variables_are_mistakes_even_when_empty_and_others_are_not_ours() {
    let names = ["WEIGHBRIDGE__SERVER__LISEN", "WEIGHBRIDGE__COLOUR", "WEIGHBRIDGE__server__name"];
    let lines = lines(&from_env(&names.map(|name| (name, ""))).unwrap_err());
    assert_eq!(lines.len(), 3, "{lines:#?}");
    assert!(lines[1].contains("did you mean WEIGHBRIDGE__SERVER__LISTEN?"), "{}", lines[1]);
    assert!(lines[0].contains("WEIGHBRIDGE__SECTION__KEY"), "{}", lines[0]);
    assert!(from_env(&[("WEIGHBRIDGE_PORT", "tcp://10.0.0.1:80"), ("HOME", "x")]).is_ok());
}

#[test]
fn the_value_of_an_unknown_key_is_not_shown() {
    let shown = from_file("[auth]\nkey = \"hunter2\"\n").unwrap_err().to_string();
    assert!(!shown.contains("hunter2"), "{shown}");
    let shown = from_env(&[("WEIGHBRIDGE__AUTH__KEY", "hunter2")]).unwrap_err().to_string();
    assert!(!shown.contains("hunter2"), "{shown}");
}

#[test]
fn values_of_another_kind_and_misplaced_sections_are_mistakes() {
    let text =
        "server = 1\n[engine]\nthreads = [1]\nload_threads = 1.5\n[logging.level]\nx = true\n";
    let lines = lines(&from_file(text).unwrap_err());
    assert_eq!(lines.len(), 4, "{lines:#?}");
    assert!(lines[0].contains("wanted a section: [server]"), "{}", lines[0]);
    assert!(lines[1].contains("toml:3: engine.threads: ") && lines[1].contains("array"));
    assert!(lines[2].contains("toml:4: engine.load_threads: ") && lines[2].contains("float"));
    assert!(lines[3].contains("logging.level") && lines[3].contains("table"), "{}", lines[3]);
}

#[test]
fn a_file_that_is_not_toml_names_its_lines() {
    let lines = lines(&from_file("[server]\nname = \nlisten = \"x\n").unwrap_err());
    assert!(!lines.is_empty());
    assert!(lines.iter().all(|line| line.contains("not valid TOML")), "{lines:#?}");
    assert!(lines[0].starts_with("weighbridge.toml:2: "), "{}", lines[0]);
    assert!(from_file("[server]\nname = \"a\"\nname = \"b\"\n").is_err());
}

#[test]
fn a_file_that_cannot_be_read_is_a_mistake_that_names_it() {
    let path = Path::new("no-such-folder/weighbridge.toml");
    let mistakes = Settings::load(Some(path), &Overrides::default()).unwrap_err();
    assert!(mistakes.to_string().starts_with("no-such-folder/weighbridge.toml: "), "{mistakes}");
}

#[test]
fn values_that_do_not_fit_each_other_are_mistakes() {
    for (text, key, with) in [
        ("[limits]\nmax_timeout = \"10s\"", "serving.timeout", "limits.max_timeout"),
        (
            "[serving]\ntimeout = \"1s\"\nmax_queue_delay = \"1s\"",
            "serving.max_queue_delay",
            "serving.timeout",
        ),
        ("[store]\nblob_grace = \"60s\"", "store.blob_grace", "engine.vet_timeout"),
        ("[admin]\nlisten = \"127.0.0.1:8080\"", "admin.listen", "server.listen"),
        ("[limits]\nbody = \"2GiB\"", "limits.body_memory", "limits.body"),
        ("[limits]\nbody_memory = \"63MiB\"", "limits.body_memory", "limits.body"),
        ("[server]\ntls_client_ca = \"a\"", "server.tls_client_ca", "server.tls_certificate"),
        ("[admin]\ntls_client_ca = \"a\"", "admin.tls_client_ca", "admin.tls_certificate"),
        ("[admin]\nlisten = \"0.0.0.0:8080\"", "admin.listen", "server.listen"),
    ] {
        let lines = lines(&from_file(text).unwrap_err());
        assert_eq!(lines.len(), 1, "{lines:#?}");
        assert!(lines[0].contains(key) && lines[0].contains(with), "{}", lines[0]);
    }
    let at_the_bound = "[limits]\nmax_timeout = \"30s\"\n[store]\nblob_grace = \"61s\"\n";
    assert!(from_file(at_the_bound).is_ok());
    let free_ports = "[server]\nlisten = \"127.0.0.1:0\"\n[admin]\nlisten = \"127.0.0.1:0\"\n";
    assert!(from_file(free_ports).is_ok());
}

#[test]
fn a_clash_with_a_value_that_is_wrong_already_is_not_reported() {
    let text = "[limits]\nmax_timeout = \"10s\"\n[serving]\ntimeout = \"8\"\n";
    let lines = lines(&from_file(text).unwrap_err());
    assert_eq!(lines.len(), 1, "{lines:#?}");
}

#[test]
fn nothing_is_said_about_values_of_a_file_that_cannot_be_understood() {
    let file = Some(("w.toml", "[limits]\nmax_timeout = \"10m\"\nbody = \n"));
    let env = [("WEIGHBRIDGE__SERVING__TIMEOUT".to_owned(), "8m".to_owned())];
    let lines = lines(&Settings::load_from(file, env, &Overrides::default()).unwrap_err());
    assert!(lines.len() == 1 && lines[0].starts_with("w.toml:3: not valid TOML"), "{lines:#?}");
}

#[test]
fn mistakes_of_a_file_come_in_the_order_of_its_lines() {
    let text = "colour = 1\nserver = 2\n[engine]\nthreads = \"x\"\n";
    let lines = lines(&from_file(text).unwrap_err());
    let order = ["colour", "server", "engine.threads"];
    assert_eq!(lines.len(), order.len(), "{lines:#?}");
    assert!(lines.iter().zip(order).all(|(line, key)| line.contains(key)), "{lines:#?}");
}

#[test]
fn what_is_printed_is_a_file_that_means_the_same() {
    let flags = Overrides { data_dir: Some("it's \"a\\b\" # ü".into()), ..Overrides::default() };
    let file = Some(("w.toml", "[engine]\nthreads = 0x10\n"));
    let loaded = sources::of_texts(file, [], &flags).unwrap();
    let printed: Vec<_> = loaded.effective().iter().map(ToString::to_string).collect();
    assert!(printed.contains(&"engine.threads = 16  # w.toml:2".to_owned()), "{printed:#?}");
    assert_eq!(from_file(&printed.join("\n")), Ok(loaded.settings));
}

#[test]
fn the_data_plane_is_open_by_itself_on_loopback_only() {
    for (listen, data_plane, open) in [
        ("127.0.0.1:1", "auto", true),
        ("[::1]:1", "auto", true),
        ("[::ffff:127.0.0.1]:1", "auto", true),
        ("0.0.0.0:1", "auto", false),
        ("[::]:1", "auto", false),
        ("10.0.0.1:1", "open", true),
        ("127.0.0.1:1", "keys", false),
    ] {
        let text =
            format!("[server]\nlisten = \"{listen}\"\n[auth]\ndata_plane = \"{data_plane}\"\n");
        let settings = from_file(&text).unwrap();
        assert_eq!(settings.data_plane_open(), open, "{listen} {data_plane}");
    }
}

#[test]
fn every_field_is_in_the_table_and_every_section_has_settings() {
    // One line of `{:#?}` per field that is not a section.
    let shown = format!("{:#?}", Settings { tiers: BTreeMap::new(), ..Settings::default() });
    let is_field = |line: &&str| line.contains(": ") && !line.ends_with(['{', '}']);
    let fields = shown.lines().map(|line| line.trim_end_matches(',')).filter(is_field).count();
    assert_eq!(fields, TABLE.len(), "{shown}");
    let groups = shown.lines().filter(|line| line.ends_with("{},")).count();
    assert_eq!(groups, KINDS.len(), "{shown}");
    let mut sections: Vec<_> = TABLE.iter().map(table::Setting::section).collect();
    sections.dedup();
    assert_eq!(sections, SECTIONS.map(|(section, _)| section));
}

#[test]
fn the_example_file_lists_every_setting_at_its_default() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("weighbridge.example.toml");
    let wanted = example::text();
    if environment::variable("UPDATE_EXAMPLE").is_some() {
        std::fs::write(&path, &wanted).unwrap();
    }
    let written = std::fs::read_to_string(&path).unwrap();
    assert_eq!(written, wanted, "run this test with UPDATE_EXAMPLE=1 to rewrite the file");

    let file = Some(("example", written.as_str()));
    let loaded = sources::of_texts(file, [], &Overrides::default()).unwrap();
    assert_eq!(loaded.settings, Settings::default());
    let from_file = |entry: &Effective| matches!(entry.source, Source::File { .. });
    // The tier that always exists is not written: see the groups, which are commented out.
    let mut plain = loaded.effective();
    plain.retain(|entry| !entry.key.starts_with("tiers.default."));
    assert_eq!(plain.len(), TABLE.len());
    assert!(plain.iter().all(from_file));
}
