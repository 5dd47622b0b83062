//! What messages say: a text and an HTML page for each kind, from templates (Jinja) that an operator can replace one by
//! one. In HTML, whatever is put in is escaped. Every template is tried before the issuer starts.

use std::path::Path;

use minijinja::{AutoEscape, Environment, ErrorKind, UndefinedBehavior, context};

use super::Kind;
use crate::config::{Finding, Mail};

/// Our own templates: for each kind of message a text, whose first line is the subject, and a page.
const TEMPLATES: [(&str, &str); 11] = [
    ("layout.html", include_str!("templates/layout.html")),
    ("verify_email.txt", include_str!("templates/verify_email.txt")),
    ("verify_email.html", include_str!("templates/verify_email.html")),
    ("already_registered.txt", include_str!("templates/already_registered.txt")),
    ("already_registered.html", include_str!("templates/already_registered.html")),
    ("reset_password.txt", include_str!("templates/reset_password.txt")),
    ("reset_password.html", include_str!("templates/reset_password.html")),
    ("password_changed.txt", include_str!("templates/password_changed.txt")),
    ("password_changed.html", include_str!("templates/password_changed.html")),
    ("new_device.txt", include_str!("templates/new_device.txt")),
    ("new_device.html", include_str!("templates/new_device.html")),
];

const SUBJECT: &str = "Subject: ";

/// What a template may say.
#[derive(Debug, Clone)]
pub(super) struct Facts {
    /// What this service is called.
    pub(super) service: String,
    /// Empty unless the address is known to be theirs: a stranger's words must not reach people in our name.
    pub(super) name: String,
    pub(super) email: String,
    /// Empty if the message has none.
    pub(super) link: String,
    /// What the link carries.
    pub(super) token: String,
    /// How long the link is good, such as `30 minutes`.
    pub(super) lifetime: String,
    /// When it happened (RFC 3339).
    pub(super) at: String,
}

/// A message without its headers.
#[derive(Debug)]
pub(super) struct Rendered {
    pub(super) subject: String,
    pub(super) text: String,
    pub(super) html: String,
}

/// Templates that work.
#[derive(Debug)]
pub(super) struct Templates(Environment<'static>);

impl Templates {
    /// Ours, with those of the configured folder in their places.
    ///
    /// # Errors
    /// Whatever is wrong with them.
    pub(super) fn load(mail: &Mail) -> Result<Self, Vec<Finding>> {
        let mut environment = Environment::new();
        environment.set_undefined_behavior(UndefinedBehavior::Strict);
        environment.set_auto_escape_callback(|name| {
            if name.ends_with(".html") { AutoEscape::Html } else { AutoEscape::None }
        });
        let mut findings = Vec::new();
        for (name, ours) in TEMPLATES {
            let source = mail.templates.as_deref().map_or(Ok(None), |folder| read(folder, name));
            let added = source.and_then(|theirs| match theirs {
                Some(text) => environment.add_template_owned(name, text).map_err(|error| described(&error)),
                None => environment.add_template(name, ours).map_err(|error| described(&error)),
            });
            findings.extend(added.err().map(finding));
        }
        let templates = Self(environment);
        if findings.is_empty() {
            findings.extend(templates.tried().into_iter().map(finding));
        }
        if findings.is_empty() { Ok(templates) } else { Err(findings) }
    }

    /// What goes wrong when every template is used.
    fn tried(&self) -> Vec<String> {
        let facts = Facts {
            service: "Example".into(),
            name: "Ada <Lovelace>".into(),
            email: "ada@example.com".into(),
            link: "https://login.example.com/v1/auth/email/verify?token=abc".into(),
            token: "abc".into(),
            lifetime: "24 hours".into(),
            at: "2026-11-20T12:00:00Z".into(),
        };
        let none = String::new;
        let bare = Facts { name: none(), link: none(), token: none(), lifetime: none(), ..facts.clone() };
        let tries = Kind::ALL.iter().flat_map(|kind| [(*kind, &facts), (*kind, &bare)]);
        let mut wrong: Vec<String> =
            tries.filter_map(|(kind, facts)| self.render(kind, facts).err()).collect();
        wrong.dedup();
        wrong
    }

    /// A message of this kind.
    ///
    /// # Errors
    /// What is wrong with a template, by its name and line; no fact is quoted.
    pub(super) fn render(&self, kind: Kind, facts: &Facts) -> Result<Rendered, String> {
        let put = |extension: &str| {
            let Facts { service, name, email, link, token, lifetime, at } = facts.clone();
            let facts = context! { service, name, email, link, token, lifetime, at };
            let template = self.0.get_template(&format!("{}.{extension}", kind.as_str()));
            template.and_then(|template| template.render(facts)).map_err(|error| described(&error))
        };
        let (text, html) = (put("txt")?, put("html")?);
        let (first, text) = text.split_once('\n').unwrap_or((&text, ""));
        let subject: String =
            first.strip_prefix(SUBJECT).unwrap_or_default().chars().filter(|c| !c.is_control()).collect();
        if subject.trim().is_empty() {
            let name = kind.as_str();
            return Err(format!("{name}.txt: the first line has to be \"{SUBJECT}\" and what it is about"));
        }
        Ok(Rendered { subject: subject.trim().to_owned(), text: text.trim_start().to_owned(), html })
    }
}

/// The operator's template of this name, if there is one.
fn read(folder: &Path, name: &str) -> Result<Option<String>, String> {
    let file = folder.join(name);
    match std::fs::read_to_string(&file) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound && folder.is_dir() => Ok(None),
        Err(error) => Err(format!("{}: {error}", file.display())),
    }
}

fn described(error: &minijinja::Error) -> String {
    let name = error.name().unwrap_or_default();
    let line = error.line().unwrap_or_default();
    let hint = match error.kind() {
        ErrorKind::UndefinedError => "; there are service, name, email, link, token, lifetime and at",
        _ => "",
    };
    let detail = error.detail().unwrap_or_default();
    format!("{name} line {line}: {} {detail}{hint}", error.kind())
}

fn finding(message: String) -> Finding {
    Finding::error("", "mail.templates", message)
}

/// Files among the operator's templates that nothing reads, most likely because of a slip in their names.
pub(super) fn strays(mail: &Mail) -> Vec<Finding> {
    let entries = mail.templates.as_deref().and_then(|folder| std::fs::read_dir(folder).ok());
    let names = entries.into_iter().flatten().filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    let known = |name: &String| name.starts_with('.') || TEMPLATES.iter().any(|(known, _)| known == name);
    let mut strays: Vec<String> = names.filter(|name| !known(name)).collect();
    strays.sort();
    let all = TEMPLATES.map(|(name, _)| name).join(", ");
    let told = strays.into_iter().map(|name| format!("{name} is not read; there are {all}"));
    told.map(|message| Finding::warning("", "mail.templates", message)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::MailTransport;

    fn mail(folder: Option<&Path>) -> Mail {
        Mail {
            transport: MailTransport::Off,
            service_name: "Example".into(),
            templates: folder.map(Path::to_owned),
            new_device: false,
        }
    }

    const LINK: &str = "https://login.example.com/x?token=abc&y=1";

    fn hostile() -> Facts {
        Facts {
            service: "A & B".into(),
            name: "<script>alert(1)</script>\" onload=\"x".into(),
            email: "o'neil+<b>@example.com".into(),
            link: LINK.into(),
            token: "abc".into(),
            lifetime: "24 hours".into(),
            at: "2026-11-20T12:00:00Z".into(),
        }
    }

    #[test]
    fn what_is_put_into_html_is_escaped() {
        let templates = Templates::load(&mail(None)).unwrap();
        for kind in Kind::ALL {
            let Rendered { html, text, subject } = templates.render(*kind, &hostile()).unwrap();
            assert!(
                !html.contains("<script>") && !html.contains("onload=\"") && !html.contains("<b>"),
                "{html}"
            );
            assert!(!subject.is_empty() && !subject.contains('\n'), "{subject}");
            if kind.page().is_some() {
                assert!(text.contains(LINK), "{text}");
            }
        }
    }

    #[test]
    fn an_operators_template_takes_the_place_of_ours_and_no_other() {
        let folder = tempfile::tempdir().unwrap();
        let put = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
        put("verify_email.txt", "Subject: Hej {{ name }}\n\nLänk: {{ link }}\n");
        let templates = Templates::load(&mail(Some(folder.path()))).unwrap();
        let theirs = templates.render(Kind::VerifyEmail, &hostile()).unwrap();
        assert_eq!(theirs.text.trim(), format!("Länk: {}", LINK));
        assert!(templates.render(Kind::ResetPassword, &hostile()).unwrap().text.contains("password"));
    }

    #[test]
    fn a_template_that_does_not_work_is_named_with_its_line() {
        let folder = tempfile::tempdir().unwrap();
        let findings = |name: &str, text: &[u8]| {
            std::fs::write(folder.path().join(name), text).unwrap();
            let findings = Templates::load(&mail(Some(folder.path()))).unwrap_err();
            std::fs::remove_file(folder.path().join(name)).unwrap();
            findings.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
        };
        for (name, text, expected) in [
            ("verify_email.html", &b"<p>\n{{ lnk }}"[..], "verify_email.html line 2: "),
            ("verify_email.txt", b"Subject: x\n\n{% if name %}", "verify_email.txt line 3: "),
            ("reset_password.txt", b"Hello", "reset_password.txt: the first line has to be"),
            (
                "reset_password.txt",
                b"Subject: {{ name }}\n\nx",
                "reset_password.txt: the first line has to be",
            ),
            ("layout.html", b"\xff", "layout.html: "),
            ("password_changed.html", b"{% include 'other.html' %}", "password_changed.html line 1: "),
        ] {
            let found = findings(name, text);
            assert!(found.contains(expected) && found.starts_with(": mail.templates: "), "{found}");
        }
        let gone = Templates::load(&mail(Some(&folder.path().join("gone")))).unwrap_err();
        assert!(gone[0].to_string().contains("No such file"), "{gone:?}");
    }

    #[test]
    fn a_file_that_nothing_reads_is_a_warning() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("verify-email.txt"), "x").unwrap();
        std::fs::write(folder.path().join("layout.html"), "x").unwrap();
        let found = strays(&mail(Some(folder.path())));
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(found[0].to_string().contains("verify-email.txt is not read"), "{found:?}");
    }
}
