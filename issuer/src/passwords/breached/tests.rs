use std::fmt::Write as _;

use super::*;

const LEAKED: [&str; 4] =
    ["password", "tundra-adagio-velvet-97", "\u{C5}ngstr\u{F6}m", "A\u{30A}ngstro\u{308}m"];

/// `HASH:COUNT` lines of passwords, sorted; the first was seen once, the next twice, and so on.
fn lines(passwords: &[&str]) -> String {
    let mut lines: Vec<String> = passwords
        .iter()
        .zip(1..)
        .map(|(password, count)| {
            let hash = Sha1::digest(password.as_bytes()).iter().fold(String::new(), |mut hex, byte| {
                let _ = write!(hex, "{byte:02X}");
                hex
            });
            format!("{hash}:{count}\r\n")
        })
        .collect();
    lines.sort();
    lines.concat()
}

struct Folder(tempfile::TempDir);

impl Folder {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn write(&self, name: &str, text: &str) -> PathBuf {
        std::fs::write(self.path(name), text).unwrap();
        self.path(name)
    }

    fn build(&self, paths: &[PathBuf], min_count: u64) -> Result<Built, BuildError> {
        let like = std::fs::metadata(self.0.path()).unwrap();
        let sources = Sources::find(paths)?;
        let (all, mut read) = (sources.bytes(), 0);
        let built = build(sources, &self.path("list"), &like, min_count, |bytes| read = bytes)?;
        assert_eq!(read, all);
        Ok(built)
    }

    fn open(&self) -> Result<BreachedList, BreachedError> {
        BreachedList::open(&self.path("list"))
    }
}

fn has(list: &BreachedList, password: &str) -> bool {
    list.has(&Password::new(password.to_owned())).unwrap()
}

#[test]
fn what_leaked_is_found_in_any_form_and_nothing_else() {
    let folder = Folder::new();
    let file = folder.write("all.txt", &lines(&LEAKED));
    assert_eq!(folder.build(&[file], 1).unwrap(), Built { read: 4, kept: 4 });
    let list = folder.open().unwrap();
    list.verify().unwrap();
    assert_eq!(list.count(), 4);
    for password in LEAKED.into_iter().chain(["\u{212B}ngstr\u{F6}m"]) {
        assert!(has(&list, password), "{password}");
    }
    for password in ["", "Password", "tundra-adagio-velvet-98", "\u{C5}ngstrom"] {
        assert!(!has(&list, password), "{password}");
    }
}

#[test]
fn many_are_found_in_their_buckets() {
    let folder = Folder::new();
    let passwords: Vec<String> = (0..20_000).map(|number| number.to_string()).collect();
    let passwords: Vec<&str> = passwords.iter().map(String::as_str).collect();
    let (even, odd): (Vec<&str>, Vec<&str>) =
        passwords.iter().partition(|password| password.ends_with(['0', '2', '4', '6', '8']));
    // Of two files with some hashes in both.
    let files = [folder.write("one", &lines(&even)), folder.write("two", &lines(&passwords[..15_000]))];
    let built = folder.build(&files, 1).unwrap();
    assert_eq!(built, Built { read: 25_000, kept: 17_500 });
    let list = folder.open().unwrap();
    list.verify().unwrap();
    assert!(even.iter().all(|password| has(&list, password)));
    assert!(odd.iter().all(|password| has(&list, password) == (password.parse::<u32>().unwrap() < 15_000)));
}

#[test]
fn files_by_range_are_one_list() {
    let folder = Folder::new();
    std::fs::create_dir(folder.path("ranges")).unwrap();
    for line in lines(&LEAKED).lines() {
        let (range, rest) = line.split_at(5);
        folder.write(&format!("ranges/{}.txt", range.to_lowercase()), &format!("{rest}\n\n"));
    }
    folder.write("ranges/README.md", "no range");
    assert_eq!(folder.build(&[folder.path("ranges")], 1).unwrap().kept, 4);
    assert!(LEAKED.iter().all(|password| has(&folder.open().unwrap(), password)));
    assert!(matches!(folder.build(&[folder.0.path().to_owned()], 1), Err(BuildError::NoRanges { .. })));
}

#[test]
fn what_was_rarely_seen_can_be_left_out() {
    let folder = Folder::new();
    let file = folder.write("all", &lines(&LEAKED));
    assert_eq!(folder.build(std::slice::from_ref(&file), 2).unwrap(), Built { read: 4, kept: 3 });
    assert!(!has(&folder.open().unwrap(), LEAKED[0]) && has(&folder.open().unwrap(), LEAKED[1]));
    assert!(matches!(folder.build(&[file], 5), Err(BuildError::Nothing)));
}

#[test]
fn a_line_that_is_wrong_is_named_and_the_list_before_stays() {
    let folder = Folder::new();
    let good = lines(&LEAKED);
    let file = folder.write("all", &good);
    folder.build(&[file], 1).unwrap();
    let before = std::fs::read(folder.path("list")).unwrap();
    let reversed: String = good.lines().rev().map(|line| format!("{line}\n")).collect();
    let endless = format!("{good}{}", "A".repeat(1 << 20));
    for (text, line, what) in [
        (reversed.as_str(), 2, "has to be sorted by hash"),
        (&good.replace(":3", ""), 0, "a colon and a number"),
        (&good.replace(":3", ":many"), 0, "a colon and a number"),
        (&good.replace(':', "0:"), 1, "40 hexadecimal digits"),
        ("password:3\n", 1, "40 hexadecimal digits"),
        (&endless, 5, "40 hexadecimal digits"),
        ("\u{FEFF}\n", 1, "40 hexadecimal digits"),
    ] {
        let error = folder.build(&[folder.write("spoiled", text)], 1).unwrap_err().to_string();
        let named = line == 0 || error.contains(&format!("spoiled: line {line}: "));
        assert!(named && error.contains(what), "{error}");
        assert_eq!(std::fs::read(folder.path("list")).unwrap(), before);
    }
    let left: Vec<_> =
        std::fs::read_dir(folder.0.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert!(!left.iter().any(|name| name.to_string_lossy().ends_with(".new")), "{left:?}");
}

#[test]
fn a_list_that_is_no_list_or_damaged_is_told() {
    let folder = Folder::new();
    assert!(matches!(folder.open(), Err(BreachedError::Unreadable { .. })));
    for text in ["", "short", &lines(&LEAKED), &"\0".repeat(1 << 20)] {
        folder.write("list", text);
        assert!(matches!(folder.open(), Err(BreachedError::Foreign { .. })), "{text:.20}");
    }
    let file = folder.write("all", &lines(&LEAKED));
    folder.build(&[file], 1).unwrap();
    let good = std::fs::read(folder.path("list")).unwrap();
    // In the count, in a checksum, in the index, cut anywhere, with more at its end.
    for at in [13, 22, 30, 500_000] {
        let mut spoiled = good.clone();
        spoiled[at] ^= 1;
        std::fs::write(folder.path("list"), spoiled).unwrap();
        assert!(matches!(folder.open(), Err(BreachedError::Damaged { .. })), "{at}");
    }
    for text in [&good[..good.len() - 1], &good[..100], &[&good[..], b"x"].concat()] {
        std::fs::write(folder.path("list"), text).unwrap();
        assert!(matches!(folder.open(), Err(BreachedError::Damaged { .. })), "{}", text.len());
    }
    // In an entry: nobody is told that a password is good that may be in the list.
    let mut spoiled = good.clone();
    *spoiled.last_mut().unwrap() ^= 1;
    std::fs::write(folder.path("list"), spoiled).unwrap();
    let list = folder.open().unwrap();
    assert!(matches!(list.verify(), Err(BreachedError::Damaged { .. })));
    let asked: Vec<_> =
        LEAKED.iter().map(|password| list.has(&Password::new((*password).to_owned()))).collect();
    assert_eq!(asked.iter().filter(|asked| asked.is_err()).count(), 1, "{asked:?}");
}
