//! Made-up secrets of the kinds that redaction knows. They are put together when the program runs, so that no scanner
//! of sources takes this file for a leak.

use super::random::Random;

const HEX: &[u8] = b"0123456789abcdef";
const UPPER: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
const MIXED: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";

/// A sentence's part that holds a secret, at most 140 characters long.
pub(super) fn secret(random: &mut Random) -> String {
    let mut mixed = |count| random.letters(MIXED, count);
    let long = mixed(40);
    match random.between(0..=12) {
        0 => format!("-----BEGIN RSA PRIVATE KEY-----\n{long}\n-----END RSA PRIVATE KEY-----"),
        1 => format!("postgres://app:{}@db.internal:5432/orders", &long[..16]),
        2 => format!("https://{}@git.internal/team/repo.git", &long[..24]),
        3 => format!("eyJ{}.eyJ{}.{}", &long[..17], &long[17..34], random.letters(MIXED, 22)),
        4 => format!("sk-{long}"),
        5 => format!("AKIA{}", random.letters(UPPER, 16)),
        6 => format!("ghp_{}", &long[..36]),
        7 => format!("github_pat_{long}"),
        8 => format!("xoxb-{}-{}", random.letters(b"0123456789", 12), &long[..24]),
        9 => format!("sk_live_{}", &long[..24]),
        10 => format!("AIza{}", &long[..35]),
        11 => format!("Authorization: Bearer {long}"),
        _ => format!("API_KEY=\"{}\"", random.letters(HEX, 32)),
    }
}
