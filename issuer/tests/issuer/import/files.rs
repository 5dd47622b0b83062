//! What files may be, and what is told of lines that are wrong.

use serde_json::json;

use super::{bcrypt, import, summary};
use crate::stage::{PASSWORD, TestApp};

const HEADER: &str = "id,email,hashed_password,name";

fn row(id: u64) -> String {
    format!("{id},user{id}@example.com,{},Some One", bcrypt(PASSWORD.as_bytes()))
}

#[tokio::test]
async fn a_line_that_is_wrong_is_named_and_stops_nothing() {
    let app = TestApp::new().await;
    let hash = bcrypt(PASSWORD.as_bytes());
    let strong = hash.replace("$04$", "$31$");
    let lines: [Vec<u8>; 19] = [
        HEADER.into(),
        row(1).into_bytes(),
        b"no,columns".to_vec(),
        format!("3,\u{430}da@example.com,{hash},x").into_bytes(),
        format!("4,no address,{hash},x").into_bytes(),
        format!("5,e@example.com,{strong},x").into_bytes(),
        b"6,f@example.com,hunter2,x".to_vec(),
        b"7,g@example.com,,x".to_vec(),
        format!("\"8,9\",h@example.com,{hash},x").into_bytes(),
        format!("9,i@example.com,{hash},=cmd|'/c calc'!A0").into_bytes(),
        [b"10,j@example.com,", hash.as_bytes(), b",\xe9t\xe9"].concat(),
        format!("11,k@example.com,{hash},a\0b").into_bytes(),
        format!("12,l@example.com,{hash},\"never closed").into_bytes(),
        format!("13,m@example.com,{hash},{}", "x".repeat(100_000)).into_bytes(),
        format!("14,USER1@Example.com,{hash},x").into_bytes(),
        format!("1,n@example.com,{hash},x").into_bytes(),
        row(1).into_bytes(),
        format!("17,o@example.com,{hash},\"two\nlines\"").into_bytes(),
        row(18).into_bytes(),
    ];
    let text = [b"\xef\xbb\xbf", &lines.join(&b"\r\n"[..])[..], b"\r\n"].concat();
    let ran = import(&app, "users.csv", &text, &[]);
    assert_eq!((ran.code, &ran.out), (1, &summary(2, 1, 16)));
    let expected = [
        (3, "has 2 columns and not 4 as the first line"),
        (4, "email has letters outside ASCII"),
        (5, "email must be an e-mail address"),
        (6, "the password hash cannot be used: its parameters are out of bounds"),
        (7, "the password hash cannot be used: not a password hash in PHC form"),
        (8, "has no hashed_password"),
        (9, "id must have 1 to 64 visible ASCII characters"),
        (10, "name begins as a formula of a spreadsheet does"),
        (11, "is not UTF-8"),
        (12, "has a NUL in it"),
        (13, "a quote is opened and not closed"),
        (14, "is longer than 64 KiB"),
        (15, "its address, written in lower case, has an account already, under another id"),
        (16, "its id is that of another address's account"),
        (18, "a quote is opened and not closed"),
        (19, "has 1 columns and not 4 as the first line"),
    ];
    assert_eq!(ran.err.lines().count(), expected.len(), "{}", ran.err);
    for (line, (number, reason)) in ran.err.lines().zip(expected) {
        assert!(line.starts_with(&format!("line {number}: {reason}")), "{line} is not {number}: {reason}");
    }
    assert!(!ran.err.contains("$2b$") && !ran.err.contains("hunter2"), "{}", ran.err);
    assert_eq!(app.value::<i64>("SELECT COUNT(*) FROM users").await, 2);
    // What would come of it says the same, on a database where nothing is.
    let fresh = TestApp::new().await;
    let dry = import(&fresh, "users.csv", &text, &["--dry-run"]);
    assert_eq!((dry.code, &dry.err), (1, &ran.err));
    assert_eq!(dry.out, format!("would be {}", summary(2, 1, 16)));
    assert_eq!(fresh.value::<i64>("SELECT COUNT(*) FROM users").await, 0);
}

#[tokio::test]
async fn a_file_of_another_kind_is_refused_as_a_whole() {
    let app = TestApp::new().await;
    let utf16: Vec<u8> = "\u{feff}id,email\n".encode_utf16().flat_map(u16::to_le_bytes).collect();
    for (name, text, expected) in [
        ("users.csv", &b""[..], "users.csv: is empty"),
        ("users.csv", row(1).as_bytes(), "the first line has to name the columns, and there is no id"),
        ("users.csv", b"id,email,name\n", "there is no hashed_password"),
        ("users.csv", b"id;email;hashed_password\n", "the columns have to be separated by commas"),
        ("users.csv", &utf16, "is UTF-16; it has to be UTF-8"),
        ("users.jsonl", b"[{\"id\":1}]", "is one JSON array; it has to be an object in every line"),
        ("users.xlsx", b"PK", "say --format csv or --format jsonl"),
    ] {
        let ran = import(&app, name, text, &[]);
        assert_eq!((ran.code, ran.out.as_str(), ran.err.lines().count()), (1, "", 1), "{}", ran.err);
        assert!(
            ran.err.starts_with("error: ") && ran.err.contains(expected),
            "{} has no {expected}",
            ran.err
        );
        assert!(!ran.err.contains("$2b$"), "{}", ran.err);
    }
    let named = import(&app, "users.txt", format!("{HEADER}\n{}\n", row(1)), &["--format", "csv"]);
    assert_eq!(named.code, 0, "{}", named.err);
}

#[tokio::test]
async fn columns_that_mean_nothing_are_named_once() {
    let app = TestApp::new().await;
    let text = format!("shoe \u{1b}[2Jsize,{HEADER},phone\n43,{},1\n44,{},2\n", row(1), row(2));
    let ran = import(&app, "users.csv", text, &[]);
    assert_eq!((ran.code, ran.err.as_str()), (0, "columns that are not read: shoe \\u{1b}[2Jsize, phone\n"));
}

#[tokio::test]
async fn roles_come_from_the_file_or_the_command() {
    let app = TestApp::with("[roles]\ntrader = [\"orders:write\"]\n", |_| ()).await;
    let hash = bcrypt(PASSWORD.as_bytes());
    let text = format!(
        "id,email,hashed_password,roles,is_admin,email_verified\n1,a@example.com,{hash},,,\n\
         2,b@example.com,{hash},\"user, trader\",,\n3,c@example.com,{hash},,t,f\n4,d@example.com,{hash},king,,\n"
    );
    let ran = import(&app, "users.csv", text, &["--role", "trader", "--verified"]);
    assert_eq!((ran.code, ran.out), (1, summary(3, 0, 1)));
    assert_eq!(
        ran.err,
        "line 5: roles has one that the configuration does not have; it has admin, trader, user\n"
    );
    for (id, roles) in [("1", "trader"), ("2", "user trader"), ("3", "trader admin")] {
        let found: String =
            sqlx::query_scalar("SELECT roles FROM users WHERE id = $1 AND email_verified = 1")
                .bind(id)
                .fetch_one(app.app.db.reads())
                .await
                .unwrap();
        assert_eq!(found, roles);
    }
    let ran = import(&app, "users.csv", "", &["--role", "king"]);
    assert!(ran.code == 1 && ran.err.contains("there is no role \"king\""), "{}", ran.err);
}

#[tokio::test]
async fn the_summary_is_for_programs_too() {
    let app = TestApp::new().await;
    let ran = import(&app, "users.csv", format!("{HEADER}\n{}\nbad\n", row(1)), &["--json"]);
    let summary: serde_json::Value = serde_json::from_str(&ran.out).unwrap();
    assert_eq!(summary, json!({"dry_run": false, "imported": 1, "imported_before": 0, "refused": 1}));
    assert_eq!((ran.code, ran.out.lines().count()), (1, 1));
}
