use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

const NOW: i64 = 1_800_000_000;
const SKEW: i64 = 30;

fn page(epoch: &str, sequence: u64, sessions: &[&str], reset: bool, complete: bool) -> Value {
    let entries: Vec<_> = sessions.iter().map(|id| json!({"session_id": id, "exp": NOW + 900})).collect();
    json!({"epoch": epoch, "sequence": sequence, "entries": entries, "reset": reset, "complete": complete})
}

fn take(feed: &mut Feed, page: &Value) -> Result<Answer, Broken> {
    feed.take(page.to_string().as_bytes(), NOW, SKEW)
}

fn handles(sessions: &[&str]) -> Vec<Revocation> {
    let handle = |id: &&str| Revocation { handle: Handle::of(id.as_bytes()), until: NOW + 900 + SKEW };
    sessions.iter().map(handle).collect()
}

fn all(sessions: &[&str]) -> News {
    let mut set = Revocations::default();
    set.extend(&handles(sessions)).unwrap();
    News::All(set)
}

/// One that has everything up to 10 of the epoch `e1`.
fn at_ten() -> Feed {
    let mut feed = Feed::default();
    take(&mut feed, &page("e1", 10, &["a"], true, true)).unwrap();
    feed
}

#[test]
fn begins_with_the_whole_set_and_goes_on_with_what_is_new() {
    let mut feed = Feed::default();
    assert_eq!(feed.question(), "wait=0");
    let whole = take(&mut feed, &page("e1", 10, &["a", "b"], true, true));
    assert_eq!(whole, Ok(Answer { news: all(&["a", "b"]), again: false }));
    assert_eq!(feed.question(), "since=10&epoch=e1&wait=20");
    let more = take(&mut feed, &page("e1", 11, &["c"], false, true));
    assert_eq!(more, Ok(Answer { news: News::More(handles(&["c"])), again: false }));
    let nothing = take(&mut feed, &page("e1", 11, &[], false, true));
    assert_eq!(nothing, Ok(Answer { news: News::More(vec![]), again: false }));
    assert_eq!(feed.question(), "since=11&epoch=e1&wait=20");
}

#[test]
fn a_whole_set_that_comes_by_parts_is_in_force_when_the_last_is_there() {
    let mut feed = at_ten();
    let first = take(&mut feed, &page("e2", 3, &["x"], true, false));
    assert_eq!(first, Ok(Answer { news: News::Aside, again: true }));
    assert_eq!(feed.question(), "since=3&epoch=e2&wait=0");
    assert_eq!(feed.position().unwrap().sequence, 10);
    let second = take(&mut feed, &page("e2", 4, &["y"], false, false));
    assert_eq!(second, Ok(Answer { news: News::Aside, again: true }));
    let last = take(&mut feed, &page("e2", 4, &[], false, true));
    assert_eq!(last, Ok(Answer { news: all(&["x", "y"]), again: false }));
    assert_eq!(feed.question(), "since=4&epoch=e2&wait=20");
}

#[test]
fn what_is_new_comes_by_parts_as_well() {
    let mut feed = at_ten();
    let first = take(&mut feed, &page("e1", 12, &["c"], false, false));
    assert_eq!(first, Ok(Answer { news: News::More(handles(&["c"])), again: true }));
    assert_eq!(feed.question(), "since=12&epoch=e1&wait=20");
}

#[test]
fn a_feed_that_contradicts_itself_is_asked_for_everything() {
    for (broken, why) in [
        (page("e1", 9, &["z"], false, true), Broken::WentBackwards),
        (page("e1", 0, &[], false, true), Broken::WentBackwards),
        (page("e2", 11, &["z"], false, true), Broken::EpochJumped),
        (page("e1", 10, &["z"], false, false), Broken::DoesNotAdvance),
        (page("e1", 11, &[], false, false), Broken::DoesNotAdvance),
        (page("e1", 11, &[], true, false), Broken::DoesNotAdvance),
        (page("e 1", 11, &[], false, true), Broken::NotAPage),
        (page("", 11, &[], false, true), Broken::NotAPage),
        (page(&"e".repeat(65), 11, &[], false, true), Broken::NotAPage),
        (json!({"sequence": 11, "entries": [], "reset": false}), Broken::NotAPage),
        (json!([]), Broken::NotAPage),
    ] {
        let mut feed = at_ten();
        assert_eq!(take(&mut feed, &broken), Err(why), "{broken}");
        assert_eq!(feed.position().unwrap().sequence, 10, "{broken}");
        assert_eq!(feed.question(), "wait=0", "{broken}");
        // It must be everything that comes then.
        assert_eq!(take(&mut feed, &page("e1", 12, &["c"], false, true)), Err(Broken::EpochJumped));
        assert_eq!(take(&mut feed, &page("e1", 12, &["c"], true, true)).unwrap().news, all(&["c"]));
        assert_eq!(feed.question(), "since=12&epoch=e1&wait=20");
    }
}

#[test]
fn a_whole_set_that_never_ends_is_not_waited_for() {
    let mut feed = at_ten();
    take(&mut feed, &page("e2", 3, &["x"], true, false)).unwrap();
    assert_eq!(take(&mut feed, &page("e2", 3, &[], false, false)), Err(Broken::DoesNotAdvance));
    take(&mut feed, &page("e2", 3, &["x"], true, false)).unwrap();
    assert_eq!(take(&mut feed, &page("e3", 3, &["x"], true, false)), Err(Broken::BeganTwice));
    // The same session over and over.
    let many = vec!["x"; 50_000];
    take(&mut feed, &page("e2", 1, &many, true, false)).unwrap();
    let end = (2..).map(|sequence| take(&mut feed, &page("e2", sequence, &many, false, false)));
    let mut end = end.take(20).filter_map(Result::err);
    assert_eq!(end.next(), Some(Broken::TooMany));
}

#[test]
fn what_is_over_is_not_taken() {
    let mut feed = Feed::default();
    let mut over = page("e1", 10, &["a", "b"], true, true);
    over["entries"][0]["exp"] = json!(NOW - SKEW);
    over["entries"][1]["exp"] = json!(NOW - SKEW + 1);
    let News::All(set) = take(&mut feed, &over).unwrap().news else { panic!("a whole set") };
    assert_eq!(set.len(), 1, "tokens are taken for a while after their time");
    over["entries"][1]["exp"] = json!(i64::MAX);
    assert!(take(&mut feed, &over).is_ok());
}

proptest! {
    #[test]
    fn any_answer_is_borne(
        pages in prop::collection::vec((0..3_u8, 0..4_u64, any::<bool>(), any::<bool>(), 0..3_usize), 1..30),
    ) {
        let mut feed = Feed::default();
        let mut asked_again = 0;
        for (epoch, sequence, reset, complete, count) in pages {
            let before = feed.position().cloned();
            let page = page(&format!("e{epoch}"), sequence, &["a", "b"][..count], reset, complete);
            match take(&mut feed, &page) {
                Ok(Answer { again, .. }) => asked_again = if again { asked_again + 1 } else { 0 },
                Err(_) => {
                    asked_again = 0;
                    prop_assert_eq!(feed.position().cloned(), before);
                    prop_assert_eq!(feed.question(), "wait=0");
                }
            }
            // Sequences are below four here, and each has to be higher than the last.
            prop_assert!(asked_again <= 8);
        }
    }

    #[test]
    fn any_bytes_are_borne(bytes in prop::collection::vec(any::<u8>(), 0..80)) {
        prop_assert!(Feed::default().take(&bytes, NOW, SKEW).is_err());
    }
}
