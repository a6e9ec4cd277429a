//! Replaces secrets in the free texts of an event, before anything stores or logs them.
//!
//! The rules apply to the whole text one after the other, in the order of [`RULES`]. The `regex` crate matches in time
//! linear in the text, so a hostile text can't stall the consumer.

use std::{borrow::Cow, cell::RefCell, sync::LazyLock};

use aho_corasick::packed::Searcher;
use regex::{Regex, RegexSet};

struct Rule {
    pattern: &'static str,
    replacement: &'static str,
    /// Whatever the pattern matches holds one of these, in small letters.
    hints: &'static [&'static str],
}

const RULES: [Rule; 13] = [
    // PEM private key: to its END line, or to the end of the text.
    Rule {
        pattern: r"-----BEGIN (?:[A-Z0-9]+ )*PRIVATE KEY-----(?s:.*?)(?:-----END (?:[A-Z0-9]+ )*PRIVATE KEY-----|\z)",
        replacement: "-----BEGIN ***REDACTED*** PRIVATE KEY-----",
        hints: &["private key-----"],
    },
    // URL with a password: to the last `@` of its authority.
    Rule {
        pattern: r"(?i)([a-z][a-z0-9+.-]*://[^\s/?#:]*:)[^\s/?#]+@",
        replacement: "${1}***REDACTED***@",
        hints: &["://"],
    },
    // URL with a token.
    Rule { pattern: r"(?i)([a-z][a-z0-9+.-]*://)[^\s/?#:]+@", replacement: "${1}***REDACTED***@", hints: &["://"] },
    // JSON web token.
    Rule {
        pattern: r"\beyJ[A-Za-z0-9_-]*\.eyJ[A-Za-z0-9_-]*\.[A-Za-z0-9_-]*",
        replacement: "jwt_***REDACTED***",
        hints: &["eyj"],
    },
    // `sk-` key.
    Rule { pattern: r"(?i)\bsk-[a-z0-9_-]{20,}", replacement: "sk-***REDACTED***", hints: &["sk-"] },
    // AWS access key id.
    Rule { pattern: r"(?i)\bAKIA[a-z0-9]{16,}", replacement: "AKIA***REDACTED***", hints: &["akia"] },
    // GitHub.
    Rule {
        pattern: r"(?i)\b(gh[pousr]_)[a-z0-9]{36,}",
        replacement: "${1}***REDACTED***",
        hints: &["ghp_", "gho_", "ghu_", "ghs_", "ghr_"],
    },
    // GitHub, fine-grained.
    Rule {
        pattern: r"(?i)\bgithub_pat_[a-z0-9_]{20,}",
        replacement: "github_pat_***REDACTED***",
        hints: &["github_pat_"],
    },
    // Slack.
    Rule { pattern: r"(?i)\bxox[a-z]-[a-z0-9-]{10,}", replacement: "xox*-***REDACTED***", hints: &["xox"] },
    // Stripe.
    Rule {
        pattern: r"(?i)\b[spr]k_(?:live|test)_[a-z0-9]{24,}",
        replacement: "stripe_***REDACTED***",
        hints: &["k_live_", "k_test_"],
    },
    // Google.
    Rule { pattern: r"\bAIza[A-Za-z0-9_-]{35,}", replacement: "AIza***REDACTED***", hints: &["aiza"] },
    // Bearer token.
    Rule { pattern: r"(?i)\b(Bearer\s+)[a-z0-9._~+/=-]{20,}", replacement: "${1}***REDACTED***", hints: &["bearer"] },
    // Assignment to a name that ends like a secret's.
    Rule {
        pattern: concat!(
            r#"(?i)((?:password|passwd|secret|token|api_key|apikey|auth)["']?\s*[=:]\s*)"#,
            r#"(?:"[^"]{8,}"|'[^']{8,}'|["']?[^\s"']{8,}["']?)"#
        ),
        replacement: "${1}***REDACTED***",
        hints: &["password", "passwd", "secret", "token", "api_key", "apikey", "auth"],
    },
];

/// Finds a rule's hint in small letters. None where the processor can't search for many texts at once.
static HINTS: LazyLock<Option<Searcher>> =
    LazyLock::new(|| Searcher::new(RULES.iter().flat_map(|rule| rule.hints.iter().copied())));

thread_local! {
    static SMALL_LETTERS: RefCell<String> = const { RefCell::new(String::new()) };
}

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

/// Whether a rule's hint is in the text: none is in most, and it takes a fifth of the time of [`ANY`] to say so. Beyond
/// ASCII there are letters that count as `s` and `k` where case doesn't matter, so such texts are left to [`ANY`].
fn may_hold_secret(text: &str) -> bool {
    match &*HINTS {
        Some(hints) if text.is_ascii() => SMALL_LETTERS.with_borrow_mut(|small| {
            small.clear();
            small.push_str(text);
            small.make_ascii_lowercase();
            hints.find(&*small).is_some()
        }),
        _ => true,
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

    #[test]
    fn a_letter_that_only_unicode_takes_for_an_s_begins_a_key() {
        assert_eq!(redact(&format!("\u{17f}k-{}", "a".repeat(20))), "sk-***REDACTED***");
        assert_eq!(redact(&format!("s\u{212a}-{}", "a".repeat(20))), "sk-***REDACTED***");
    }

    #[test]
    fn most_texts_are_taken_for_harmless() {
        assert!(!may_hold_secret("Read 120 lines of src/store/commit.rs, and found the line that was asked for"));
        assert!(may_hold_secret("The PassWord is in the drawer"));
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
