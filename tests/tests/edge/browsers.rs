//! What a page on another origin may do, and what it sees of a refusal.

use countersign_stack::stack::Stack;

use super::{platform, raw};

const ORIGIN: &str = "http://localhost:3000";

async fn send(stack: &Stack, method: &str, path: &str, origin: &str, more: &[&[u8]]) -> raw::Answer {
    let origin = format!("origin: {origin}");
    let headers = [&[origin.as_bytes()], more].concat();
    raw::request(stack.ports.edge, method.as_bytes(), path.as_bytes(), &headers).await
}

#[tokio::test]
async fn a_preflight_is_answered_ahead_of_the_rules() {
    let (stack, _folder) = platform().await;
    let asks: &[&[u8]] =
        &[b"access-control-request-method: PATCH", b"access-control-request-headers: authorization"];
    for path in ["/api/positions", "/v1/users/me", "/alerts/7"] {
        let answer = send(&stack, "OPTIONS", path, ORIGIN, asks).await;
        assert_eq!(answer.status, 200, "{path}: {}", answer.text);
        for line in [
            "access-control-allow-origin: http://localhost:3000",
            "access-control-allow-credentials: true",
            "access-control-allow-methods: GET, POST, PATCH, DELETE",
            "access-control-allow-headers: authorization, content-type, x-api-key, x-request-id",
        ] {
            assert!(answer.text.contains(line), "{path}: {line}: {}", answer.text);
        }
        let stranger = send(&stack, "OPTIONS", path, "http://elsewhere.example", asks).await;
        assert!(!stranger.text.contains("access-control-allow-origin"), "{path}: {}", stranger.text);
    }
    stack.stop().await.unwrap();
}

#[tokio::test]
async fn a_page_sees_why_it_was_refused() {
    let (stack, _folder) = platform().await;
    for (path, status, reason) in [
        ("/api/positions", 401, "missing_credential"),
        ("/nowhere", 404, "no_rule"),
        ("/.well-known/nothing", 404, "no_route"),
        ("/api/../alerts", 400, "ambiguous_path"),
        ("/api/health", 200, "ok"),
    ] {
        let answer = send(&stack, "GET", path, ORIGIN, &[]).await;
        assert!(answer.status == status && answer.text.contains(reason), "{path}: {}", answer.text);
        for line in [
            "access-control-allow-origin: http://localhost:3000",
            "access-control-allow-credentials: true",
            "access-control-expose-headers: x-request-id, retry-after, www-authenticate",
        ] {
            assert_eq!(answer.text.matches(line).count(), 1, "{path}: {line}: {}", answer.text);
        }
        let vary = answer.text.lines().find_map(|line| line.strip_prefix("vary: ")).unwrap_or_default();
        assert!(
            vary.split(',').any(|name| name.trim().eq_ignore_ascii_case("origin")),
            "{path}: {}",
            answer.text
        );
        let stranger = send(&stack, "GET", path, "http://elsewhere.example", &[]).await;
        assert_eq!(stranger.status, status, "{path}: {}", stranger.text);
        assert!(!stranger.text.contains("access-control-allow-origin"), "{path}: {}", stranger.text);
    }
    stack.stop().await.unwrap();
}
