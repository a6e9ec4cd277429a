//! Replaces secrets in the free texts of an event, before anything stores or logs them.
//!
//! The rules apply to the whole text one after the other, in the order of [`RULES`]. The `regex` crate matches in time
//! linear in the text, so a hostile text can't stall the consumer.

use std::{borrow::Cow, cell::RefCell, collections::BTreeMap, sync::LazyLock};

use aho_corasick::{Span, packed::Searcher};
use regex::Regex;

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

/// Some of the rules, by their places in [`RULES`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct RuleSet(u16);

// A bit each.
const _: () = assert!(RULES.len() <= u16::BITS as usize);

impl RuleSet {
    const ALL: Self = Self((1 << RULES.len()) - 1);

    fn of(rule: usize) -> Self {
        Self(1 << rule)
    }

    fn add(&mut self, other: Self) {
        self.0 |= other.0;
    }

    fn is_empty(self) -> bool {
        self == Self::default()
    }

    fn contains(self, rule: usize) -> bool {
        self.0 & Self::of(rule).0 != 0
    }
}

/// What texts with secrets hold, in small letters.
struct Hints {
    searcher: Searcher,
    /// Of each of the searcher's texts: whose it is, and what stands behind it.
    of_each: Vec<(RuleSet, Behind)>,
}

/// None where the processor can't search for many texts at once.
static HINTS: LazyLock<Option<Hints>> = LazyLock::new(|| {
    let mut hints: BTreeMap<&str, (RuleSet, Behind)> = BTreeMap::new();
    for (place, rule) in RULES.iter().enumerate() {
        for hint in rule.hints {
            hints.entry(hint).or_insert((RuleSet::default(), rule.behind)).0.add(RuleSet::of(place));
        }
    }
    let (texts, of_each): (Vec<&str>, Vec<_>) = hints.into_iter().unzip();
    Searcher::new(texts).map(|searcher| Hints { searcher, of_each })
});

thread_local! {
    static SMALL_LETTERS: RefCell<String> = const { RefCell::new(String::new()) };
}

/// A thread keeps the room of texts up to this length, in bytes.
const KEPT: usize = 16 << 10;

/// A rule's pattern, ready to be searched for.
struct Compiled {
    /// The pattern without its word boundaries, where it has some. It matches a little more: at Unicode's boundaries `regex`
    /// falls back to a search that takes fifty times as long.
    widened: Option<Regex>,
    pattern: Regex,
}

static COMPILED: LazyLock<[Compiled; RULES.len()]> = LazyLock::new(|| {
    #[expect(clippy::expect_used, reason = "the patterns are constants, and a test compiles them")]
    let compile = |pattern: &str| Regex::new(pattern).expect("a redaction pattern compiles");
    RULES.each_ref().map(|rule| {
        let widened = rule.pattern.replace(r"\b", "");
        Compiled { widened: (widened != rule.pattern).then(|| compile(&widened)), pattern: compile(rule.pattern) }
    })
});

impl Compiled {
    fn replace_all<'t>(&self, text: &'t str, replacement: &str) -> Cow<'t, str> {
        match &self.widened {
            Some(widened) if !widened.is_match(text) => Cow::Borrowed(text),
            _ => self.pattern.replace_all(text, replacement),
        }
    }
}

/// The text with `***REDACTED***` in place of each secret; borrowed where there is none.
pub fn redact(text: &str) -> Cow<'_, str> {
    let mut rules = hinted(text);
    let mut redacted = Cow::Borrowed(text);
    if rules.is_empty() {
        return redacted;
    }
    for (place, (rule, compiled)) in RULES.iter().zip(COMPILED.iter()).enumerate() {
        if rules.contains(place)
            && let Cow::Owned(replaced) = compiled.replace_all(&redacted, rule.replacement)
        {
            // A later rule also sees what this one has put there. None brings a hint today; the next may.
            rules = hinted(&replaced);
            redacted = Cow::Owned(replaced);
        }
    }
    redacted
}

/// The rules of which a hint is in the text, and what follows it doesn't speak against them: no other rule matches, and
/// in most texts these are none.
fn hinted(text: &str) -> RuleSet {
    let Some(hints) = &*HINTS else { return RuleSet::ALL };
    if !text.is_ascii() && text.contains(HIDING) {
        return RuleSet::ALL;
    }
    SMALL_LETTERS.with_borrow_mut(|small| {
        small.push_str(text);
        small.make_ascii_lowercase();
        let hinted = hints.found_in(small);
        small.clear();
        small.shrink_to(KEPT);
        hinted
    })
}

impl Hints {
    fn found_in(&self, small: &str) -> RuleSet {
        let mut found = RuleSet::default();
        let mut rest = Span { start: 0, end: small.len() };
        while let Some(hint) = self.searcher.find_in(small, rest) {
            let (rules, behind) = self.of_each[hint.pattern().as_usize()];
            if behind.is(&small[hint.end()..]) {
                found.add(rules);
            }
            // The next one may begin inside of it.
            rest.start = hint.start() + 1;
        }
        found
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

    /// The rules that match, or would without their word boundaries.
    fn matching(text: &str) -> RuleSet {
        let mut matching = RuleSet::default();
        for (place, compiled) in COMPILED.iter().enumerate() {
            if compiled.widened.as_ref().unwrap_or(&compiled.pattern).is_match(text) {
                matching.add(RuleSet::of(place));
            }
        }
        matching
    }

    /// Whether all rules that match are hinted at.
    fn are_hinted(text: &str) -> bool {
        matching(text).0 & !hinted(text).0 == 0
    }

    /// As the rules say it: one after the other, whatever is hinted at.
    fn redact_by_all(text: &str) -> String {
        RULES.iter().zip(COMPILED.iter()).fold(text.to_owned(), |text, (rule, compiled)| {
            compiled.pattern.replace_all(&text, rule.replacement).into_owned()
        })
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
            prop_assert!(secret.is_ascii() && !matching(&secret).is_empty());
            let among_others = format!("{before}{secret}{after}");
            prop_assert!(are_hinted(&secret) && are_hinted(&among_others));
            prop_assert!(!hinted(&among_others).is_empty());
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
            secret(),
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
            prop_assert!(are_hinted(&text));
        }

        #[test]
        fn hints_change_nothing_about_what_the_rules_make_of_a_text(text in pieces()) {
            prop_assert_eq!(redact(&text), redact_by_all(&text));
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
            assert!(hinted(harmless).is_empty(), "{harmless}");
        }
        assert!(!hinted("The PassWord: it is in the drawer").is_empty());
        assert!(!hinted("secretoken = it").is_empty(), "one hint begins inside of another");
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
