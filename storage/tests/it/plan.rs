//! The plan against a model with memory beneath.

use crate::driver;
use proptest::prelude::*;

proptest! {
    #![proptest_config(ProptestConfig { cases: 1500, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_job_is_answered_once_and_rightly(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        driver::run(&bytes);
    }
}
