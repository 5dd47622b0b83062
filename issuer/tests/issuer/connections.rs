//! Connections on a real socket: who says nothing, or too little, makes room for others.

use std::net::SocketAddr;
use std::time::Duration;

use countersign_issuer::router;
use countersign_issuer::web::{Connections, bind, serve};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::stage::TestApp;

const HOUR: Duration = Duration::from_secs(3600);

async fn serving(limits: Connections) -> (SocketAddr, TestApp) {
    let app = TestApp::new().await;
    let listener = bind("server.listen", ([127, 0, 0, 1], 0).into()).await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(serve(listener, router::public(app.app.clone()), limits, std::future::pending()));
    (address, app)
}

/// What comes until the other side closes.
async fn rest(stream: &mut TcpStream) -> String {
    let mut answer = String::new();
    let read = tokio::time::timeout(Duration::from_secs(20), stream.read_to_string(&mut answer)).await;
    read.expect("the connection stays open").unwrap();
    answer
}

const GET: &[u8] = b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n";

#[tokio::test]
async fn a_connection_without_a_request_is_closed() {
    let limits = Connections { most: 10, head: Duration::from_millis(50), drain: HOUR };
    let (address, _app) = serving(limits).await;
    for said in [&b""[..], b"GET /healthz HTTP/1.1\r\nhost: x\r\n", b"G"] {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(said).await.unwrap();
        assert!(!rest(&mut stream).await.contains("200 OK"));
    }
    // One that has been answered, too, if nothing follows.
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(GET).await.unwrap();
    assert!(rest(&mut stream).await.starts_with("HTTP/1.1 200 OK"));
}

#[tokio::test]
async fn no_more_connections_than_allowed_are_served_at_once() {
    let (address, _app) = serving(Connections { most: 1, head: HOUR, drain: HOUR }).await;
    let mut first = TcpStream::connect(address).await.unwrap();
    first.write_all(GET).await.unwrap();
    assert!(first.read_u8().await.is_ok());
    let mut second = TcpStream::connect(address).await.unwrap();
    second.write_all(GET).await.unwrap();
    let early = tokio::time::timeout(Duration::from_millis(100), second.read_u8()).await;
    assert!(early.is_err(), "served beside the first");
    drop(first);
    assert!(second.read_u8().await.is_ok());
}
