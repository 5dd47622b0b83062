//! What people are called. A name reaches terminals, e-mails and other people's screens: it must have something to
//! see, and nothing that changes how the text around it looks.

use unicode_properties::{GeneralCategory, GeneralCategoryGroup, UnicodeGeneralCategory as _};

/// What someone is called, as they write it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Name(String);

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("must have 1 to 128 characters, one of them visible and none of them for control or formatting")]
pub struct InvalidName;

impl Name {
    /// In characters.
    pub const LONGEST: usize = 128;

    /// Trims a display name.
    ///
    /// # Errors
    /// [`InvalidName`].
    pub fn parse(text: &str) -> Result<Self, InvalidName> {
        let name = text.trim();
        let fits = (1..=Self::LONGEST).contains(&name.chars().count())
            && name.chars().any(is_visible)
            && !name.chars().any(is_invisible);
        if fits { Ok(Self(name.to_owned())) } else { Err(InvalidName) }
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// A name by which an imported user could log in before, compared as it is written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Username(String);

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("must have 1 to 128 characters, one of them visible and none of them for control or formatting")]
pub struct InvalidUsername;

impl Username {
    /// # Errors
    /// [`InvalidUsername`].
    pub fn parse(text: &str) -> Result<Self, InvalidUsername> {
        Name::parse(text).map(|Name(name)| Self(name)).map_err(|InvalidName| InvalidUsername)
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Whether a character only acts on others: control and format characters (Cc, Cf, among them those for the direction
/// of writing and those without width), line and paragraph separators.
pub fn is_invisible(c: char) -> bool {
    use GeneralCategory::{Control, Format, LineSeparator, ParagraphSeparator};
    matches!(c.general_category(), Control | Format | LineSeparator | ParagraphSeparator)
}

/// Letters, numbers, punctuation and symbols, without the blanks among them (Hangul fillers, an empty Braille cell).
fn is_visible(c: char) -> bool {
    use GeneralCategoryGroup::{Letter, Number, Punctuation, Symbol};
    let blank = matches!(c, '\u{115F}' | '\u{1160}' | '\u{2800}' | '\u{3164}' | '\u{FFA0}');
    matches!(c.general_category_group(), Letter | Number | Punctuation | Symbol) && !blank
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_trimmed_and_bounded() {
        for name in ["Ада Лавлейс", "李小龍", "O'Brien-Ñandú", "José\u{301}", "نور", "👩", "x"]
        {
            assert_eq!(Name::parse(&format!("  {name} ")).unwrap().as_str(), name);
        }
        for name in ["", "   ", &"x".repeat(129)] {
            assert_eq!(Name::parse(name), Err(InvalidName), "{name:?}");
        }
    }

    #[test]
    fn names_have_nothing_invisible_in_them_and_something_visible() {
        let acting = [
            '\0', '\n', '\u{7F}', '\u{85}', '\u{AD}', '\u{200B}', '\u{200D}', '\u{200F}', '\u{202E}',
            '\u{2028}',
        ]
        .into_iter()
        .chain(['\u{2066}', '\u{2069}', '\u{FEFF}', '\u{E0041}', '\u{61C}']);
        for c in acting {
            assert_eq!(Name::parse(&format!("Ada{c}King")), Err(InvalidName), "{c:?}");
        }
        for name in ["\u{3164}", "\u{2800}\u{2800}", "\u{301}", "\u{115F}\u{1160}", "\u{FFA0} \u{FE0F}"] {
            assert_eq!(Name::parse(name), Err(InvalidName), "{name:?}");
        }
    }
}
