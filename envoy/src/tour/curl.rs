//! Requests as people type them: by curl, in a shell. What is shown is what was run.

use std::path::Path;

use anyhow::{Context, Result, ensure};

use super::visitor::{Answer, Visitor};
use crate::process;

/// What the commands of a line begin with, under what was seen.
const INDENT: &str = "\n        ";

pub(super) struct Shell<'a> {
    visitor: &'a Visitor,
    /// Tokens are long, and secret: commands name them.
    variables: Vec<(&'static str, String)>,
    typed: Vec<String>,
}

impl<'a> Shell<'a> {
    pub(super) fn new(visitor: &'a Visitor) -> Self {
        Self { visitor, variables: vec![("EDGE", visitor.edge.clone())], typed: Vec::new() }
    }

    pub(super) fn set(&mut self, name: &'static str, secret: &str) {
        self.visitor.remember(secret);
        self.variables.retain(|(known, _)| *known != name);
        self.variables.push((name, secret.to_owned()));
    }

    /// Sends a request to the edge: what comes after it in the command.
    pub(super) async fn curl(&mut self, request: &str) -> Result<Answer> {
        let typed = format!("curl -si $EDGE{request}");
        let mut shell = process::command(Path::new("/bin/sh"));
        shell.args(["-c", &typed]).envs(self.variables.iter().map(|(name, value)| (name, value)));
        // The edge is on this machine, whatever proxy the environment names.
        shell.env("no_proxy", "*");
        let output = shell.output().await.context("cannot run /bin/sh")?;
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "{typed}: {} {}", output.status, said.trim());
        let answer = Answer::parse(&String::from_utf8_lossy(&output.stdout));
        let answer = answer.with_context(|| typed.clone())?;
        self.typed.push(format!("{typed}  # {}", answer.status));
        Ok(answer)
    }

    /// Posts JSON.
    pub(super) async fn post(&mut self, path: &str, body: &str) -> Result<Answer> {
        self.curl(&format!("{path} -H 'content-type: application/json' -d {body}")).await
    }

    /// Asks as who has `$TOKEN`.
    pub(super) async fn get(&mut self, path: &str) -> Result<Answer> {
        self.curl(&format!(r#"{path} -H "authorization: Bearer $TOKEN""#)).await
    }

    /// What was seen, and how.
    pub(super) fn seen(self, what: &str) -> String {
        self.typed.iter().fold(what.to_owned(), |shown, typed| shown + INDENT + typed)
    }
}
