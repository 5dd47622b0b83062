//! `countersign users`: accounts by command, under the rules that registering has.

use std::io::Write as _;
use std::process::Stdio;

use countersign_issuer::ambient::Ids;
use countersign_issuer::db::{self, Schema};

use super::{Ran, countersign, fails, ran, run};
use crate::letters::MAIL;
use crate::stage::{Folder, PASSWORD};

pub(crate) fn run_with_password(folder: &Folder, arguments: &[&str], password: &str) -> Ran {
    let mut command = countersign(&folder.config());
    command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    // It may have refused before it came to the password.
    let _ = writeln!(child.stdin.take().unwrap(), "{password}");
    ran(child.wait_with_output().unwrap())
}

#[test]
fn users_are_made_listed_and_given_roles() {
    let folder = Folder::new("").for_a_process();
    let create = [
        "users",
        "create",
        "--email",
        "Root@Example.com",
        "--name",
        "Root",
        "--role",
        "admin",
        "--password-stdin",
    ];
    assert_eq!(run(&folder, &["migrate"]).code, 0);
    let ran = run_with_password(&folder, &create, PASSWORD);
    assert_eq!(ran.code, 0, "{}", ran.err);
    assert!(ran.out.contains("root@example.com (admin)") && !ran.out.contains(PASSWORD), "{}", ran.out);
    let again = run_with_password(&folder, &create, PASSWORD);
    assert_eq!(
        (again.code, again.err.as_str()),
        (1, "error: an account with root@example.com exists already\n")
    );

    let set = run(&folder, &["users", "set-role", "ROOT@example.com", "user", "admin"]);
    assert_eq!((set.code, set.out.as_str()), (0, "root@example.com: user, admin\n"));
    let unlocked = run(&folder, &["users", "unlock", "ROOT@example.com"]);
    assert_eq!((unlocked.code, unlocked.out.as_str()), (0, "root@example.com: was not locked\n"));
    let list = run(&folder, &["users", "list"]).out;
    assert!(
        list.lines().nth(1).unwrap().contains("root@example.com") && list.contains("user,admin"),
        "{list}"
    );
    let json: serde_json::Value =
        serde_json::from_str(&run(&folder, &["users", "list", "--json"]).out).unwrap();
    assert_eq!((&json[0]["email"], &json[0]["roles"][1]), (&"root@example.com".into(), &"admin".into()));
    fails(
        &folder,
        &["users", "deactivate", "root@example.com"],
        "root@example.com is the last administrator",
    );
    let force = ["users", "deactivate", "ROOT@example.com", "--force"];
    for (command, outcome) in [
        (&force[..], "inactive"),
        (&force[..], "inactive already"),
        (&["users", "activate", "ROOT@example.com"], "active"),
    ] {
        let set = run(&folder, command);
        assert_eq!((set.code, set.out), (0, format!("root@example.com: {outcome}\n")), "{}", set.err);
    }
    let reset = run(&folder, &["users", "reset-mfa", "ROOT@example.com"]);
    assert_eq!(
        (reset.code, reset.out.as_str()),
        (0, "root@example.com: no second factor\n"),
        "{}",
        reset.err
    );
    fails(&folder, &["users", "reset-mfa", "who@example.com"], "there is no account with who@example.com");
    fails(&folder, &["users", "deactivate", "who@example.com"], "there is no account with who@example.com");
    fails(
        &folder,
        &["users", "set-role", "root@example.com", "king"],
        "there is no role \"king\"; the configuration has admin, user",
    );
    fails(
        &folder,
        &["users", "set-role", "who@example.com", "user"],
        "there is no account with who@example.com",
    );
}

#[test]
fn the_last_administrator_goes_only_by_force() {
    let folder = Folder::new("").for_a_process();
    assert_eq!(run(&folder, &["migrate"]).code, 0);
    for email in ["root@example.com", "ada@example.com"] {
        let role = if email.starts_with("root") { "admin" } else { "user" };
        let create =
            ["users", "create", "--email", email, "--name", "Some One", "--role", role, "--password-stdin"];
        assert_eq!(run_with_password(&folder, &create, PASSWORD).code, 0);
    }
    for command in [
        &["users", "deactivate", "root@example.com"][..],
        &["users", "set-role", "root@example.com", "user"],
        &["users", "delete", "root@example.com"],
    ] {
        fails(&folder, command, "root@example.com is the last administrator who can log in; --force");
    }
    let ran = run(&folder, &["users", "delete", "ada@example.com"]);
    assert!(ran.code == 0 && ran.out.starts_with("deleted ada@example.com ("), "{} {}", ran.out, ran.err);
    let ran = run(&folder, &["users", "delete", "root@example.com", "--force"]);
    assert_eq!(ran.code, 0, "{}", ran.err);
    assert_eq!(run(&folder, &["users", "list", "--json"]).out, "[]\n");
}

#[test]
fn a_password_is_set_and_sessions_are_ended_by_command() {
    let folder = Folder::new("").for_a_process();
    assert_eq!(run(&folder, &["migrate"]).code, 0);
    let create = ["users", "create", "--email", "ada@example.com", "--name", "Ada", "--password-stdin"];
    assert_eq!(run_with_password(&folder, &create, PASSWORD).code, 0);
    let set = ["users", "set-password", "ADA@example.com", "--password-stdin"];
    let ran = run_with_password(&folder, &set, "another-velvet-tundra-31");
    assert_eq!((ran.code, ran.out.as_str()), (0, "ada@example.com: new password; its sessions have ended\n"));
    let weak = run_with_password(&folder, &set, "password1234");
    assert!(weak.code == 1 && weak.err.contains("the password is too easy to guess"), "{}", weak.err);
    let ran = run(&folder, &["users", "end-sessions", "ada@example.com"]);
    assert_eq!((ran.code, ran.out.as_str()), (0, "ada@example.com: its sessions have ended\n"));
    fails(&folder, &["users", "end-sessions", "who@example.com"], "there is no account with who@example.com");
    let found = run(&folder, &["users", "list", "--search", "AD"]).out;
    assert!(found.lines().count() == 2 && found.contains("ada@example.com"), "{found}");
    assert_eq!(run(&folder, &["users", "list", "--search", "b"]).out.lines().count(), 1);
    fails(&folder, &["users", "list", "--search", "a b"], "is not what an address begins with");
}

#[test]
fn users_are_held_to_the_rules_of_registration() {
    let folder = Folder::new("").for_a_process();
    let create = |email, name, password| {
        let arguments = ["users", "create", "--email", email, "--name", name, "--password-stdin"];
        let ran = run_with_password(&folder, &arguments, password);
        assert_eq!((ran.code, ran.err.lines().count()), (1, 1), "{}", ran.err);
        ran.err
    };
    assert!(create("root", "Root", PASSWORD).contains("\"root\" must be an e-mail address"));
    assert!(create("a@example.com", " ", PASSWORD).contains("--name must have 1 to 128 characters"));
    assert!(create("a@example.com", "A", "password1234").contains("the password is too easy to guess"));
    assert!(create("a@example.com", "A", "").contains("the password must have at least 12 characters"));
    fails(&folder, &["users", "create", "--email", "a@example.com", "--name", "A"], "--password-stdin");
}

#[test]
fn no_argument_takes_a_password() {
    let help = run(&Folder::on_a_file(), &["users", "create", "--help"]).out;
    assert!(help.contains("--password-stdin") && !help.contains("--password "), "{help}");
}

#[tokio::test]
async fn whose_password_is_set_by_command_is_told_by_mail() {
    let folder = Folder::new(MAIL).for_a_process();
    assert_eq!(run(&folder, &["migrate"]).code, 0);
    let create = ["users", "create", "--email", "ada@example.com", "--name", "Ada", "--password-stdin"];
    assert_eq!(run_with_password(&folder, &create, PASSWORD).code, 0);
    let set = ["users", "set-password", "ada@example.com", "--password-stdin"];
    assert_eq!(run_with_password(&folder, &set, "another-velvet-tundra-31").code, 0);
    let db = db::open(&folder.settings(), Schema::Expect, &Ids::system()).await.unwrap();
    let waiting = sqlx::query_as("SELECT kind, recipient FROM mail_outbox").fetch_all(db.reads()).await;
    let waiting: Vec<(String, String)> = waiting.unwrap();
    assert_eq!(waiting, [("password_changed".to_owned(), "ada@example.com".to_owned())]);
    let verified = "SELECT email_verified FROM users";
    assert_eq!(sqlx::query_scalar::<_, i64>(verified).fetch_one(db.reads()).await.unwrap(), 1);
    db.close().await;
}
