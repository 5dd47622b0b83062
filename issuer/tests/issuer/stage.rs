//! The stage on which the tests play: an issuer on a database of its own, a clock to move, and people.

mod call;

use std::path::PathBuf;
use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use base64ct::Encoding as _;
use countersign_issuer::accounts::standing::{self, Change, LastAdmin, Outcome};
use countersign_issuer::accounts::{self, Email, UserId};
use countersign_issuer::ambient::{Clock, Entropy, Ids, UnixTime};
use countersign_issuer::app::App;
use countersign_issuer::audit::Origin;
use countersign_issuer::config::{self, Settings};
use countersign_issuer::db::{self, Schema};
use countersign_issuer::mail;
use countersign_issuer::router;
use countersign_issuer::sessions::Rules;
use countersign_issuer::tokens::reload::Reloader;
use countersign_issuer::tokens::{KeySet, Lifetimes, LiveKeys};
use http::{Method, Request, StatusCode};
use serde_json::{Value, json};
use sqlx::{Connection as _, Executor as _};
use tempfile::TempDir;

pub(crate) use call::{Answer, Call, Person, kid, lifetime, part};

/// 2026-11-20T12:00:00Z
pub(crate) const NOON: i64 = 1_795_176_000;

pub(crate) fn noon() -> UnixTime {
    UnixTime::from_seconds(NOON)
}

/// For tests about a database that is a file, whatever the others run on.
pub(crate) const ON_A_FILE: &str = "[database]\nurl = \"sqlite:issuer.db\"\n";

/// Every group of routes for existing clients.
pub(crate) const COMPAT: &str = "[compat]\ntoken = true\nauth = true\napi_auth = true\n";

pub(crate) const PASSWORD: &str = "tundra-adagio-velvet-97";

/// A private key (PKCS#8 PEM), different for each `seed`.
pub(crate) fn pem(seed: u8) -> String {
    let der =
        [&[0x30, 0x2e, 2, 1, 0, 0x30, 5, 6, 3, 0x2b, 0x65, 0x70, 4, 0x22, 4, 0x20][..], &[seed; 32]].concat();
    let body = base64ct::Base64::encode_string(&der);
    format!("-----BEGIN PRIVATE KEY-----\n{body}\n-----END PRIVATE KEY-----\n")
}

/// `[[keys]]` lines; the file is `<kid>.pem`.
pub(crate) fn key_lines(kid: &str, sign_from: i64) -> String {
    let at = time::OffsetDateTime::from_unix_timestamp(sign_from).unwrap();
    let at = at.format(&time::format_description::well_known::Rfc3339).unwrap();
    format!("\n[[keys]]\nkid = \"{kid}\"\nfile = \"{kid}.pem\"\nsign_from = {at}\n")
}

/// The lines that name a database for one test, and the server's `host:port` in them: a schema of its own if
/// `TEST_DATABASE_URL` names a PostgreSQL server, and otherwise nothing, which means a file beside the configuration.
pub(crate) fn database() -> Option<(String, String)> {
    let server = std::env::var("TEST_DATABASE_URL").ok()?;
    let url = url::Url::parse(&server).unwrap();
    let address = format!("{}:{}", url.host_str().unwrap(), url.port().unwrap_or(5432));
    let schema = format!("test_{}", Ids::system().uuid().simple());
    let create = format!("CREATE SCHEMA {schema}");
    let made = std::thread::spawn({
        let server = server.clone();
        move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                sqlx::any::install_default_drivers();
                let mut connection = sqlx::AnyConnection::connect(&server).await?;
                connection.execute(sqlx::AssertSqlSafe(create)).await?;
                connection.close().await
            })
        }
    });
    made.join().unwrap().unwrap_or_else(|error| panic!("TEST_DATABASE_URL: {error}"));
    let and = if server.contains('?') { '&' } else { '?' };
    let lines =
        format!("[database]\nurl = \"{server}{and}options=-csearch_path={schema}\"\nmax_connections = 4\n");
    Some((lines, address))
}

/// A folder with a configuration, a key that signs since yesterday and another for later.
pub(crate) struct Folder(pub(crate) TempDir);

impl Folder {
    pub(crate) fn new(more: &str) -> Self {
        if more.contains("[database]") {
            Self::with(more)
        } else {
            let lines = database().map(|(lines, _)| lines).unwrap_or_default();
            Self::with(&format!("{lines}{more}"))
        }
    }

    /// With SQLite's file, whatever the other tests run on.
    pub(crate) fn on_a_file() -> Self {
        Self::with("")
    }

    fn with(more: &str) -> Self {
        let folder = Self(tempfile::tempdir().unwrap());
        folder.write("one.pem", &pem(1));
        folder.write("two.pem", &pem(2));
        folder.write("current.secret", "the secret of these tests only, and no other");
        let text = "[server]\npublic_url = \"https://trade.example\"\ntrusted_proxies = [\"127.0.0.1\"]\n\
                    [secrets]\ncurrent_file = \"current.secret\"\n";
        folder.write("countersign.toml", &format!("{text}{more}{}", key_lines("one", NOON - 86_400)));
        folder
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// For a process with the real clock: the key signs by now, and the ports are free ones.
    #[must_use]
    pub(crate) fn for_a_process(self) -> Self {
        let text = std::fs::read_to_string(self.config()).unwrap();
        let text = text.replace("2026-11-19T12:00:00Z", "2020-01-01T00:00:00Z");
        let free = "listen = \"127.0.0.1:0\"\n";
        self.write(
            "countersign.toml",
            &text.replace("[server]\n", &format!("[internal]\n{free}[server]\n{free}")),
        );
        self
    }

    pub(crate) fn config(&self) -> PathBuf {
        self.path("countersign.toml")
    }

    pub(crate) fn write(&self, name: &str, text: &str) {
        std::fs::write(self.path(name), text).unwrap();
        self.set_mode(name, 0o600);
    }

    pub(crate) fn set_mode(&self, name: &str, mode: u32) {
        use std::os::unix::fs::PermissionsExt as _;
        std::fs::set_permissions(self.path(name), std::fs::Permissions::from_mode(mode)).unwrap();
    }

    pub(crate) fn append(&self, name: &str, text: &str) {
        let old = std::fs::read_to_string(self.path(name)).unwrap();
        self.write(name, &format!("{old}{text}"));
    }

    pub(crate) fn settings(&self) -> Settings {
        let loaded = config::load(&self.config(), []);
        loaded.settings.unwrap_or_else(|| panic!("{:?}", loaded.findings))
    }
}

pub(crate) struct TestApp {
    pub(crate) app: App,
    pub(crate) clock: Clock,
    pub(crate) folder: Folder,
    pub(crate) settings: Settings,
    pub(crate) lifetimes: Lifetimes,
    pub(crate) sender: mail::Sender,
    /// As a restart would load them.
    loaded: Settings,
    router: Router,
    internal: Router,
}

impl TestApp {
    pub(crate) async fn new() -> Self {
        Self::with("", |_| ()).await
    }

    /// With more configuration, and settings that no file could say.
    pub(crate) async fn with(more: &str, change: impl FnOnce(&mut Settings)) -> Self {
        let folder = Folder::new(more);
        let loaded = folder.settings();
        let mut settings = loaded.clone();
        // Far below what the configuration accepts, so that the tests are not about Argon2.
        settings.hashing.memory_kib = 16;
        settings.hashing.passes = 1;
        change(&mut settings);
        Self::start(folder, loaded, settings, Clock::manual(noon())).await
    }

    async fn start(folder: Folder, loaded: Settings, settings: Settings, clock: Clock) -> Self {
        let lifetimes = Lifetimes::new(settings.longest_lifetime());
        let (keys, findings) = KeySet::load(&settings, settings.overlap(), clock.now().seconds());
        let keys = Arc::new(LiveKeys::new(keys.unwrap_or_else(|| panic!("{findings:?}"))));
        let ids = Ids { clock: clock.clone(), entropy: Entropy::system() };
        let db = db::open(&settings, Schema::Migrate, &ids).await.unwrap();
        let app = App::new(&settings, ids.clone(), db.clone(), keys, Arc::default()).unwrap();
        app.feed.begin().await.unwrap();
        let sender = mail::Sender::new(&settings, &ids, db, app.outbox.clone(), app.mails.clone()).unwrap();
        let (router, internal) = (router::public(app.clone()), router::internal(app.clone()));
        Self { app, clock, folder, settings, lifetimes, sender, loaded, router, internal }
    }

    /// The same folder and database under other settings, as after a restart.
    pub(crate) async fn restarted(self, change: impl FnOnce(&mut Settings)) -> Self {
        let mut settings = self.settings.clone();
        change(&mut settings);
        self.app.db.close().await;
        Self::start(self.folder, self.loaded, settings, self.clock).await
    }

    /// Another issuer on the same database and clock.
    pub(crate) async fn beside(&self) -> Self {
        self.beside_with(self.settings.clone()).await
    }

    /// Another one that was told otherwise.
    pub(crate) async fn beside_with(&self, settings: Settings) -> Self {
        let folder = Folder(tempfile::tempdir().unwrap());
        Self::start(folder, self.loaded.clone(), settings, self.clock.clone()).await
    }

    /// On what a process has left behind.
    pub(crate) async fn after(folder: Folder) -> Self {
        Self::after_with(folder, |_| ()).await
    }

    /// The same, told otherwise.
    pub(crate) async fn after_with(folder: Folder, change: impl FnOnce(&mut Settings)) -> Self {
        let loaded = folder.settings();
        let mut settings = loaded.clone();
        change(&mut settings);
        Self::start(folder, loaded, settings, Clock::system()).await
    }

    pub(crate) fn reloader(&self) -> Reloader {
        Reloader {
            running: self.loaded.clone(),
            env: Vec::new(),
            keys: Arc::clone(&self.app.keys),
            clock: self.clock.clone(),
            lifetimes: self.lifetimes.clone(),
            tls: None,
        }
    }

    pub(crate) fn pass(&self, seconds: i64) {
        self.clock.set(self.clock.now().plus(seconds));
    }

    /// One value from the database.
    pub(crate) async fn value<T>(&self, query: &'static str) -> T
    where
        T: for<'r> sqlx::Decode<'r, sqlx::Any> + sqlx::Type<sqlx::Any> + Send + Unpin,
    {
        sqlx::query_scalar(query).fetch_one(self.app.db.reads()).await.unwrap()
    }

    /// Does something to the database that no route does.
    pub(crate) async fn execute(&self, statement: &'static str) -> u64 {
        let done = self.app.db.write(async move |tx| {
            Ok(sqlx::query(statement).execute(tx.connection()).await?.rows_affected())
        });
        done.await.unwrap()
    }

    pub(crate) fn get(&self, path: &str) -> Call {
        self.call(Method::GET, path)
    }

    pub(crate) fn post(&self, path: &str, body: Value) -> Call {
        self.call(Method::POST, path).json(body)
    }

    pub(crate) fn call(&self, method: Method, path: &str) -> Call {
        let mut request = Request::new(Body::empty());
        *request.method_mut() = method;
        *request.uri_mut() = path.parse().unwrap();
        request.headers_mut().insert("host", "trade.example".parse().unwrap());
        Call { router: self.router.clone(), request }
    }

    /// A request to the listener that only our own machines reach.
    pub(crate) fn internally(&self, method: Method, path: &str) -> Call {
        Call { router: self.internal.clone(), ..self.call(method, path) }
    }

    /// A request to a listener that serves clients and our own machines.
    pub(crate) fn at_one_address(&self, method: Method, path: &str) -> Call {
        Call { router: router::both(self.app.clone()), ..self.call(method, path) }
    }

    /// Someone with an account, logged in.
    pub(crate) async fn registered(&self, email: &str) -> Person {
        let body = json!({"email": email, "password": PASSWORD, "name": "Some One"});
        Person::from(&self.post("/v1/auth/register", body).await.expect(StatusCode::CREATED))
    }

    /// The same person on another device.
    pub(crate) async fn logged_in(&self, email: &str) -> Person {
        Person::from(
            &self
                .post("/v1/auth/login", json!({"email": email, "password": PASSWORD}))
                .await
                .expect(StatusCode::OK),
        )
    }

    pub(crate) async fn refresh(&self, refresh_token: &str) -> Answer {
        self.post("/v1/auth/refresh", json!({"refresh_token": refresh_token})).await
    }

    /// Someone with an account who administers, logged in since.
    pub(crate) async fn admin(&self, email: &str) -> Person {
        let id = UserId::parse(&self.registered(email).await.id).unwrap();
        let rules = Rules::from(&self.settings);
        let change = Change { active: None, roles: Some(vec!["user".to_owned(), "admin".to_owned()]) };
        let promoted = self.app.db.write(async move |tx| {
            standing::change(tx, &id, &change, LastAdmin::MustStay, &Origin::command(), rules).await
        });
        assert!(matches!(promoted.await.unwrap(), Outcome::Done(_)));
        self.logged_in(email).await
    }

    /// Closes an account, as an operator would.
    pub(crate) async fn deactivate(&self, email: &str) {
        let (email, rules) = (Email::parse(email).unwrap(), Rules::from(&self.settings));
        let (user, _) = accounts::store::find_for_login(self.app.db.reads(), &email).await.unwrap().unwrap();
        let change = Change { active: Some(false), roles: None };
        let closed = self.app.db.write(async move |tx| {
            standing::change(tx, &user.id, &change, LastAdmin::MustStay, &Origin::command(), rules).await
        });
        assert!(matches!(closed.await.unwrap(), Outcome::Done(_)));
    }
}
