use std::collections::BTreeMap;
use std::io::BufReader;

use super::*;
use crate::ambient::UnixTime;
use crate::config::Roles;

const HASH: &str = "$2b$12$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW";

fn rules() -> Rules {
    Rules {
        roles: Roles(BTreeMap::from([("user".to_owned(), vec!["x:read".to_owned()])])),
        default_roles: vec!["user".to_owned()],
        verified: false,
        now: UnixTime::from_seconds(1_795_176_000),
    }
}

/// The address of each user, or why there is none, by line.
fn read(format: Format, text: &[u8]) -> Vec<(u64, Result<String, Refusal>)> {
    let mut users = Users::open(BufReader::with_capacity(16, text), format, rules()).unwrap();
    let next = || users.read().unwrap();
    std::iter::from_fn(next).map(|(line, user)| (line, user.map(|user| user.email.to_string()))).collect()
}

fn header_error(text: &[u8]) -> HeaderError {
    match Users::open(text, Format::Csv, rules()) {
        Err(InvalidFile::Header(error)) => error,
        other => panic!("{other:?}"),
    }
}

/// Rows under the usual header.
fn csv(rows: &str) -> Vec<(u64, Result<String, Refusal>)> {
    read(Format::Csv, format!("id,email,hashed_password,name\n{rows}").as_bytes())
}

fn ada(id: u64) -> String {
    format!("{id},ada{id}@example.com,{HASH},Ada\n")
}

fn imported(line: u64, id: u64) -> (u64, Result<String, Refusal>) {
    (line, Ok(format!("ada{id}@example.com")))
}

#[test]
fn columns_are_found_by_name_in_any_order() {
    let text =
        format!("\u{feff}Password_Hash,Shoe size,EMAIL,id\r\n\"{HASH}\",43,\"a@example.com\",\"1\"\r\n");
    assert_eq!(read(Format::Csv, text.as_bytes()), [(2, Ok("a@example.com".into()))]);
    let users = Users::open(text.as_bytes(), Format::Csv, rules()).unwrap();
    assert_eq!(users.unread_columns(), ["Shoe size"]);
}

#[test]
fn a_file_that_names_no_columns_is_refused_as_a_whole() {
    assert_eq!(header_error(b""), HeaderError::Empty);
    assert_eq!(header_error(b"\n \n"), HeaderError::Empty);
    assert_eq!(header_error(b"\xff\xfei\0d\0"), HeaderError::Utf16);
    assert_eq!(header_error(b"id;email;password_hash\n"), HeaderError::NoCommas);
    assert_eq!(header_error(b"id,email\n"), HeaderError::Missing { column: "hashed_password" });
    assert_eq!(header_error(ada(1).as_bytes()), HeaderError::Missing { column: "id" });
    let twice = HeaderError::Line(Refusal::Twice("password_hash".into()));
    assert_eq!(header_error(b"id,hashed_password,email,password_hash\n"), twice);
    assert_eq!(header_error(b"id,\xff\n"), HeaderError::Line(Refusal::NotUtf8));
    let array = Users::open(&b" [{\"id\":1}]"[..], Format::JsonLines, rules());
    assert!(matches!(array, Err(InvalidFile::Header(HeaderError::Array))));
}

#[test]
fn a_record_may_have_several_lines_in_columns_that_mean_nothing() {
    let rows = format!(
        "1,a@example.com,{HASH},\"a \"\"quoted\"\"\r\n\r\nstory\"\r\n2,b@example.com,{HASH},none\r\n"
    );
    let read = read(Format::Csv, format!("id,email,hashed_password,bio\n{rows}").as_bytes());
    assert_eq!(read, [(2, Ok("a@example.com".into())), (5, Ok("b@example.com".into()))]);
}

#[test]
fn a_quote_left_open_spoils_its_own_line_only() {
    let rows = format!("{}2,\"ada2@example.com,{HASH},Ada\n{}{}", ada(1), ada(3), ada(4));
    assert_eq!(csv(&rows), [imported(2, 1), (3, Err(Refusal::OpenQuote)), imported(4, 3), imported(5, 4)]);
    // Also if a quote of another record closes it.
    let quoted = ada(5).replace("Ada", "\"Ada\"");
    for open in ["2,ada2@example.com,hash,\"Ada\n", "2,\"ada2@example.com,hash,Ada\n"] {
        let rows = csv(&format!("{}{open}{}{quoted}", ada(1), ada(4)));
        assert_eq!(rows, [imported(2, 1), (3, Err(Refusal::OpenQuote)), imported(4, 4), imported(5, 5)]);
    }
    // Also if what follows is longer than any record.
    let many: String = (3..2000).map(ada).collect();
    let rows = csv(&format!("{}2,\"ada2@example.com,{HASH},Ada\n{many}", ada(1)));
    assert_eq!((rows.len(), &rows[1], &rows[2]), (1999, &(3, Err(Refusal::OpenQuote)), &imported(4, 3)));
    assert_eq!(rows.last().unwrap(), &imported(2000, 1999));
}

#[test]
fn what_is_wrong_in_a_line_is_named_with_its_number() {
    let long = format!("2,{},{HASH},Ada\n", "x".repeat(70_000));
    let many = ",".repeat(300);
    for (bad, refusal) in [
        (long.as_bytes(), Refusal::TooLong),
        (format!("2,{many}\n").as_bytes(), Refusal::ManyColumns),
        (b"2,a@example.com\n", Refusal::Columns { found: 2, expected: 4 }),
        (b"2,b@example.com,c,d,e\n", Refusal::Columns { found: 5, expected: 4 }),
        (b"2,\xe9@example.com,x,y\n", Refusal::NotUtf8),
        (b"2,a\0@example.com,x,y\n", Refusal::Nul),
    ] {
        let text = [b"id,email,hashed_password,name\n", ada(1).as_bytes(), bad, ada(3).as_bytes()].concat();
        let expected = [imported(2, 1), (3, Err(refusal)), imported(4, 3)];
        assert_eq!(read(Format::Csv, &text), expected);
    }
}

#[test]
fn lines_of_json_are_read_as_rows_are() {
    let ada = |id| format!(r#"{{"id":{id},"email":"ada{id}@example.com","password_hash":"{HASH}"}}"#);
    let text = format!("\u{feff}{}\r\n\nnonsense\n{{\"id\":\"a\\u0000b\"}}\n{}", ada(1), ada(2));
    let expected = [imported(1, 1), (3, Err(Refusal::NoObject)), (4, Err(Refusal::Nul)), imported(5, 2)];
    assert_eq!(read(Format::JsonLines, text.as_bytes()), expected);
}

/// A file without end that takes no memory.
struct Endless;

impl std::io::Read for Endless {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        buffer.fill(b'x');
        Ok(buffer.len())
    }
}

#[test]
fn a_line_of_gigabytes_takes_no_memory() {
    use std::io::Read as _;
    let text = &b"id,email,hashed_password\n1,\""[..];
    let rest = format!("\n{}", ada(3).replace(",Ada", ""));
    let input = text.chain(Endless.take(1 << 31)).chain(rest.as_bytes());
    let mut users = Users::open(BufReader::with_capacity(1 << 20, input), Format::Csv, rules()).unwrap();
    assert_eq!(users.read().unwrap().unwrap().1.unwrap_err(), Refusal::TooLong);
    assert_eq!(users.read().unwrap().unwrap().0, 3);
}

proptest::proptest! {
    #[test]
    fn no_file_does_harm(text in proptest::collection::vec(proptest::num::u8::ANY, 0..400), json in proptest::bool::ANY) {
        let format = if json { Format::JsonLines } else { Format::Csv };
        let header: &[u8] = if json { b"" } else { b"id,email,password_hash\n" };
        let text = [header, &text].concat();
        if let Ok(mut users) = Users::open(&text[..], format, rules()) {
            while users.read().unwrap().is_some() {}
        }
    }
}
