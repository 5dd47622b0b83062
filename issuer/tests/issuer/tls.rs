//! TLS on the internal listener: who shows no certificate of ours is refused before a word of HTTP, and certificates are
//! replaced while it runs.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use countersign_issuer::config;
use countersign_issuer::router;
use countersign_issuer::services::Scope;
use countersign_issuer::web::{Connections, Listening, Tls, bind, serve};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, ExtendedKeyUsagePurpose, IsCa, KeyPair};
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::oneshot;
use tokio_rustls::TlsConnector;

use crate::services::{FEED, service};
use crate::stage::{Folder, TestApp};

const HOUR: Duration = Duration::from_secs(3600);

/// Somebody who signs certificates.
pub(crate) struct Authority(CertifiedIssuer<'static, KeyPair>);

/// A certificate and its key, in PEM.
pub(crate) struct Pair {
    pub(crate) cert: String,
    pub(crate) key: String,
}

impl Authority {
    pub(crate) fn new() -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    pub(crate) fn pem(&self) -> String {
        self.0.pem()
    }

    fn issue(&self, usage: ExtendedKeyUsagePurpose) -> Pair {
        let mut params = CertificateParams::new(["localhost".to_owned()]).unwrap();
        params.extended_key_usages = vec![usage];
        let key = KeyPair::generate().unwrap();
        let cert = params.signed_by(&key, &self.0).unwrap();
        Pair { cert: cert.pem(), key: key.serialize_pem() }
    }

    pub(crate) fn server(&self) -> Pair {
        self.issue(ExtendedKeyUsagePurpose::ServerAuth)
    }

    pub(crate) fn client(&self) -> Pair {
        self.issue(ExtendedKeyUsagePurpose::ClientAuth)
    }
}

/// Puts a server's files into a folder.
pub(crate) fn install(folder: &Folder, server: &Pair, clients: &Authority) {
    folder.write("server.pem", &server.cert);
    folder.write("server.key", &server.key);
    folder.write("clients.pem", &clients.pem());
}

fn files(folder: &Folder) -> config::Tls {
    config::Tls {
        cert_file: folder.path("server.pem"),
        key_file: folder.path("server.key"),
        client_ca_file: Some(folder.path("clients.pem")),
    }
}

struct Server {
    app: TestApp,
    tls: Arc<Tls>,
    address: SocketAddr,
    authority: Authority,
    stop: Option<oneshot::Sender<()>>,
    ended: tokio::task::JoinHandle<()>,
}

impl Server {
    async fn start(head: Duration) -> Self {
        let (app, authority) = (TestApp::new().await, Authority::new());
        install(&app.folder, &authority.server(), &authority);
        let tls = Arc::new(Tls::load(&files(&app.folder)).unwrap());
        let socket = bind("server.listen", ([127, 0, 0, 1], 0).into()).await.unwrap();
        let address = socket.local_addr().unwrap();
        let listening = Listening::new(socket, Some(Arc::clone(&tls)));
        let (stop, stopped) = oneshot::channel();
        let limits = Connections { most: 10, head, drain: HOUR };
        let router = router::internal(app.app.clone());
        let ended = tokio::spawn(serve(listening, router, limits, async move { drop(stopped.await) }));
        Self { app, tls, address, authority, stop: Some(stop), ended }
    }

    /// What comes of a request with this certificate; `None` if there is no HTTP.
    async fn get(&self, shown: Option<&Pair>, token: &str) -> Option<String> {
        let connected = connect(self.address, &self.authority, shown).await;
        request(connected?, token).await
    }
}

pub(crate) async fn connect(
    address: SocketAddr,
    trusted: &Authority,
    shown: Option<&Pair>,
) -> Option<tokio_rustls::client::TlsStream<TcpStream>> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(trusted.pem().as_bytes()).unwrap()).unwrap();
    let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots);
    let config = match shown {
        Some(Pair { cert, key }) => {
            let chain = vec![CertificateDer::from_pem_slice(cert.as_bytes()).unwrap()];
            builder
                .with_client_auth_cert(chain, PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap())
                .unwrap()
        }
        None => builder.with_no_client_auth(),
    };
    let stream = TcpStream::connect(address).await.unwrap();
    let name = ServerName::try_from("localhost").unwrap();
    TlsConnector::from(Arc::new(config)).connect(name, stream).await.ok()
}

/// In TLS 1.3 a client learns that its certificate was refused when it reads.
async fn request(mut stream: impl AsyncRead + AsyncWrite + Unpin, token: &str) -> Option<String> {
    let head =
        format!("GET {FEED} HTTP/1.1\r\nhost: x\r\nconnection: close\r\nx-service-token: {token}\r\n\r\n");
    stream.write_all(head.as_bytes()).await.ok()?;
    let mut answer = String::new();
    let read = tokio::time::timeout(Duration::from_secs(20), stream.read_to_string(&mut answer)).await;
    read.expect("the connection stays open").ok()?;
    Some(answer).filter(|answer| !answer.is_empty())
}

#[tokio::test]
async fn who_has_no_certificate_of_ours_is_refused_in_the_handshake() {
    let server = Server::start(HOUR).await;
    let token = service(&server.app, &[Scope::RevocationsRead]).await;
    let client = server.authority.client();
    let answer = server.get(Some(&client), &token).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 OK"), "{answer}");
    // The certificate stands for nobody: the service shows its token all the same.
    let answer = server.get(Some(&client), "x").await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 401"), "{answer}");
    let foreign = Authority::new();
    for shown in [None, Some(&foreign.client()), Some(&server.authority.server())] {
        assert_eq!(server.get(shown, &token).await, None);
    }
    // Plain http is no handshake.
    let plain = TcpStream::connect(server.address).await.unwrap();
    let answer = request(plain, &token).await.unwrap_or_default();
    assert!(!answer.contains("HTTP/1.1"), "{answer}");
    // And our own certificate is one that its readers can trust.
    assert!(connect(server.address, &foreign, Some(&client)).await.is_none());
}

#[tokio::test]
async fn a_handshake_that_takes_too_long_makes_room_for_others() {
    let server = Server::start(Duration::from_millis(50)).await;
    let mut silent = TcpStream::connect(server.address).await.unwrap();
    let closed = tokio::time::timeout(Duration::from_secs(20), silent.read_u8()).await;
    assert!(closed.expect("the connection stays open").is_err());
}

#[tokio::test]
async fn a_handshake_under_way_does_not_keep_it_from_stopping() {
    let mut server = Server::start(HOUR).await;
    let _silent = TcpStream::connect(server.address).await.unwrap();
    // Whoever comes later has been accepted later.
    let client = server.authority.client();
    assert!(server.get(Some(&client), "x").await.is_some());
    drop(server.stop.take());
    let ended = tokio::time::timeout(Duration::from_secs(20), &mut server.ended).await;
    ended.expect("it goes on waiting").unwrap();
}

#[tokio::test]
async fn certificates_are_replaced_while_it_runs_and_bad_ones_replace_none() {
    let server = Server::start(HOUR).await;
    let (folder, old_client) = (&server.app.folder, server.authority.client());
    assert_eq!(server.tls.renew(), Ok(false));
    let (next, next_clients) = (Authority::new(), Authority::new());
    install(folder, &next.server(), &next_clients);
    assert_eq!(server.tls.renew(), Ok(true));
    assert!(connect(server.address, &server.authority, Some(&old_client)).await.is_none());
    let new = async |client: &Pair| {
        let stream = connect(server.address, &next, Some(client)).await?;
        request(stream, "x").await
    };
    assert!(new(&next_clients.client()).await.is_some());
    assert_eq!(new(&old_client).await, None);
    for (name, text, key) in [
        ("server.pem", "no certificate", "internal.tls.cert_file"),
        ("server.key", "no key", "internal.tls.key_file"),
        ("server.key", &next.server().key, "internal.tls.key_file"),
        ("clients.pem", "", "internal.tls.client_ca_file"),
    ] {
        install(folder, &next.server(), &next_clients);
        folder.write(name, text);
        let error = server.tls.renew().unwrap_err();
        assert_eq!(error.key, key, "{error}");
        assert!(error.to_string().contains(name) && !error.to_string().contains("PRIVATE"), "{error}");
        assert!(new(&next_clients.client()).await.is_some(), "{name}");
    }
    std::fs::remove_file(folder.path("server.pem")).unwrap();
    assert!(server.tls.renew().unwrap_err().to_string().contains("cannot be read"));
    assert!(!Path::new(&folder.path("server.pem")).exists() && new(&next_clients.client()).await.is_some());
}

#[tokio::test]
async fn without_roots_for_clients_none_is_asked_for() {
    let (app, authority) = (TestApp::new().await, Authority::new());
    install(&app.folder, &authority.server(), &authority);
    let files = config::Tls { client_ca_file: None, ..files(&app.folder) };
    let socket = bind("server.listen", ([127, 0, 0, 1], 0).into()).await.unwrap();
    let address = socket.local_addr().unwrap();
    let listening = Listening::new(socket, Some(Arc::new(Tls::load(&files).unwrap())));
    let router = router::internal(app.app.clone());
    tokio::spawn(serve(listening, router, Connections::default(), std::future::pending()));
    let stream = connect(address, &authority, None).await.unwrap();
    assert!(request(stream, "x").await.unwrap().starts_with("HTTP/1.1 401"));
}
