//! Lists in pages: `?limit=&cursor=` in, `{items,next_cursor}` out. A cursor is opaque to clients and says after which
//! item the next page begins; it has a MAC, so that only what we gave out comes back.

use std::collections::BTreeMap;

use axum::extract::{FromRequestParts, Query};
use base64ct::{Base64UrlUnpadded, Encoding as _};
use http::request::Parts;

use super::{Check, Problem};
use crate::secrets::Ring;

/// The parameters in the query of a request. Those that nobody asks for are ignored, like unknown fields of a body.
#[derive(Debug)]
pub struct Parameters(BTreeMap<String, Vec<String>>);

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("is given more than once")]
pub struct Repeated;

impl Parameters {
    /// The value of a parameter that may be given once; an empty one is none.
    ///
    /// # Errors
    /// [`Repeated`].
    pub fn one(&self, name: &str) -> Result<Option<&str>, Repeated> {
        match self.0.get(name).map(Vec::as_slice) {
            None => Ok(None),
            Some([value]) => Ok(Some(value.as_str()).filter(|value| !value.is_empty())),
            Some(_) => Err(Repeated),
        }
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Parameters {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let pairs = Query::<Vec<(String, String)>>::from_request_parts(parts, state).await;
        let Query(pairs) = pairs.map_err(|_| Problem::invalid_field("", "the query cannot be read"))?;
        let mut parameters = BTreeMap::<String, Vec<String>>::new();
        for (name, value) in pairs {
            parameters.entry(name).or_default().push(value);
        }
        Ok(Self(parameters))
    }
}

/// Which part of a list is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page {
    /// Items, at most.
    pub limit: usize,
    /// The item after which it begins, as [`Page::cursor`] was told of it; the first page without.
    pub after: Option<String>,
    list: &'static str,
}

const LIMIT: usize = 50;
const MOST: usize = 200;
const TAG: usize = 32;

impl Page {
    /// Reads `limit` and `cursor`; `None` after a note about what is wrong with them. A cursor of another `list` is none.
    pub fn read(parameters: &Parameters, list: &'static str, ring: &Ring, check: &mut Check) -> Option<Self> {
        let limit = match parameters.one("limit") {
            Ok(None) => Ok(LIMIT),
            Ok(Some(text)) => {
                let limit = text.parse().ok().filter(|limit| (1..=MOST).contains(limit));
                limit.ok_or_else(|| format!("must be a whole number from 1 to {MOST}"))
            }
            Err(error) => Err(error.to_string()),
        };
        let after = match parameters.one("cursor") {
            Ok(None) => Ok(None),
            Ok(Some(text)) => {
                let item = opened(text, list, ring);
                item.map(Some).ok_or_else(|| "is not one that this list has given".to_owned())
            }
            Err(error) => Err(error.to_string()),
        };
        let (limit, after) = (check.field("limit", limit), check.field("cursor", after));
        Some(Self { limit: limit?, after: after?, list })
    }

    /// How many items to look for: one more than are shown, to know whether there is another page.
    pub fn wanted(&self) -> usize {
        self.limit.saturating_add(1)
    }

    /// What is shown of the items that were found when [`Page::wanted`] were looked for, and the cursor of the next page,
    /// if there is one. `name` is what the list is ordered by.
    pub fn cut<T>(
        &self,
        mut found: Vec<T>,
        name: impl Fn(&T) -> &str,
        ring: &Ring,
    ) -> (Vec<T>, Option<String>) {
        let more = found.len() > self.limit;
        found.truncate(self.limit);
        let last = found.last().filter(|_| more);
        let next_cursor = last.map(|item| self.cursor(name(item), ring));
        (found, next_cursor)
    }

    /// The cursor of the page that begins after `item`.
    pub fn cursor(&self, item: &str, ring: &Ring) -> String {
        let tag = ring.mac(self.list, item.as_bytes());
        Base64UrlUnpadded::encode_string(&[&tag[..], item.as_bytes()].concat())
    }
}

fn opened(text: &str, list: &'static str, ring: &Ring) -> Option<String> {
    let bytes = Base64UrlUnpadded::decode_vec(text).ok()?;
    let (tag, item) = bytes.split_first_chunk::<TAG>()?;
    let ours = ring.verify_mac(list, item, tag);
    if ours { String::from_utf8(item.to_vec()).ok() } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_shows_what_it_may_and_leads_to_the_next_if_there_is_more() {
        let ring = Ring::of(&["one".to_owned()]);
        let page = Page { limit: 2, after: None, list: "a" };
        let cut = |found: &[&'static str]| page.cut(found.to_vec(), |name| name, &ring);
        assert_eq!(page.wanted(), 3);
        assert_eq!(cut(&[]), (vec![], None));
        assert_eq!(cut(&["x", "y"]), (vec!["x", "y"], None));
        let (shown, next) = cut(&["x", "y", "z"]);
        assert_eq!((shown, opened(&next.unwrap(), "a", &ring).as_deref()), (vec!["x", "y"], Some("y")));
    }

    #[test]
    fn a_cursor_is_good_for_its_list_and_as_it_was_given() {
        let ring = Ring::of(&["one".to_owned()]);
        let page = Page { limit: 1, after: None, list: "a" };
        let cursor = page.cursor("ada@example.com", &ring);
        assert_eq!(opened(&cursor, "a", &ring).as_deref(), Some("ada@example.com"));
        assert_eq!(opened(&cursor, "b", &ring), None);
        assert_eq!(opened(&cursor, "a", &Ring::of(&["two".to_owned()])), None);
        for at in 0..cursor.len() {
            let mut forged = cursor.clone().into_bytes();
            forged[at] = if forged[at] == b'A' { b'B' } else { b'A' };
            assert_eq!(opened(&String::from_utf8(forged).unwrap(), "a", &ring), None, "{at}");
        }
    }
}
