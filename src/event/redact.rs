//! Replaces secrets in the free texts of an event, before anything stores or logs them.
//!
//! The rules apply to the whole text one after the other, in the order of [`RULES`]. The `regex` crate matches in time
//! linear in the text, so a hostile text can't stall the consumer.

use std::{borrow::Cow, cell::RefCell, sync::LazyLock};

use aho_corasick::{Span, packed::Searcher};
use regex::{Regex, RegexSet};

struct Rule {
    pattern: &'static str,
    replacement: &'static str,
    /// Whatever the pattern matches holds one of these, in small letters.
    hints: &'static [&'static str],
    /// What stands behind the hint then.
    behind: Behind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Behind {
    Anything,
    /// A user, and perhaps a password, before an `@`.
    User,
    /// A value that is assigned to the name, which may be in quotes.
    Value,
}

impl Behind {
    fn is(self, text: &str) -> bool {
        match self {
            Behind::Anything => true,
            Behind::User => {
                let ends_authority = |letter: char| letter.is_whitespace() || matches!(letter, '/' | '?' | '#');
                text.split(ends_authority).next().is_some_and(|authority| authority.contains('@'))
            }
            Behind::Value => {
                let unquoted = text.strip_prefix(['"', '\'']).unwrap_or(text);
                unquoted.trim_start().starts_with(['=', ':'])
            }
        }
    }
}

/// The letters beyond ASCII that count as `s` and `k` where case doesn't matter. They may hide a hint.
const HIDING: [char; 2] = ['\u{17f}', '\u{212a}'];

const RULES: [Rule; 13] = [
    // PEM private key: to its END line, or to the end of the text.
    Rule {
        pattern: r"-----BEGIN (?:[A-Z0-9]+ )*PRIVATE KEY-----(?s:.*?)(?:-----END (?:[A-Z0-9]+ )*PRIVATE KEY-----|\z)",
        replacement: "-----BEGIN ***REDACTED*** PRIVATE KEY-----",
        hints: &["private key-----"],
        behind: Behind::Anything,
    },
    // URL with a password: to the last `@` of its authority.
    Rule {
        pattern: r"(?i)([a-z][a-z0-9+.-]*://[^\s/?#:]*:)[^\s/?#]+@",
        replacement: "${1}***REDACTED***@",
        hints: &["://"],
        behind: Behind::User,
    },
    // URL with a token.
    Rule {
        pattern: r"(?i)([a-z][a-z0-9+.-]*://)[^\s/?#:]+@",
        replacement: "${1}***REDACTED***@",
        hints: &["://"],
        behind: Behind::User,
    },
    // JSON web token.
    Rule {
        pattern: r"\beyJ[A-Za-z0-9_-]*\.eyJ[A-Za-z0-9_-]*\.[A-Za-z0-9_-]*",
        replacement: "jwt_***REDACTED***",
        hints: &["eyj"],
        behind: Behind::Anything,
    },
    // `sk-` key.
    Rule {
        pattern: r"(?i)\bsk-[a-z0-9_-]{20,}",
        replacement: "sk-***REDACTED***",
        hints: &["sk-"],
        behind: Behind::Anything,
    },
    // AWS access key id.
    Rule {
        pattern: r"(?i)\bAKIA[a-z0-9]{16,}",
        replacement: "AKIA***REDACTED***",
        hints: &["akia"],
        behind: Behind::Anything,
    },
    // GitHub.
    Rule {
        pattern: r"(?i)\b(gh[pousr]_)[a-z0-9]{36,}",
        replacement: "${1}***REDACTED***",
        hints: &["ghp_", "gho_", "ghu_", "ghs_", "ghr_"],
        behind: Behind::Anything,
    },
    // GitHub, fine-grained.
    Rule {
        pattern: r"(?i)\bgithub_pat_[a-z0-9_]{20,}",
        replacement: "github_pat_***REDACTED***",
        hints: &["github_pat_"],
        behind: Behind::Anything,
    },
    // Slack.
    Rule {
        pattern: r"(?i)\bxox[a-z]-[a-z0-9-]{10,}",
        replacement: "xox*-***REDACTED***",
        hints: &["xox"],
        behind: Behind::Anything,
    },
    // Stripe.
    Rule {
        pattern: r"(?i)\b[spr]k_(?:live|test)_[a-z0-9]{24,}",
        replacement: "stripe_***REDACTED***",
        hints: &["k_live_", "k_test_"],
        behind: Behind::Anything,
    },
    // Google.
    Rule {
        pattern: r"\bAIza[A-Za-z0-9_-]{35,}",
        replacement: "AIza***REDACTED***",
        hints: &["aiza"],
        behind: Behind::Anything,
    },
    // Bearer token.
    Rule {
        pattern: r"(?i)\b(Bearer\s+)[a-z0-9._~+/=-]{20,}",
        replacement: "${1}***REDACTED***",
        hints: &["bearer"],
        behind: Behind::Anything,
    },
    // Assignment to a name that ends like a secret's.
    Rule {
        pattern: concat!(
            r#"(?i)((?:password|passwd|secret|token|api_key|apikey|auth)["']?\s*[=:]\s*)"#,
            r#"(?:"[^"]{8,}"|'[^']{8,}'|["']?[^\s"']{8,}["']?)"#
        ),
        replacement: "${1}***REDACTED***",
        hints: &["password", "passwd", "secret", "token", "api_key", "apikey", "auth"],
        behind: Behind::Value,
    },
];

/// What a text with a secret holds, in small letters.
struct Hints {
    searcher: Searcher,
    /// Of each of the searcher's texts.
    behind: Vec<Behind>,
}

/// None where the processor can't search for many texts at once.
static HINTS: LazyLock<Option<Hints>> = LazyLock::new(|| {
    let of_rules = RULES.iter().flat_map(|rule| rule.hints.iter().map(|hint| (*hint, rule.behind)));
    let (texts, behind): (Vec<&str>, Vec<_>) = of_rules.unzip();
    Searcher::new(texts).map(|searcher| Hints { searcher, behind })
});

thread_local! {
    static SMALL_LETTERS: RefCell<String> = const { RefCell::new(String::new()) };
}

/// A thread keeps the room of texts up to this length, in bytes.
const KEPT: usize = 16 << 10;

/// All patterns at once, in one pass. Without their word boundaries, by which they match a little more: at Unicode's
/// boundaries `regex` falls back to a search that takes fifty times as long.
static ANY: LazyLock<RegexSet> = LazyLock::new(|| {
    let widened = RULES.iter().map(|rule| rule.pattern.replace(r"\b", ""));
    #[expect(clippy::expect_used, reason = "the patterns are constants, and a test compiles them")]
    RegexSet::new(widened).expect("the redaction patterns compile")
});

static EACH: LazyLock<Vec<(Regex, &'static str)>> = LazyLock::new(|| {
    #[expect(clippy::expect_used, reason = "the patterns are constants, and a test compiles them")]
    let compile = |rule: &Rule| (Regex::new(rule.pattern).expect("a redaction pattern compiles"), rule.replacement);
    RULES.iter().map(compile).collect()
});

/// The text with `***REDACTED***` in place of each secret; borrowed where there is none.
pub fn redact(text: &str) -> Cow<'_, str> {
    // A rule can see only what the text holds or what an earlier rule put there, so no match at all means no change.
    // A match may still come to nothing, at a place that begins no word.
    if !may_hold_secret(text) || !ANY.is_match(text) {
        return Cow::Borrowed(text);
    }
    let mut redacted = Cow::Borrowed(text);
    for (pattern, replacement) in EACH.iter() {
        if let Cow::Owned(replaced) = pattern.replace_all(&redacted, *replacement) {
            redacted = Cow::Owned(replaced);
        }
    }
    redacted
}

/// Whether a rule's hint is in the text, and what follows it doesn't speak against the rule: that is so in few, and it
/// takes a fifth of the time of [`ANY`] to say so.
fn may_hold_secret(text: &str) -> bool {
    let Some(hints) = &*HINTS else { return true };
    if !text.is_ascii() && text.contains(HIDING) {
        return true;
    }
    SMALL_LETTERS.with_borrow_mut(|small| {
        small.push_str(text);
        small.make_ascii_lowercase();
        let are_in = hints.are_in(small);
        small.clear();
        small.shrink_to(KEPT);
        are_in
    })
}

impl Hints {
    fn are_in(&self, small: &str) -> bool {
        let mut rest = Span { start: 0, end: small.len() };
        while let Some(hint) = self.searcher.find_in(small, rest) {
            if self.behind[hint.pattern().as_usize()].is(&small[hint.end()..]) {
                return true;
            }
            // The next one may begin inside of it.
            rest.start = hint.start() + 1;
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use proptest::{prelude::*, strategy::Union, string::string_regex};

    use super::*;

    #[test]
    fn a_text_without_a_secret_is_borrowed() {
        assert!(matches!(redact("read the manual at https://example.com/path"), Cow::Borrowed(_)));
    }

    /// ASCII texts that a rule matches, made from its pattern. Of what it takes beyond ASCII, two letters stand for others.
    fn secret() -> impl Strategy<Value = String> {
        let ascii = |letter: char| match letter {
            '\u{17f}' => 's',
            '\u{212a}' => 'k',
            other if other.is_ascii() => other,
            _ => 'x',
        };
        let texts_of = move |rule: &Rule| {
            let printable = rule.pattern.replace(r"\b", "").replace(r"\z", "").replace("(?s:.*?)", "[ -~]*");
            // A space beyond ASCII would become a letter.
            let printable = printable.replace(r"\s+", " +").replace(r"\s*", " *");
            string_regex(&printable).unwrap().prop_map(move |text| text.chars().map(ascii).collect())
        };
        Union::new(RULES.iter().map(texts_of))
    }

    proptest! {
        #[test]
        fn a_text_with_a_secret_is_not_taken_for_harmless(before in "[ -~]{0,40}", secret in secret(), after in "[ -~]{0,40}") {
            prop_assert!(secret.is_ascii() && ANY.is_match(&secret));
            let among_others = format!("{before}{secret}{after}");
            prop_assert!(may_hold_secret(&secret) && may_hold_secret(&among_others));
        }
    }

    /// Texts of pieces that rules and hints are made of.
    fn pieces() -> impl Strategy<Value = String> {
        let hints: Vec<&str> = RULES.iter().flat_map(|rule| rule.hints.iter().copied()).collect();
        let piece = prop_oneof![
            proptest::sample::select(hints).prop_map(str::to_owned),
            proptest::sample::select(hints_in_capitals()),
            r#"[=:"'@/?# .h\u{e4}\u{17f}\u{212a}_-]"#,
            r#"["']?\s{0,2}[=:]"?"#,
            "[a-z?]?:?[a-z#]?@",
            "[a-z0-9]{1,40}",
        ];
        proptest::collection::vec(piece, 0..8).prop_map(|pieces| pieces.concat())
    }

    fn hints_in_capitals() -> Vec<String> {
        RULES.iter().flat_map(|rule| rule.hints).map(|hint| hint.to_uppercase()).collect()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(4_000))]

        #[test]
        fn what_a_rule_matches_is_not_taken_for_harmless(text in pieces()) {
            prop_assert!(!ANY.is_match(&text) || may_hold_secret(&text));
        }
    }

    /// The searcher tells of one hint a place.
    #[test]
    fn no_hint_begins_with_another_one_unless_they_are_the_same_in_all() {
        let hints = || RULES.iter().flat_map(|rule| rule.hints.iter().map(|hint| (*hint, rule.behind)));
        for hint in hints() {
            for other in hints().filter(|(other, _)| hint.0.starts_with(other)) {
                assert_eq!(hint, other);
            }
        }
    }

    #[test]
    fn a_letter_that_only_unicode_takes_for_an_s_begins_a_key() {
        assert_eq!(redact(&format!("\u{17f}k-{}", "a".repeat(20))), "sk-***REDACTED***");
        assert_eq!(redact(&format!("s\u{212a}-{}", "a".repeat(20))), "sk-***REDACTED***");
    }

    #[test]
    fn most_texts_are_taken_for_harmless() {
        for harmless in [
            "Read 120 lines of src/store/commit.rs, and found the line that was asked for",
            "Change the session store in src/auth/token.rs, um die Größe zu begrenzen",
            "read the manual at https://example.com/path?user=me@example.com",
        ] {
            assert!(!may_hold_secret(harmless), "{harmless}");
        }
        assert!(may_hold_secret("The PassWord: it is in the drawer"));
        assert!(may_hold_secret("secretoken = it"), "one hint begins inside of another");
    }

    #[test]
    fn a_password_in_a_url_whose_user_holds_an_at_sign_is_found() {
        assert_eq!(redact("postgres://me@x.org:pa55@h/db"), "postgres://***REDACTED***@x.org:***REDACTED***@h/db");
    }

    #[test]
    fn a_key_inside_a_word_is_no_key() {
        let text = "task-aaaaaaaaaaaaaaaaaaaaaaaa";
        assert_eq!(redact(text), text);
    }

    #[test]
    fn a_letter_of_any_alphabet_before_a_key_makes_it_a_part_of_a_word() {
        let key = "sk-aaaaaaaaaaaaaaaaaaaaaaaa";
        assert_eq!(redact(&format!("ä{key}")), format!("ä{key}"));
        assert_eq!(redact(&format!("ä {key}")), "ä sk-***REDACTED***");
    }

    /// Not a law: what follows a redacted value without a space looks like a part of it to the assignment rule.
    #[test]
    fn a_redacted_text_may_change_when_it_is_redacted_again() {
        let once = redact(r#"{"api_key": "sk-aaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"}"#).into_owned();
        assert_eq!(once, r#"{"api_key": ***REDACTED***}"#);
        assert_eq!(redact(&once), r#"{"api_key": ***REDACTED***"#);
    }

    #[test]
    fn an_earlier_rule_feeds_a_later_one() {
        assert_eq!(redact("token=eyJa.eyJb.c"), "token=***REDACTED***");
    }
}
