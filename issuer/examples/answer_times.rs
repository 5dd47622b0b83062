//! Whether a stranger can tell by the time of an answer who has an account. Every route that a stranger may ask is asked
//! about accounts of every kind, and about none, in turn; and the times are compared.
//!
//! `cargo run --release --example answer_times [SAMPLES]` prints, for each route and kind of account, quantiles in
//! microseconds, and against those of unknown addresses the probability that an answer takes longer, which is 0.5 if
//! nothing can be told, and how many standard deviations it is from there (Mann-Whitney U): beyond three, something can.
//! The issuer runs in this process, on SQLite, with its default cost of hashing; nothing else should run meanwhile.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::ConnectInfo;
use base64ct::{Base64, Base64Bcrypt, Encoding as _};
use countersign_issuer::accounts::{Email, Name, NewUser, UserId, store};
use countersign_issuer::ambient::{Entropy, Ids};
use countersign_issuer::app::App;
use countersign_issuer::config::{self, Settings};
use countersign_issuer::db::{self, Db, Schema};
use countersign_issuer::passwords::Password;
use countersign_issuer::router;
use countersign_issuer::tokens::{KeySet, LiveKeys};
use http::Request;
use http::header::{CONTENT_TYPE, HOST};
use serde_json::json;
use tower::ServiceExt as _;

const SAMPLES: usize = 300;

const CONFIG: &str = "
[secrets]
current = \"the secret of this measurement and of nothing else\"
[accounts]
verify_email = true
[mail]
transport = \"file\"
from = \"no-reply@example.com\"
[compat]
token = true
auth = true
api_auth = true
[[keys]]
kid = \"one\"
file = \"key.pem\"
sign_from = 2020-01-01T00:00:00Z
";

/// Whom a stranger may ask about; the first are those whom the others must not differ from. The last are asked about at
/// one route only: they take their time.
const KINDS: [&str; 6] = ["unknown", "verified", "unverified", "inactive", "imported", "costly"];

/// What bcrypt costs of those who were imported. The first is cheaper than today's hash. The other is not, which cannot be
/// hidden, as the README says.
const IMPORTED: [(&str, u32); 2] = [("imported", 4), ("costly", 12)];

const PASSWORD: &str = "tundra-adagio-velvet-97";

/// Path, the name of the field for the address, and whether a password goes with it. The last one makes accounts.
const ROUTES: [(&str, &str, bool); 8] = [
    ("/v1/auth/login", "email", true),
    ("/auth/login", "email", true),
    ("/api/auth/login", "email", true),
    ("/token", "username", true),
    ("/v1/auth/password/forgot", "email", false),
    ("/api/auth/password/reset/request", "email", false),
    ("/v1/auth/email/resend", "email", false),
    ("/v1/auth/register", "email", true),
];

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() -> Result<()> {
    let samples = match std::env::args().nth(1) {
        Some(text) => text.parse().context("how many samples?")?,
        None => SAMPLES,
    };
    let folder = tempfile::tempdir()?;
    let key =
        [&[0x30, 0x2e, 2, 1, 0, 0x30, 5, 6, 3, 0x2b, 0x65, 0x70, 4, 0x22, 4, 0x20][..], &[7; 32]].concat();
    let key =
        format!("-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----\n", Base64::encode_string(&key));
    std::fs::write(folder.path().join("key.pem"), key)?;
    let file = folder.path().join("countersign.toml");
    std::fs::write(&file, CONFIG)?;
    let loaded = config::load(&file, []);
    let settings = loaded.settings.with_context(|| format!("{:?}", loaded.findings))?;
    let (app, db) = start(&settings).await?;
    let ids = Ids::system();
    settle(&app, &db, &ids, samples).await?;
    let router = router::public(app);

    println!("{samples} samples; times in µs");
    println!("{:<34} {:<11} {:>8} {:>8} {:>8} {:>8} {:>7}", "", "", "p10", "median", "p90", "longer", "z");
    for (path, field, has_password) in ROUTES {
        let kinds = if path == ROUTES[0].0 { KINDS.len() } else { KINDS.len() - 1 };
        let mut times = vec![Vec::with_capacity(samples); kinds];
        for sample in 0..samples {
            for kind in shuffled(&ids.entropy).into_iter().filter(|kind| *kind < kinds) {
                let address = address(KINDS[kind], sample);
                let request = request(path, field, &address, has_password, sample * KINDS.len() + kind)?;
                times[kind].push(time(&router, request).await?);
            }
        }
        for (kind, own) in KINDS.iter().zip(&times) {
            let [p10, median, p90] = [0.1, 0.5, 0.9].map(|part| quantile(own, part).as_micros());
            let (longer, z) = compared(own, &times[0]);
            println!("{path:<34} {kind:<11} {p10:>8} {median:>8} {p90:>8} {longer:>8.3} {z:>7.1}");
        }
    }
    db.close().await;
    Ok(())
}

async fn start(settings: &Settings) -> Result<(App, Db)> {
    let ids = Ids::system();
    let (keys, findings) = KeySet::load(settings, settings.overlap(), ids.clock.now().seconds());
    let keys = Arc::new(LiveKeys::new(keys.with_context(|| format!("{findings:?}"))?));
    let db = db::open(settings, Schema::Migrate, &ids).await?;
    Ok((App::new(settings, ids, db.clone(), keys, Arc::default())?, db))
}

fn address(kind: &str, sample: usize) -> String {
    format!("{kind}{sample}@example.com")
}

/// Makes the accounts, so many of each kind that nobody is asked about so often that it is limited.
async fn settle(app: &App, db: &Db, ids: &Ids, samples: usize) -> Result<()> {
    let hash = app.hasher.hash(Password::new(PASSWORD.to_owned()), ids.entropy.bytes()).await?;
    for kind in KINDS.iter().skip(1) {
        for sample in 0..samples {
            let new = NewUser {
                id: UserId::new(ids.uuid()),
                email: Email::parse(&address(kind, sample))?,
                email_verified: *kind != "unverified",
                name: Name::parse("Some One")?,
                phone: None,
                password_hash: hash.clone(),
                roles: vec!["user".to_owned()],
            };
            let made = db.write(async move |tx| store::create(tx, &new).await).await?;
            ensure!(made.is_some(), "{kind} {sample} is there already");
        }
    }
    for (kind, cost) in IMPORTED {
        let (salt, key) = ([7; 16], [PASSWORD.as_bytes(), &[0]].concat());
        let hash = bcrypt::bcrypt(cost, salt, &key);
        let (salt, hash) = (Base64Bcrypt::encode_string(&salt), Base64Bcrypt::encode_string(&hash[..23]));
        let hash = format!("$2b${cost:02}${salt}{hash}");
        execute(db, format!("UPDATE users SET password_hash = '{hash}' WHERE email LIKE '{kind}%'")).await?;
    }
    execute(db, "UPDATE users SET is_active = 0 WHERE email LIKE 'inactive%'".to_owned()).await
}

async fn execute(db: &Db, statement: String) -> Result<()> {
    let work = db.write(async move |tx| {
        sqlx::query(sqlx::AssertSqlSafe(statement.clone())).execute(tx.connection()).await?;
        Ok(())
    });
    Ok(work.await?)
}

/// The kinds in an order that nothing can get used to.
fn shuffled(entropy: &Entropy) -> Vec<usize> {
    let draws: [u8; KINDS.len()] = entropy.bytes();
    let mut kinds: Vec<usize> = (0..KINDS.len()).collect();
    kinds.sort_by_key(|kind| draws[*kind]);
    kinds
}

/// From a network of its own, so that none is limited.
fn request(
    path: &str,
    field: &str,
    address: &str,
    has_password: bool,
    number: usize,
) -> Result<Request<Body>> {
    let wrong = "velvet-adagio-tundra-31";
    let request = Request::post(path).header(HOST, "localhost");
    let mut request = if path == "/token" {
        let form = serde_urlencoded::to_string([(field, address), ("password", wrong)])?;
        request.header(CONTENT_TYPE, "application/x-www-form-urlencoded").body(Body::from(form))?
    } else {
        let mut body = json!({ field: address });
        if has_password {
            body["password"] = wrong.into();
            body["name"] = "Some One".into();
        }
        request.header(CONTENT_TYPE, "application/json").body(Body::from(body.to_string()))?
    };
    let network = Ipv4Addr::from(u32::from(Ipv4Addr::new(10, 0, 0, 0)) + u32::try_from(number)?);
    request.extensions_mut().insert(ConnectInfo(SocketAddr::from((network, 5000))));
    Ok(request)
}

async fn time(router: &Router, request: Request<Body>) -> Result<Duration> {
    let router = router.clone();
    let begun = Instant::now();
    let answer = router.oneshot(request).await?;
    let took = begun.elapsed();
    let status = answer.status();
    let body = to_bytes(answer.into_body(), 1 << 16).await?;
    ensure!([202, 401].contains(&status.as_u16()), "{status} {}", String::from_utf8_lossy(&body));
    Ok(took)
}

fn quantile(times: &[Duration], part: f64) -> Duration {
    let mut times = times.to_vec();
    times.sort();
    let at = (part * (times.len() as f64 - 1.0)).round() as usize;
    times.get(at).copied().unwrap_or_default()
}

/// How probable it is that one of `own` is longer than one of `others`, and how many standard deviations that is from the
/// half that it would be by chance.
fn compared(own: &[Duration], others: &[Duration]) -> (f64, f64) {
    let pairs = own.iter().flat_map(|one| others.iter().map(move |other| one.cmp(other)));
    let longer: f64 = pairs
        .map(|order| match order {
            std::cmp::Ordering::Greater => 1.0,
            std::cmp::Ordering::Equal => 0.5,
            std::cmp::Ordering::Less => 0.0,
        })
        .sum();
    let (one, other) = (own.len() as f64, others.len() as f64);
    let deviation = (one * other * (one + other + 1.0) / 12.0).sqrt();
    (longer / (one * other), (longer - one * other / 2.0) / deviation)
}
