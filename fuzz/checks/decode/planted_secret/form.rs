//! The forms of secrets that redaction knows, and what may stand around each.

use super::super::super::input::Input;

/// The core of every secret starts and ends with these. They are letters and digits, as every form allows them, and no
/// part of what redaction puts in a secret's place. Either has the 8 characters that make a password one.
pub(super) const CORE_START: &str = "Qx7Zk2Vw";
pub(super) const CORE_END: &str = "9Lm4Tr8Y";

pub(super) struct Form {
    pub(super) secret: String,
    pub(super) before: &'static [&'static str],
    pub(super) after: &'static [&'static str],
    /// Characters that the noise may not have.
    pub(super) not_in_noise: &'static [char],
}

const SPACES: &[&str] = &[" ", "\n", "\t", "  "];

/// No rule for keys and JSON web tokens takes one of these.
const PUNCTUATION: &[&str] = &[" ", "\n", "\t", "(", ")", "[", "]", "<", ">", ",", ";", "|", "\"", "'", "`", "{", "}"];

/// White space alone does not end a match that began in the noise: `Bearer` and an assignment's name may be followed by
/// some. What they then look for has 8 characters or more, unless it is in quotes.
const POINTS: &[&str] = &[" . ", "\n.\n", "\t. "];

const QUOTES: &[char] = &['"', '\''];

const WORD: &str = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";
const WORD_UNDERSCORE: &str = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_";
const BASE64URL: &str = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-";
const BASE64_LINES: &str = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/=\n";
const DIGITS_HYPHEN: &str = "0123456789-";
const DIGITS_BEARER: &str = "0123456789._~+/=-";
const TOKEN: &str = "!\"$%&'()*+,-.;<=>@[\\]^_`{|}~ABCXYZabcxyz0189é🙂";
const PASSWORD: &str = "!\"$%&'()*+,-.:;<=>@[\\]^_`{|}~ABCXYZabcxyz0189é🙂";
const VALUE: &str = "!#$%&()*+,-./:;<=>?@[\\]^_`{|}~ABCXYZabcxyz0189é🙂";
const IN_SINGLE_QUOTES: &str = "!\"#$%&()*+,-./:;<=>?@[\\]^_`{|}~ \n\tABCXYZabcxyz0189é🙂";
const IN_DOUBLE_QUOTES: &str = "!'#$%&()*+,-./:;<=>?@[\\]^_`{|}~ \n\tABCXYZabcxyz0189é🙂";

impl Form {
    pub(super) fn read(input: &mut Input<'_>) -> Self {
        match input.byte() % 15 {
            0 => pem(input, true),
            1 => pem(input, false),
            2 => url_with_password(input),
            3 => url_with_token(input),
            4 => json_web_token(input),
            // The first of the rules for keys, so its characters may spell any other key.
            5 => key(input, &["sk-", "sk-ant-", "sk-proj-"], BASE64URL, 20),
            // Below it no inner hyphen with a letter after it: another key could begin there, and its rule come first.
            6 => key(input, &["AKIA"], WORD, 16),
            7 => key(input, &["ghp_", "gho_", "ghu_", "ghs_", "ghr_"], WORD, 36),
            8 => key(input, &["github_pat_"], WORD_UNDERSCORE, 20),
            9 => key(input, &["xoxb-", "xoxp-", "xoxa-", "xoxe-", "xoxs-"], DIGITS_HYPHEN, 10),
            10 => key(input, &["sk_live_", "sk_test_", "pk_live_", "pk_test_", "rk_live_", "rk_test_"], WORD, 24),
            11 => google(input),
            12 => bearer(input),
            13 => assignment(input),
            _ => quoted_assignment(input),
        }
    }
}

/// The start, then at least `least` characters in all out of the alphabet, then the end.
fn core(input: &mut Input<'_>, alphabet: &str, least: usize) -> String {
    let alphabet: Vec<char> = alphabet.chars().collect();
    let chosen = input.part().iter().take(48).map(|byte| alphabet[usize::from(*byte) % alphabet.len()]);
    let missing = least.saturating_sub(CORE_START.len() + CORE_END.len());
    let mut inner: Vec<char> = chosen.collect();
    inner.resize(inner.len().max(missing), '0');
    CORE_START.chars().chain(inner).chain(CORE_END.chars()).collect()
}

/// The bits of one byte say which letters change their case.
fn in_any_case(input: &mut Input<'_>, text: &str) -> String {
    let bits = input.byte();
    let flipped = |(index, letter): (usize, char)| match letter {
        letter if bits >> (index % 8) & 1 == 0 => letter,
        letter if letter.is_ascii_lowercase() => letter.to_ascii_uppercase(),
        letter => letter.to_ascii_lowercase(),
    };
    text.chars().enumerate().map(flipped).collect()
}

/// Spans everything up to its end, so it is taken whole or with more. An END line inside would be its end.
fn pem(input: &mut Input<'_>, with_end: bool) -> Form {
    let words = input.one_of(&["", "RSA ", "EC ", "OPENSSH ", "ENCRYPTED ", "X9 42 "]);
    let core = core(input, BASE64_LINES, 0);
    let end = if with_end { format!("\n-----END {words}PRIVATE KEY-----") } else { String::new() };
    let secret = format!("-----BEGIN {words}PRIVATE KEY-----\n{core}{end}");
    Form { secret, before: SPACES, after: SPACES, not_in_noise: &[] }
}

/// URLs have no white space, and only PEM, which spans all, has a rule before theirs.
fn url_with_password(input: &mut Input<'_>) -> Form {
    let scheme = input.one_of(&["postgres", "https", "amqp+ssl", "x"]);
    let scheme = in_any_case(input, scheme);
    let user = input.one_of(&["", "app", "me@x.org"]);
    let password = core(input, PASSWORD, 0);
    let secret = format!("{scheme}://{user}:{password}@db.internal/orders");
    Form { secret, before: SPACES, after: SPACES, not_in_noise: &[] }
}

fn url_with_token(input: &mut Input<'_>) -> Form {
    let scheme = input.one_of(&["https", "http", "git+ssh", "x"]);
    let scheme = in_any_case(input, scheme);
    let token = core(input, TOKEN, 0);
    let secret = format!("{scheme}://{token}@git.internal/team");
    Form { secret, before: SPACES, after: SPACES, not_in_noise: &[] }
}

fn json_web_token(input: &mut Input<'_>) -> Form {
    let (core, claims, signature) = (core(input, BASE64URL, 0), core(input, BASE64URL, 0), core(input, BASE64URL, 0));
    let secret = match input.flag() {
        true => format!("eyJ{core}.eyJ{claims}.{signature}"),
        false => format!("eyJ{core}.eyJ{claims}."),
    };
    Form { secret, before: PUNCTUATION, after: PUNCTUATION, not_in_noise: &[] }
}

fn key(input: &mut Input<'_>, prefixes: &[&str], alphabet: &str, least: usize) -> Form {
    let prefix = input.one_of(prefixes);
    let secret = in_any_case(input, prefix) + &core(input, alphabet, least);
    Form { secret, before: PUNCTUATION, after: PUNCTUATION, not_in_noise: &[] }
}

/// Its case counts.
fn google(input: &mut Input<'_>) -> Form {
    let secret = format!("AIza{}", core(input, WORD_UNDERSCORE, 35));
    Form { secret, before: PUNCTUATION, after: PUNCTUATION, not_in_noise: &[] }
}

/// Without letters in the middle no key can begin there.
fn bearer(input: &mut Input<'_>) -> Form {
    let name = in_any_case(input, "Bearer");
    let space = input.one_of(SPACES);
    let secret = format!("{name}{space}{}", core(input, DIGITS_BEARER, 20));
    Form { secret, before: SPACES, after: SPACES, not_in_noise: &[] }
}

fn name_and_separator(input: &mut Input<'_>) -> String {
    let start = input.one_of(&["", "DB_", "my-", "client."]);
    let name = input.one_of(&["password", "passwd", "secret", "token", "api_key", "apikey", "auth"]);
    let name = in_any_case(input, name);
    let separator = input.one_of(&["=", ":", ": ", " = ", "\t:\n"]);
    format!("{start}{name}{separator}")
}

/// What the rules before it put into the value has neither white space nor quotes, so that the value stays one.
fn assignment(input: &mut Input<'_>) -> Form {
    let secret = name_and_separator(input) + &core(input, VALUE, 8);
    Form { secret, before: POINTS, after: SPACES, not_in_noise: &[] }
}

/// A quote in the noise could close at the one that opens the value.
fn quoted_assignment(input: &mut Input<'_>) -> Form {
    let secret = match input.byte() % 3 {
        0 => format!("{}'{}'", name_and_separator(input), core(input, IN_SINGLE_QUOTES, 8)),
        1 => format!("{}\"{}\"", name_and_separator(input), core(input, IN_DOUBLE_QUOTES, 8)),
        _ => format!("\"api_key\": \"{}\"", core(input, IN_DOUBLE_QUOTES, 8)),
    };
    Form { secret, before: POINTS, after: SPACES, not_in_noise: QUOTES }
}
