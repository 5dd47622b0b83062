//! Secrets and keys: where they come from, and that nobody sees them.

use super::*;

#[test]
fn a_previous_key_needs_a_current_one_that_is_another() {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.display().to_string()
    };
    let one = file("one", "one key-encryption key of thirty-two characters");
    let two = file("two", "two key-encryption keys of thirty-two characters");
    let previous = |current: &str, previous: &str| {
        let text = format!("[encryption]\n{current}\nprevious_files = [{previous:?}]");
        let findings = read(&text, &[]).findings;
        let errors = findings.into_iter().filter(Finding::is_error).map(|finding| finding.to_string());
        errors.collect::<Vec<_>>()
    };
    let current = format!("current_file = {one:?}");
    assert_eq!(previous(&current, &two), [""; 0]);
    assert!(
        previous(&current, &one)[0]
            .ends_with("encryption.previous_files: has the current key; a new one has to be random")
    );
    assert!(
        previous("", &two)[0].ends_with(
            "encryption.current_file: is required beside encryption.previous_files, or kms_key is"
        )
    );
}

#[test]
fn a_key_of_kms_is_named_by_its_arn_and_wraps_alone() {
    const KEY: &str = "arn:aws:kms:eu-central-1:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab";
    let other = KEY.replace("1234abcd", "5678abcd");
    let read = |lines: &str| read(&format!("[encryption]\n{lines}"), &[]);
    let settings = read(&format!("kms_key = \"{KEY}\"\nprevious_kms_keys = [\"{other}\"]")).settings.unwrap();
    let Some(WrappingKey::Kms(key)) = settings.encryption.current else { panic!() };
    assert_eq!((key.arn(), key.region()), (KEY, "eu-central-1"));
    assert_eq!(settings.encryption.previous_kms_keys[0].arn(), other);
    for bad in [
        "",
        "1234abcd-12ab-34cd-56ef-1234567890ab",
        "alias/credentials",
        "arn:aws:kms:eu-central-1:111122223333:alias/credentials",
        "arn:aws:kms::111122223333:key/1234abcd",
        "arn:aws:kms:eu-central-1:hunter2:key/1234abcd",
        "arn:aws:s3:eu-central-1:111122223333:key/1234abcd",
        "arn:aws:kms:eu-central-1:111122223333:key/../x",
        "arn:aws:kms:eu-central-1:111122223333:key/1:2",
    ] {
        assert_eq!(read(&format!("kms_key = \"{bad}\"")).settings, None, "{bad}");
    }
    let told = |lines: &str| read(lines).findings.first().map(ToString::to_string).unwrap_or_default();
    let both = format!("current = \"a key-encryption key of thirty-two characters\"\nkms_key = \"{KEY}\"");
    assert!(told(&both).contains("encryption.kms_key: is set beside a key from a file"), "{}", told(&both));
    let same = format!("kms_key = \"{KEY}\"\nprevious_kms_keys = [\"{KEY}\"]");
    assert!(told(&same).ends_with("encryption.previous_kms_keys: has the current key"));
    let alone = format!("previous_kms_keys = [\"{KEY}\"]");
    assert!(
        told(&alone).contains("encryption.current_file: is required beside encryption.previous_kms_keys")
    );
}

#[test]
fn a_secret_comes_from_one_place_and_is_never_shown() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("x.toml");
    let load = |text: &str, env: &[(&str, &str)]| {
        let env = env.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        parse(&file, text, env)
    };
    let long = "0123456789-0123456789-0123456789";
    std::fs::write(folder.path().join("good"), format!("{long}\n")).unwrap();
    std::fs::write(folder.path().join("short"), "hunter2").unwrap();
    std::fs::write(folder.path().join("raw"), [0xff; 32]).unwrap();

    let inline = load(&format!("[secrets]\ncurrent = \"{long}\""), &[]).settings.unwrap();
    let from_file = load("[secrets]\ncurrent_file = \"good\"", &[]).settings.unwrap();
    assert_eq!(inline.secrets, from_file.secrets);
    assert!(!format!("{inline:?}").contains("0123456789"));
    assert!(load("[secrets]\ncurrent_file = \"raw\"", &[]).settings.is_some());
    // The environment decides alone, whichever of the two the file sets.
    let over = [("COUNTERSIGN_SECRETS__CURRENT", long)];
    assert!(load("[secrets]\ncurrent_file = \"missing\"", &over).settings.is_some());

    for (text, expected) in [
        ("", "secrets.current_file: is required"),
        (
            "[secrets]\ncurrent = \"hunter2\"",
            "secrets.current: is too short: at least 32 random bytes are needed",
        ),
        ("[secrets]\ncurrent_file = \"short\"", "secrets.current_file: is too short"),
        ("[secrets]\ncurrent = \"0123456789abcdef0123456789abcdef\"", "secrets.current: is too short"),
        ("[secrets]\ncurrent_file = \"missing\"", "cannot be read: No such file"),
        ("[secrets]\ncurrent = \"x\"\ncurrent_file = \"good\"", "is set together with current_file"),
    ] {
        let findings = load(text, &[]).findings;
        let errors: Vec<String> = findings.iter().filter(|f| f.is_error()).map(ToString::to_string).collect();
        assert_eq!(errors.len(), 1, "{text}: {errors:?}");
        assert!(errors[0].contains(expected), "{text}: {errors:?}");
        assert!(!errors[0].contains("hunter2"), "{text}: {errors:?}");
    }
}

#[test]
fn a_secret_file_open_to_others_is_a_warning() {
    use std::os::unix::fs::PermissionsExt as _;
    let folder = tempfile::tempdir().unwrap();
    let secret = folder.path().join("s");
    std::fs::write(&secret, "0123456789-0123456789-0123456789").unwrap();
    for (mode, warnings) in [(0o600, 0), (0o400, 0), (0o640, 1), (0o604, 1)] {
        std::fs::set_permissions(&secret, std::fs::Permissions::from_mode(mode)).unwrap();
        let loaded = parse(&folder.path().join("x.toml"), "[secrets]\ncurrent_file = \"s\"", []);
        assert!(loaded.settings.is_some());
        assert_eq!(loaded.findings.len(), warnings, "{mode:o}: {:?}", loaded.findings);
    }
}

#[test]
fn the_secrets_are_a_ring_without_repetition() {
    let folder = tempfile::tempdir().unwrap();
    for name in ["a", "b", "c"] {
        std::fs::write(
            folder.path().join(name),
            name.repeat(64).replace(['a', 'b', 'c'], &format!("{name}-")),
        )
        .unwrap();
        use std::os::unix::fs::PermissionsExt as _;
        std::fs::set_permissions(folder.path().join(name), std::fs::Permissions::from_mode(0o600)).unwrap();
    }
    let load = |previous: &str| {
        let text = format!("[secrets]\ncurrent_file = \"a\"\nprevious_files = [{previous}]");
        parse(&folder.path().join("x.toml"), &text, [])
    };
    let ring = load("\"b\", \"c\"").settings.unwrap().secrets;
    let first = ring.iter().map(|secret| char::from(secret.bytes()[0])).collect::<String>();
    assert_eq!(first, "abc");
    for (previous, expected) in [
        ("\"b\", \"b\"", "two secrets of the ring are equal"),
        ("\"a\"", "two secrets of the ring are equal"),
        ("\"d\"", "cannot be read"),
        ("\"b\",\"b\",\"b\",\"b\",\"b\",\"b\",\"b\",\"b\"", "expected at most 7 files"),
    ] {
        let loaded = load(previous);
        assert_eq!(loaded.settings, None);
        let finding = loaded.findings[0].to_string();
        assert!(finding.contains("secrets.previous_files: ") && finding.contains(expected), "{finding}");
    }
}
