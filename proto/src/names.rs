//! The one form of a name by which people tell things apart.
//!
//! Two spellings of a name that nobody can tell apart with the eye are one name. The stores compare names in a folded
//! form that ignores more: width, case, and all white space.

use unicode_normalization::{IsNormalized, UnicodeNormalization as _, is_nfc_quick};

/// Brings a name into its one form: composed characters (NFC), one space between words and none around them. Controls
/// and a name of white space alone stay, because a check refuses them.
pub fn tidy_name(name: &mut String) {
    if is_nfc_quick(name.chars()) != IsNormalized::Yes {
        *name = name.nfc().collect();
    }
    if is_spaced(name) {
        return;
    }
    let words: Vec<_> = name.split(is_space).filter(|word| !word.is_empty()).collect();
    if !words.is_empty() {
        *name = words.join(" ");
    }
}

/// Returns true if the white space of a name is as it should be.
fn is_spaced(name: &str) -> bool {
    let mut before_is_space = true;
    for c in name.chars() {
        if is_space(c) && (before_is_space || c != ' ') {
            return false;
        }
        before_is_space = is_space(c);
    }
    name.is_empty() || !before_is_space
}

fn is_space(c: char) -> bool {
    c.is_whitespace() && !c.is_control()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tidy(name: &str) -> String {
        let mut name = name.to_owned();
        tidy_name(&mut name);
        name
    }

    #[test]
    fn two_spellings_that_look_alike_are_one_name() {
        for spelling in ["Café 一期", " Café 一期 ", "Cafe\u{301} 一期", "Café\u{3000}一期", "Café  \u{a0}一期"]
        {
            assert_eq!(tidy(spelling), "Café 一期", "{spelling:?}");
        }
    }

    #[test]
    fn what_can_be_seen_stays() {
        for name in ["", "阳光花园", "Ａ座", "Ⅲ期（东）", "a b c", "①"] {
            assert_eq!(tidy(name), name);
        }
    }

    #[test]
    fn what_a_check_refuses_stays() {
        for name in ["a\tb\n", "  ", " \u{3000} "] {
            assert_eq!(tidy(name), name);
        }
    }
}
