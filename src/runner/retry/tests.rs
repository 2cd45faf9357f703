//! The formula, and how often a job is started.

use proptest::prelude::*;

use super::*;

fn policy(config: RetryConfig) -> RetryPolicy {
    RetryPolicy::new(config).unwrap()
}

/// How often a job is started that ends with this code each time.
fn starts(policy: &RetryPolicy, exit_code: i32) -> u32 {
    let mut retries = 0;
    while policy.should_retry(exit_code, "", retries) {
        retries += 1;
    }
    retries + 1
}

#[test]
fn the_delays_are_those_of_the_formula() {
    let policy = policy(RetryConfig::default());
    let seconds: Vec<f64> = (0..8).map(|attempt| policy.delay(attempt).as_secs_f64()).collect();
    assert_eq!(seconds, [5.0, 10.0, 20.0, 40.0, 80.0, 160.0, 300.0, 300.0]);
}

#[test]
fn a_code_that_is_not_listed_is_final_unless_a_pattern_matches() {
    let patterns = vec!["connection (reset|refused)".to_owned()];
    let policy = policy(RetryConfig { retryable_error_patterns: patterns, ..RetryConfig::default() });
    assert!(policy.should_retry(2, "", 0));
    assert!(!policy.should_retry(3, "disk full", 0));
    assert!(policy.should_retry(3, "Error: Connection RESET by peer", 2));
    assert!(!policy.should_retry(3, "Error: Connection RESET by peer", 3));
    assert!(!policy.should_retry(0, "connection reset", 0), "success is final");
}

#[test]
fn a_pattern_that_is_none_is_named() {
    let patterns = vec!["fine".to_owned(), "(open".to_owned()];
    let error = RetryPolicy::new(RetryConfig { retryable_error_patterns: patterns, ..RetryConfig::default() });
    let message = error.unwrap_err();
    assert!(message.starts_with("retryable_error_patterns[1]: expected a regular expression: "), "{message}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(crate::cases::cases(256)))]

    #[test]
    fn a_job_starts_once_and_once_more_for_each_retry(max_retries in 0_u32..100, code in 1_i32..=255) {
        let config = RetryConfig { max_retries, retryable_exit_codes: vec![1, 2], ..RetryConfig::default() };
        let expected = if code <= 2 { max_retries + 1 } else { 1 };
        prop_assert_eq!(starts(&policy(config), code), expected);
    }

    #[test]
    fn a_delay_grows_and_never_passes_the_longest(
        initial in 0.0_f64..100_000.0, multiplier in 1.0_f64..100.0, most in 0.0_f64..1_000_000.0, attempt in 0_u32..10_000,
    ) {
        let policy = policy(RetryConfig {
            initial_delay_seconds: initial,
            backoff_multiplier: multiplier,
            max_delay_seconds: most,
            ..RetryConfig::default()
        });
        let (this, next) = (policy.delay(attempt), policy.delay(attempt + 1));
        prop_assert!(this <= next);
        prop_assert!(next.as_secs_f64() <= most + 1e-9);
        if attempt == 0 {
            prop_assert!((this.as_secs_f64() - initial.min(most)).abs() < 1e-6);
        }
    }
}
