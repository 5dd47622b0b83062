//! What is left of credentials in the memory of a process that has dealt with them: its heap, its stacks, what it has mapped.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::ErrorKind;
use std::os::unix::fs::FileExt as _;

use serde_json::json;

use super::credentials::{body, registered, send_by};
use super::{Running, send_to};
use crate::broker_stand_in::{ALPACA_KEY, ALPACA_SECRET, ALPACA_USER, StandIn};
use crate::command::run;
use crate::stage::Folder;
use crate::trading_accounts::{ACCOUNTS, ENCRYPTION, INTERNAL, alpaca};

/// At Alpaca, before and after a rotation: what is looked for.
const OLD: [&str; 2] = ["PKOLDOFTHISTESTONLY", "oldsecretofthistestonlyandnoother0000001"];
const NEW: [&str; 2] = [ALPACA_KEY, ALPACA_SECRET];

/// Which of these are in the memory of a process; `None` if the system lets nobody look.
fn found(pid: u32, needles: &[&'static str]) -> Option<BTreeSet<&'static str>> {
    let memory = match File::open(format!("/proc/{pid}/mem")) {
        Ok(memory) => memory,
        Err(error) if error.kind() == ErrorKind::PermissionDenied => return None,
        Err(error) => panic!("{error}"),
    };
    let maps = std::fs::read_to_string(format!("/proc/{pid}/maps")).unwrap();
    let (mut found, mut looked_at) = (BTreeSet::new(), 0);
    for line in maps.lines() {
        let mut fields = line.split_whitespace();
        let (range, rights) = (fields.next().unwrap(), fields.next().unwrap());
        if !rights.starts_with("rw") {
            continue;
        }
        let (start, end) = range.split_once('-').unwrap();
        let [start, end] = [start, end].map(|address| u64::from_str_radix(address, 16).unwrap());
        let mut bytes = vec![0; usize::try_from(end - start).unwrap()];
        // Some of what is mapped cannot be read, the kernel's own pages for one.
        let Ok(length) = memory.read_at(&mut bytes, start) else { continue };
        looked_at += length;
        found.extend(needles.iter().filter(|needle| is_in(&bytes[..length], needle.as_bytes())));
    }
    assert!(looked_at > 1 << 20, "{looked_at}");
    Some(found)
}

fn is_in(bytes: &[u8], needle: &[u8]) -> bool {
    bytes.windows(needle.len()).any(|window| window[0] == needle[0] && window == needle)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_credentials_are_left_in_memory_after_use() {
    let stand_in = StandIn::start().await;
    let issuer =
        Running::start_as(Folder::new(&format!("{ENCRYPTION}{}", stand_in.config())), |command| command);
    tokio::task::spawn_blocking(move || {
        let scopes = ["--scope", "trading-accounts:read", "--scope", "credentials:read"];
        let added = run(&issuer.folder, &[&["services", "add", "ticker"], &scopes[..]].concat());
        let service = added.out.trim();
        let token = registered(&issuer, "ada@example.com");
        let send = |path: &str, body: &serde_json::Value| send_by(issuer.address, &token, path, body).unwrap();
        let mut account = alpaca();
        (account["api_key"], account["api_secret"]) = (json!(OLD[0]), json!(OLD[1]));
        let id = body(&send(ACCOUNTS, &account), 201)["account_id"].as_str().unwrap().to_owned();
        // Refused by the broker, read by nobody; then replaced, verified and read.
        body(&send(&format!("{ACCOUNTS}/{id}/verify"), &json!({})), 200);
        let new = json!({"api_key": NEW[0], "api_secret": NEW[1]});
        body(&send(&format!("{ACCOUNTS}/{id}/rotate"), &new), 200);
        body(&send(&format!("{ACCOUNTS}/{id}/verify"), &json!({})), 200);
        for _ in 0..5 {
            let head = "connection: close\r\ncontent-length: 0";
            let read = format!(
                "POST {INTERNAL}/{id}/credentials HTTP/1.1\r\nhost: x\r\n{head}\r\nx-service-token: {service}\r\n\r\n"
            );
            assert_eq!(body(&send_to(issuer.internal, &read).unwrap(), 200)["api_secret"], NEW[1]);
        }
        let wanted = [&OLD[..], &NEW[..], &[ALPACA_USER]].concat();
        match found(issuer.child.id(), &wanted) {
            // What is looked for is found if it is there: what the broker calls the account is no secret.
            Some(found) => assert_eq!(found, BTreeSet::from([ALPACA_USER])),
            // Only a privileged user may look at all, which is what `a_crash_leaves_no_picture_of_the_memory` wants.
            None => assert_ne!(rustix::process::geteuid(), rustix::process::Uid::ROOT),
        }
    })
    .await
    .unwrap();
}
