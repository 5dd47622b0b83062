use super::*;

const NOW: i64 = 1_800_000_000;

fn key(name: &str) -> ApiKey {
    ApiKey::read(name.as_bytes()).unwrap()
}

fn good(token: &str) -> Answer {
    Answer::Good(token.as_bytes().into())
}

fn standing(exchange: &mut Exchange, name: &str, now: i64) -> Standing {
    exchange.standing(key(name).digest(), now)
}

/// As a request with that key does it, and the issuer answers.
fn ask(exchange: &mut Exchange, name: &str, answer: &Answer, now: i64) -> bool {
    if !matches!(standing(exchange, name, now), Standing::Unknown | Standing::Due(_)) {
        return false;
    }
    exchange.want(key(name));
    let (digest, _) = exchange.next_question().unwrap();
    exchange.answered(digest, answer, now);
    true
}

#[test]
fn a_key_is_asked_about_once_in_a_while() {
    let mut exchange = Exchange::new(60);
    assert!(ask(&mut exchange, "k", &good("t1"), NOW));
    for later in [0, 59] {
        assert_eq!(standing(&mut exchange, "k", NOW + later), Standing::Good(b"t1"[..].into()));
    }
    assert!(ask(&mut exchange, "k", &good("t2"), NOW + 60));
    assert_eq!(standing(&mut exchange, "k", NOW + 60), Standing::Good(b"t2"[..].into()));
}

#[test]
fn many_that_want_to_know_make_one_question() {
    let mut exchange = Exchange::new(60);
    for _ in 0..10 {
        assert_eq!(standing(&mut exchange, "k", NOW), Standing::Unknown);
        exchange.want(key("k"));
    }
    let (digest, asked) = exchange.next_question().unwrap();
    assert_eq!(asked.question(), br#"{"api_key":"k"}"#);
    exchange.want(key("k"));
    assert!(exchange.next_question().is_none());
    exchange.answered(digest, &good("t"), NOW);
    assert_eq!(standing(&mut exchange, "k", NOW), Standing::Good(b"t"[..].into()));
}

#[test]
fn a_bad_key_is_remembered_briefly() {
    let mut exchange = Exchange::new(60);
    assert!(ask(&mut exchange, "k", &Answer::Bad(Bad::Unknown), NOW));
    assert_eq!(standing(&mut exchange, "k", NOW + REFUSED_FOR - 1), Standing::Bad(Bad::Unknown));
    assert!(ask(&mut exchange, "k", &good("t"), NOW + REFUSED_FOR));
    assert_eq!(standing(&mut exchange, "k", NOW + REFUSED_FOR), Standing::Good(b"t"[..].into()));
}

#[test]
fn a_key_that_is_revoked_is_bad_when_it_is_asked_about_again() {
    let mut exchange = Exchange::new(60);
    ask(&mut exchange, "k", &good("t"), NOW);
    assert!(ask(&mut exchange, "k", &Answer::Bad(Bad::Unknown), NOW + 60));
    assert_eq!(standing(&mut exchange, "k", NOW + 60), Standing::Bad(Bad::Unknown));
}

#[test]
fn while_the_issuer_is_away_good_keys_go_on_and_others_wait_a_moment() {
    let mut exchange = Exchange::new(60);
    let away = Answer::None("status 503".into());
    ask(&mut exchange, "good", &good("t"), NOW);
    for later in [60, 60 + RETRY] {
        assert!(ask(&mut exchange, "good", &away, NOW + later));
        assert_eq!(standing(&mut exchange, "good", NOW + later), Standing::Good(b"t"[..].into()));
    }
    assert!(ask(&mut exchange, "new", &away, NOW));
    assert_eq!(standing(&mut exchange, "new", NOW), Standing::Unavailable);
    assert_eq!(standing(&mut exchange, "other", NOW), Standing::Unknown);
    assert_eq!(standing(&mut exchange, "new", NOW + PAUSE), Standing::Unknown);
}

#[test]
fn a_good_key_goes_on_with_its_token_whether_it_is_asked_about_again_or_cannot_be() {
    let mut exchange = Exchange::new(60);
    ask(&mut exchange, "good", &good("t"), NOW);
    let due = Standing::Due(b"t"[..].into());
    for n in 0..MOST_QUEUED {
        assert!(exchange.want(key(&format!("q-{n}"))));
    }
    assert_eq!(standing(&mut exchange, "good", NOW + 60), due);
    assert!(!exchange.want(key("good")), "there is no room");
    exchange.next_question().unwrap();
    assert!(exchange.want(key("good")));
    assert_eq!(standing(&mut exchange, "good", NOW + 60), due, "while it waits to be asked about");
    let good = loop {
        let (digest, _) = exchange.next_question().unwrap();
        if digest == key("good").digest() {
            break digest;
        }
        exchange.answered(digest, &Answer::Bad(Bad::Unknown), NOW + 60);
    };
    assert_eq!(standing(&mut exchange, "good", NOW + 3600), due, "while it is asked about, however long");
    exchange.answered(good, &Answer::Bad(Bad::Ended), NOW + 3600);
    assert_eq!(standing(&mut exchange, "good", NOW + 3600), Standing::Bad(Bad::Ended));
}

#[test]
fn a_key_whose_token_is_no_longer_good_is_asked_about_at_once_and_then_once_a_second() {
    let mut exchange = Exchange::new(3600);
    let digest = key("k").digest();
    ask(&mut exchange, "k", &good("t1"), NOW);
    for n in 0..BAD_KEYS {
        ask(&mut exchange, &format!("bad-{n}"), &Answer::Bad(Bad::Unknown), NOW);
    }
    assert!(exchange.doubt(digest, NOW));
    assert!(ask(&mut exchange, "k", &good("t2"), NOW), "it is no stranger's");
    // The new one is not good either.
    assert!(!exchange.doubt(digest, NOW));
    assert_eq!(standing(&mut exchange, "k", NOW), Standing::Good(b"t2"[..].into()));
    assert!(exchange.doubt(digest, NOW + PAUSE));
    assert!(ask(&mut exchange, "k", &Answer::None("status 503".into()), NOW + PAUSE));
    assert!(!exchange.doubt(digest, NOW + PAUSE));
    assert!(exchange.doubt(digest, NOW - 3600), "the clock was set back");
}

#[test]
fn a_flood_of_bad_keys_reaches_the_issuer_at_a_rate_and_leaves_good_keys_alone() {
    let mut exchange = Exchange::new(60);
    ask(&mut exchange, "good", &good("t"), NOW);
    let mut asked = 0;
    for n in 0..100_000 {
        let now = NOW + n / 10_000;
        asked += u32::from(ask(&mut exchange, &format!("bad-{n}"), &Answer::Bad(Bad::Unknown), now));
    }
    assert!(asked <= BAD_KEYS + 10 * BAD_KEYS_PER_SECOND, "{asked}");
    assert!(exchange.bad.order.len() <= MOST_REFUSED && exchange.bad.until.len() <= MOST_REFUSED);
    assert_eq!(standing(&mut exchange, "good", NOW + 10), Standing::Good(b"t"[..].into()));
    assert!(ask(&mut exchange, "good", &good("t"), NOW + 60), "also when it has to be asked about again");
    // And new ones, when the flood is over.
    assert!(ask(&mut exchange, "new", &good("t"), NOW + 60));
}

#[test]
fn an_issuer_that_fails_at_once_is_not_flooded_with_keys_that_nobody_knows() {
    let mut exchange = Exchange::new(60);
    ask(&mut exchange, "good", &good("t"), NOW);
    let away = Answer::None("status 503".into());
    // A key that was good is no stranger, and takes nothing from them.
    assert!(ask(&mut exchange, "good", &away, NOW + 60));
    let mut asked = 0;
    for n in 0..100_000 {
        asked += u32::from(ask(&mut exchange, &format!("new-{n}"), &away, NOW + 60 + n / 10_000));
    }
    assert_eq!(asked, BAD_KEYS + 9 * BAD_KEYS_PER_SECOND);
    assert_eq!(standing(&mut exchange, "newest", NOW + 69), Standing::Limited);
    assert!(ask(&mut exchange, "new", &good("t"), NOW + 120), "when the issuer is back");
}

#[test]
fn an_issuer_that_looks_up_no_more_keys_is_not_away() {
    let mut exchange = Exchange::new(60);
    let limited = Answer::Limited("status 429 rate_limited".into());
    assert!(ask(&mut exchange, "new", &limited, NOW));
    assert_eq!(standing(&mut exchange, "new", NOW), Standing::Limited);
    assert!(ask(&mut exchange, "new", &good("t"), NOW + PAUSE));
    assert!(ask(&mut exchange, "new", &limited, NOW + PAUSE + 60));
    assert_eq!(standing(&mut exchange, "new", NOW + PAUSE + 60), Standing::Good(b"t"[..].into()));
}

#[test]
fn a_clock_that_is_set_back_holds_no_key_up() {
    let mut exchange = Exchange::new(60);
    ask(&mut exchange, "good", &good("t"), NOW);
    ask(&mut exchange, "bad", &Answer::Bad(Bad::Unknown), NOW);
    ask(&mut exchange, "unheard", &Answer::None("status 503".into()), NOW);
    assert_eq!(standing(&mut exchange, "good", NOW - 3600), Standing::Due(b"t"[..].into()));
    for name in ["bad", "unheard"] {
        assert_eq!(standing(&mut exchange, name, NOW - 3600), Standing::Unknown, "{name}");
    }
}

#[test]
fn memory_is_bounded() {
    let mut exchange = Exchange::new(60);
    let token = "t".repeat(MAX_TOKEN_BYTES);
    for n in 0..2000 {
        ask(&mut exchange, &format!("k-{n}"), &good(&token), NOW + n);
        assert!(exchange.good_bytes <= MOST_TOKEN_BYTES);
    }
    assert_eq!(exchange.good_bytes, exchange.good.values().map(Good::bytes).sum::<usize>());
    assert_eq!(standing(&mut exchange, "k-1999", NOW + 2000), Standing::Good(token.as_bytes().into()));
    for n in 0..10_000 {
        exchange.want(key(&format!("q-{n}")));
    }
    assert_eq!(exchange.queued.len(), MOST_QUEUED);
    assert_eq!(standing(&mut exchange, "q-x", NOW + 2000), Standing::Limited);
    let asked = std::iter::from_fn(|| exchange.next_question()).count();
    assert_eq!(asked, MOST_ASKED);
}

#[test]
fn what_cannot_be_a_key_is_none_and_a_key_shows_itself_to_nobody() {
    for value in [&b""[..], b" ", b"a b", b"\xff", "ü".as_bytes(), &[b'k'; LONGEST_KEY + 1]] {
        assert!(ApiKey::read(value).is_none(), "{value:?}");
    }
    assert_eq!(format!("{:?}", key("secret")), "ApiKey(…)");
    assert_eq!(key(" k ").digest(), key("k").digest());
    assert_ne!(key("k").digest(), key("K").digest());
}

#[test]
fn only_the_issuer_says_that_a_key_is_bad() {
    let none = |text: &str| Answer::None(text.into());
    for (status, body, answer) in [
        ("200", r#"{"access_token":"a.b.c","expires_in":900}"#, good("a.b.c")),
        ("200", r#"{"access_token":""}"#, none("the answer has no access token")),
        ("200", "{", none("the answer has no access token")),
        ("401", r#"{"reason":"api_key_invalid"}"#, Answer::Bad(Bad::Unknown)),
        ("401", r#"{"reason":"api_key_expired"}"#, Answer::Bad(Bad::Ended)),
        ("401", r#"{"reason":"service_token_invalid"}"#, none("status 401 service_token_invalid")),
        ("401", "", none("status 401")),
        ("403", r#"{"reason":"service_scope_missing"}"#, none("status 403 service_scope_missing")),
        ("429", r#"{"reason":"rate_limited"}"#, Answer::Limited("status 429 rate_limited".into())),
        ("500", r#"{"reason":"what the key was: abc"}"#, none("status 500")),
    ] {
        assert_eq!(Answer::read(Some(status.as_bytes()), body.as_bytes()), answer, "{status} {body}");
    }
    let huge = format!(r#"{{"access_token":"{}"}}"#, "a".repeat(MAX_TOKEN_BYTES + 1));
    assert!(matches!(Answer::read(Some(b"200"), huge.as_bytes()), Answer::None(_)));
    assert!(matches!(Answer::read(None, b""), Answer::None(_)));
}
