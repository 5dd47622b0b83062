//! The issuer as the filter meets it: honest until a test has it say something else.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use countersign_claims::AccessClaims;
use countersign_tests::host::jwks;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::time::{sleep, timeout};

use super::{KEY, SERVICE_TOKEN, claims, content_length, issuer, now, read_head};

/// How long an answer to the feed waits for news.
const LONG_POLL: Duration = Duration::from_secs(2);

/// What it is asked: the request's target, and its body.
#[derive(Debug, Clone)]
pub(crate) struct Asked {
    pub(crate) target: String,
    pub(crate) body: String,
}

impl Asked {
    fn path(&self) -> &str {
        self.target.split('?').next().unwrap_or_default()
    }
}

/// What it says.
#[derive(Debug, Clone)]
pub(crate) enum Reply {
    /// As an issuer should, by the first part of the path: its keys, the sessions that have ended, or what a key is worth.
    Honest,
    Answer(u16, String),
    /// These bytes, and the end of the connection.
    Bytes(Vec<u8>),
    /// These bytes one by one, slowly.
    Drips(Vec<u8>),
    /// Not a word.
    Silence,
    Late(Duration, Box<Self>),
}

type Script = Box<dyn FnMut(&Asked) -> Reply + Send>;

#[derive(Default)]
pub(crate) struct Played {
    /// Sessions that have ended, in order.
    revoked: watch::Sender<Vec<String>>,
    asked: Mutex<Vec<Asked>>,
    /// By path; what has none is answered honestly.
    scripts: Mutex<BTreeMap<String, Script>>,
}

impl Played {
    pub(crate) fn revoke(&self, session: &str) {
        self.revoked.send_modify(|revoked| revoked.push(session.into()));
    }

    /// Has this decide what is said at a path from now on.
    pub(crate) fn plays(&self, path: &str, script: impl FnMut(&Asked) -> Reply + Send + 'static) {
        self.scripts.lock().unwrap().insert(path.into(), Box::new(script));
    }

    /// How often it was asked at a path.
    pub(crate) fn asked(&self, path: &str) -> usize {
        self.asked.lock().unwrap().iter().filter(|asked| asked.path() == path).count()
    }

    pub(super) async fn serve(self: Arc<Self>, listener: TcpListener) {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            tokio::spawn(Arc::clone(&self).converse(BufReader::new(stream)));
        }
    }

    async fn converse(self: Arc<Self>, mut stream: BufReader<TcpStream>) -> Option<()> {
        loop {
            let head = read_head(&mut stream).await?;
            let mut body = vec![0; content_length(&head)];
            stream.read_exact(&mut body).await.ok()?;
            let asked = Asked { target: head.split(' ').nth(1)?.into(), body: String::from_utf8(body).ok()? };
            // Keys are for everybody; the rest is asked by who can show that he may.
            let shown = head.contains(&format!("x-service-token: {SERVICE_TOKEN}\r\n"));
            assert_eq!(shown, !asked.path().starts_with("/jwks"), "{head}");
            self.asked.lock().unwrap().push(asked.clone());
            let scripted = self.scripts.lock().unwrap().get_mut(asked.path()).map(|script| script(&asked));
            let mut reply = scripted.unwrap_or(Reply::Honest);
            if let Reply::Late(by, then) = reply {
                sleep(by).await;
                reply = *then;
            }
            if matches!(reply, Reply::Honest) {
                reply = self.honest(&asked).await;
            }
            match reply {
                Reply::Answer(status, body) => {
                    let head = format!("HTTP/1.1 {status} Said\r\ncontent-length: {}\r\n\r\n", body.len());
                    // A 204 has no body, and no length.
                    let head = if status == 204 { "HTTP/1.1 204 Said\r\n\r\n".into() } else { head };
                    stream.write_all(format!("{head}{body}").as_bytes()).await.ok()?;
                }
                Reply::Bytes(bytes) => return stream.write_all(&bytes).await.ok(),
                Reply::Drips(bytes) => {
                    for byte in bytes {
                        stream.write_all(&[byte]).await.ok()?;
                        sleep(Duration::from_millis(20)).await;
                    }
                    return Some(());
                }
                // Until nobody waits any more.
                Reply::Silence => drop(stream.read_u8().await.ok()?),
                Reply::Honest | Reply::Late(..) => unreachable!("it is late once, and honest is an answer"),
            }
        }
    }

    async fn honest(&self, asked: &Asked) -> Reply {
        let first = asked.path().split('/').nth(1).unwrap_or_default();
        match first {
            "jwks" => Reply::Answer(200, jwks([&issuer()]).to_string()),
            "revocations" => Reply::Answer(200, self.news(&asked.target).await.to_string()),
            "exchange" if asked.body == format!(r#"{{"api_key":"{KEY}"}}"#) => {
                let claims = AccessClaims { amr: vec!["api_key".into()], ..claims("key", 900) };
                let answer = json!({"access_token": issuer().token(&claims), "expires_in": 900});
                Reply::Answer(200, answer.to_string())
            }
            "exchange" => Reply::Answer(401, json!({"reason": "api_key_invalid"}).to_string()),
            _ => Reply::Answer(404, String::new()),
        }
    }

    async fn news(&self, target: &str) -> Value {
        let number =
            target.split("since=").nth(1).and_then(|rest| rest.split('&').next()?.parse::<usize>().ok());
        // A number that it never gave is of another history.
        let since = number.filter(|since| *since <= self.revoked.borrow().len());
        let mut revoked = self.revoked.subscribe();
        if let Some(since) = since {
            let news = revoked.wait_for(|revoked| revoked.len() > since);
            let _ = timeout(LONG_POLL, news).await;
        }
        let revoked = self.revoked.borrow().clone();
        let entries = revoked.iter().skip(since.unwrap_or(0));
        let entries: Vec<_> = entries.map(|id| json!({"session_id": id, "exp": now() + 900})).collect();
        json!({"epoch": "e1", "sequence": revoked.len(), "entries": entries, "reset": since.is_none(), "complete": true})
    }
}
