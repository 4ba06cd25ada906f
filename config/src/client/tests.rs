use tempfile::TempDir;

use super::*;

const LOCAL: &str = "http://127.0.0.1:8081";

fn folder(url: Option<&str>, key: Option<&str>) -> TempDir {
    let folder = TempDir::new().unwrap();
    for (name, text) in [(URL_FILE, url), (KEY_FILE, key)] {
        if let Some(text) = text {
            std::fs::write(folder.path().join(name), text).unwrap();
        }
    }
    folder
}

fn find_with(
    url: Option<&str>,
    key: Option<&str>,
    data_dir: Option<&Path>,
    variable: impl Fn(&str) -> Option<String>,
) -> Result<ClientSettings, ClientSettingsError> {
    ClientSettings::find_with(&Flags { url, key, data_dir, ..Flags::default() }, variable)
}

fn key(found: &ClientSettings) -> &str {
    match &found.credential {
        Credential::Key(key) => key.expose(),
        Credential::Certificate(file) => panic!("{}", file.display()),
    }
}

/// Variables as they would be in the environment.
fn variables(pairs: &[(&str, &str)]) -> impl Fn(&str) -> Option<String> + use<> {
    let pairs: Vec<_> = pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
    move |name| pairs.iter().find(|(k, _)| k == name).map(|(_, v)| v.clone())
}

#[test]
fn a_flag_wins_over_a_variable_and_a_variable_over_a_file() {
    let folder = folder(Some("http://127.0.0.1:8081/\n"), Some("  wb_file\n"));
    let at = Some(folder.path());
    let none = variables(&[]);
    let vars = || variables(&[(URL_VARIABLE, "https://two:1"), (KEY_VARIABLE, "wb_variable")]);

    let found = find_with(None, None, at, none).unwrap();
    assert_eq!((found.url.as_str(), key(&found)), (LOCAL, "wb_file"));
    assert_eq!(found.credential_source, ClientSource::File(folder.path().join(KEY_FILE)));

    let found = find_with(None, None, at, vars()).unwrap();
    assert_eq!((found.url.as_str(), key(&found)), ("https://two:1", "wb_variable"));
    assert_eq!(found.url_source, ClientSource::Variable(URL_VARIABLE));

    let found = find_with(Some("http://one:1"), Some("wb_flag"), at, vars()).unwrap();
    assert_eq!((found.url.as_str(), key(&found)), ("http://one:1", "wb_flag"));
    assert_eq!(found.url_source, ClientSource::Flag("--url"));
}

#[test]
fn the_data_folder_may_come_from_its_variable() {
    let folder = folder(Some(LOCAL), Some("wb_file"));
    let vars = variables(&[(DATA_DIR_VARIABLE, folder.path().to_str().unwrap())]);
    let found = find_with(None, None, None, vars).unwrap();
    assert_eq!(key(&found), "wb_file");
}

#[test]
fn what_is_missing_is_named_with_what_to_set() {
    let empty = folder(None, None);
    let error = find_with(None, None, Some(empty.path()), variables(&[])).unwrap_err();
    assert!(matches!(error, ClientSettingsError::NoUrl(_)));
    for fact in ["--url", URL_VARIABLE, "--data-dir", URL_FILE] {
        assert!(error.to_string().contains(fact), "{error}");
    }
    let error = find_with(Some(LOCAL), None, Some(empty.path()), variables(&[])).unwrap_err();
    assert!(matches!(error, ClientSettingsError::NoKey(_)));
    for fact in ["--key", KEY_VARIABLE, "--data-dir", KEY_FILE] {
        assert!(error.to_string().contains(fact), "{error}");
    }
}

#[test]
fn the_key_of_a_folder_is_not_sent_to_another_server_unasked() {
    let folder = folder(Some(LOCAL), Some("wb_file"));
    let vars = || variables(&[(DATA_DIR_VARIABLE, folder.path().to_str().unwrap())]);
    let find = |url, at| find_with(Some(url), None, at, vars());

    let error = find("http://elsewhere:1", None).unwrap_err();
    assert!(matches!(error, ClientSettingsError::KeyOfAnotherServer { .. }), "{error}");
    assert!(find("http://127.0.0.1:8081/", None).is_ok());
    assert!(find("http://elsewhere:1", Some(folder.path())).is_ok());
}

#[test]
fn a_certificate_may_be_shown_instead_of_a_key() {
    let folder = folder(Some(LOCAL), Some("wb_file"));
    let find = |certificate: Option<&str>, vars: &[(&str, &str)]| {
        let (data_dir, certificate) = (Some(folder.path()), certificate.map(Path::new));
        let flags = Flags { data_dir, certificate, ..Flags::default() };
        let found = ClientSettings::find_with(&flags, variables(vars)).unwrap();
        (found.credential, found.credential_source)
    };
    let of = |file: &str| Credential::Certificate(file.into());
    let both = [(KEY_VARIABLE, "wb_variable"), (CERTIFICATE_VARIABLE, "b.pem")];
    let flag = ClientSource::Flag("--cert");
    assert_eq!(find(Some("a.pem"), &both), (of("a.pem"), flag));
    let variable = ClientSource::Variable(CERTIFICATE_VARIABLE);
    assert_eq!(find(None, &both[1..]), (of("b.pem"), variable));
    let variable = ClientSource::Variable(KEY_VARIABLE);
    assert_eq!(find(None, &both), (Credential::Key(Secret::new("wb_variable")), variable));
}

#[test]
fn addresses_and_keys_that_cannot_be_used_are_refused() {
    let find = |url, key| find_with(Some(url), Some(key), None, variables(&[]));
    for url in ["", "localhost:8081", "ftp://x", "http://", "http://a b", "http://user:pass@x"] {
        assert!(matches!(find(url, "k"), Err(ClientSettingsError::BadUrl { .. })), "{url}");
    }
    for key in ["", " \n", "a b", "é", "a\nb"] {
        assert!(matches!(find(LOCAL, key), Err(ClientSettingsError::BadKey(_))), "{key:?}");
    }
    let empty_file = folder(Some(LOCAL), Some("\n"));
    let found = find_with(None, None, Some(empty_file.path()), variables(&[]));
    assert!(matches!(found, Err(ClientSettingsError::BadKey(ClientSource::File(_)))));
}

#[test]
fn a_key_is_never_shown() {
    let found = find_with(Some(LOCAL), Some("wb_secret"), None, variables(&[])).unwrap();
    let shown = format!("{found:?}");
    assert!(!shown.contains("wb_secret") && shown.contains("[redacted]"), "{shown}");
    let error = find_with(Some(LOCAL), Some("wb secret"), None, variables(&[]));
    let error = error.unwrap_err();
    assert!(!format!("{error} {error:?}").contains("secret"), "{error:?}");
}
