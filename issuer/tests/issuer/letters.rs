//! What people find in their mailboxes: the messages that the issuer has written into its folder.

use std::os::unix::fs::PermissionsExt as _;

use crate::stage::TestApp;

/// With mail, into the folder beside the configuration.
pub(crate) const MAIL: &str =
    "[mail]\ntransport = \"file\"\nfrom = \"Trade <no-reply@trade.example>\"\nservice_name = \"Trade\"\n";

/// With mail, and with addresses verified before anybody logs in.
pub(crate) const VERIFY: &str = "[accounts]\nverify_email = true\n[mail]\ntransport = \"file\"\n\
                                 from = \"Trade <no-reply@trade.example>\"\nservice_name = \"Trade\"\n";

/// A message, as it is in the folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Letter(pub(crate) String);

impl Letter {
    pub(crate) fn header(&self, name: &str) -> &str {
        let head = self.0.split("\r\n\r\n").next().unwrap();
        let found = head.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
        found.unwrap_or_else(|| panic!("no {name} in {head}"))
    }

    pub(crate) fn is_for(&self, email: &str) -> bool {
        self.header("To") == email
    }

    fn part(&self, kind: &str) -> &str {
        let part = self.0.split("Content-Type: ").find(|part| part.starts_with(kind));
        let (_, body) = part.unwrap().split_once("\r\n\r\n").unwrap();
        body.split("\r\n--").next().unwrap()
    }

    pub(crate) fn text(&self) -> &str {
        self.part("text/plain")
    }

    pub(crate) fn html(&self) -> &str {
        self.part("text/html")
    }

    /// The address of its link.
    pub(crate) fn link(&self) -> &str {
        self.text().lines().find(|line| line.starts_with("http")).unwrap()
    }

    pub(crate) fn token(&self) -> String {
        self.link().split_once("?token=").unwrap().1.to_owned()
    }
}

impl TestApp {
    /// Sends what waits, and answers with all that lies in the folder, the oldest first.
    pub(crate) async fn letters(&self) -> Vec<Letter> {
        while self.sender.send_due().await.unwrap() > 0 {}
        let Ok(folder) = std::fs::read_dir(self.folder.path("mail")) else { return Vec::new() };
        let mut files: Vec<_> = folder.map(|file| file.unwrap().path()).collect();
        files.sort();
        let read = |file: &std::path::PathBuf| {
            assert_eq!(file.extension().unwrap(), "eml", "{}", file.display());
            assert_eq!(std::fs::metadata(file).unwrap().permissions().mode() & 0o777, 0o600);
            Letter(std::fs::read_to_string(file).unwrap())
        };
        files.iter().map(read).collect()
    }

    /// The newest message to this address.
    pub(crate) async fn letter_to(&self, email: &str) -> Letter {
        let letters = self.letters().await;
        letters.into_iter().rfind(|letter| letter.is_for(email)).unwrap_or_else(|| panic!("none for {email}"))
    }
}
