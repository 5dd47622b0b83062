//! An Envoy that runs short of memory: it gives back what it can, refuses what is new without asking anybody, keeps what is open,
//! and serves again afterwards.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::module;
use super::raw::Answer;
use super::stage::{Stage, bearer, close_frame, config, last_frame, token};

/// As in `envoy/envoy.yaml`, but for the size.
const OVERLOAD: &str = "
overload_manager:
  refresh_interval: 0.05s
  resource_monitors:
    - name: envoy.resource_monitors.fixed_heap
      typed_config:
        \"@type\": type.googleapis.com/envoy.extensions.resource_monitors.fixed_heap.v3.FixedHeapConfig
        max_heap_size_bytes: 100000000
  actions:
    - name: envoy.overload_actions.shrink_heap
      triggers: [{ name: envoy.resource_monitors.fixed_heap, threshold: { value: 0.9 } }]
    - name: envoy.overload_actions.stop_accepting_requests
      triggers: [{ name: envoy.resource_monitors.fixed_heap, threshold: { value: 0.95 } }]
";

/// A request whose upstream takes nothing of its body, so that Envoy holds as much of it as it may.
async fn stalled(port: u16, header: &str) -> TcpStream {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    let head =
        format!("POST /api/stalls HTTP/1.1\r\nhost: edge\r\n{header}\r\ncontent-length: 100000000\r\n\r\n");
    stream.write_all(head.as_bytes()).await.unwrap();
    // Until no more goes in.
    let part = vec![b'x'; 1 << 20];
    while let Ok(Ok(())) = timeout(Duration::from_millis(20), stream.write_all(&part)).await {}
    stream
}

#[tokio::test]
async fn short_of_memory_the_edge_refuses_what_is_new_and_serves_again_afterwards() {
    let stage = Stage::start_with(module(), &[config()], OVERLOAD, &[]).await;
    let (ada, eve) = (bearer(&token("ada", 900)), bearer(&token("eve", 900)));
    let mut streams = [stage.open("/ws/quotes", &ada).await, stage.open("/ws/quotes", &eve).await];
    let mut held = Vec::new();
    loop {
        held.push(stalled(stage.edge.port, &ada).await);
        let answer = stage.get(&ada).await;
        if answer.status == 503 {
            assert!(!answer.text.contains("x-user-id"), "{}", answer.text);
            break;
        }
        assert!(answer.reached() && held.len() < 200, "{} are held: {}", held.len(), answer.text);
    }
    // What is open goes on, for who may: the filter still hears of sessions that end.
    let mut part = [0; 20_000];
    streams[0].read_exact(&mut part).await.unwrap();
    stage.issuer.revoke("s-eve");
    assert_eq!(last_frame(&mut streams[1]).await, close_frame("Authentication required"));
    let before = stage.upstream.seen().len();
    for header in [&*ada, &*eve, "x-user-id: mallory"] {
        assert_eq!(stage.get(header).await.status, 503);
    }
    assert_eq!(stage.upstream.seen().len(), before);
    let shrinks = stage.edge.ask("/stats?filter=shrink_heap.active$").await.unwrap();
    assert!(shrinks.trim().ends_with(": 1"), "{shrinks}");

    // Envoy does not hear that a client has gone while it reads nothing of it, but that an upstream has.
    stage.upstream.give_up();
    drop(held);
    stage.until("it serves again", &ada, Answer::reached).await;
    assert!(stage.get(&eve).await.is_refused(401, "revoked"));
    stage.stop().await;
}
