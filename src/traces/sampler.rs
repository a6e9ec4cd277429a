//! Which correlation ids are taken.

use crate::config::Share;

use super::TraceId;

/// Takes a share of the correlation ids: by the id alone, so that all events of one get their spans or none does, on each
/// instance and in each version. What a smaller share takes, a larger one takes too.
#[derive(Clone, Copy, Debug)]
pub struct Sampler {
    /// Hashes below it are taken; of 2^64.
    below: u128,
}

impl Sampler {
    pub fn new(share: Share) -> Self {
        // 2^64, which a double has exactly.
        const ALL: f64 = 18_446_744_073_709_551_616.0;
        Self { below: (share.get() * ALL) as u128 }
    }

    /// Whether it takes any at all.
    pub fn takes_some(self) -> bool {
        self.below > 0
    }

    pub fn takes(self, id: TraceId) -> bool {
        u128::from(hash(id.get())) < self.below
    }
}

/// Producers choose ids as they like: those of one may be consecutive, or begin with the time.
fn hash(id: u128) -> u64 {
    let (high, low) = ((id >> 64) as u64, id as u64);
    mixed(mixed(high) ^ low)
}

/// The finalizer of SplitMix64.
fn mixed(mut bits: u64) -> u64 {
    bits = bits.wrapping_add(0x9e37_79b9_7f4a_7c15);
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    bits ^ (bits >> 31)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use uuid::Uuid;

    use super::*;

    fn sampler(share: f64) -> Sampler {
        Sampler::new(Share::new(share).unwrap())
    }

    fn id(number: u128) -> TraceId {
        TraceId::of(Uuid::from_u128(number)).unwrap()
    }

    proptest! {
        #[test]
        fn a_correlation_id_is_taken_by_each_instance_or_by_none_and_by_all_larger_shares(
            number in 1_u128..,
            share in 0.0..=1.0_f64,
            more in 0.0..=1.0_f64,
        ) {
            let taken = sampler(share).takes(id(number));
            prop_assert_eq!(taken, sampler(share).takes(id(number)));
            prop_assert!(!taken || sampler(share.max(more)).takes(id(number)));
            prop_assert!(sampler(1.0).takes(id(number)) && !sampler(0.0).takes(id(number)));
        }

        #[test]
        fn whatever_ids_look_like_about_the_share_of_them_is_taken(
            from in 1_u128..u128::MAX >> 1,
            step in prop_oneof![Just(0), Just(16), Just(64), Just(100)],
            share in 0.05..0.95_f64,
        ) {
            const IDS: u128 = 4_000;
            // Consecutive in one place or another.
            let ids = (0..IDS).map(|number| id(from.wrapping_add(number << step).max(1)));
            let taken = ids.filter(|id| sampler(share).takes(*id)).count();
            // Six standard deviations.
            let deviation = (IDS as f64 * share * (1.0 - share)).sqrt() * 6.0;
            prop_assert!((taken as f64 - IDS as f64 * share).abs() < deviation, "{taken}");
        }
    }

    /// Instances of two versions run side by side while one is replaced by the other.
    #[test]
    fn what_is_taken_is_the_same_in_every_version() {
        let taken: Vec<u128> = (1..=40).filter(|number| sampler(0.25).takes(id(*number))).collect();
        assert_eq!(taken, [1, 4, 5, 18, 25, 27, 31, 33, 35, 38, 39, 40]);
    }
}
