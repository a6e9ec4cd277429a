use std::time::Duration;

use super::*;

const INTERVAL: &str = "SESSIONFOLD_HEALTH__INTERVAL";
const TIMEOUT: &str = "SESSIONFOLD_HEALTH__TIMEOUT";

#[test]
fn what_the_environment_says_wrongly_of_asking_dependencies_is_a_warning_and_the_default_holds() {
    for value in ["", "often", "0", "0s", "-5s", "-1", "300", "99ms", "25h", "99999999999999999999s"] {
        let config = load(None, &[(INTERVAL, value), (TIMEOUT, value)], &[]).unwrap();
        assert_eq!(config.health.interval, Duration::from_secs(300), "{value}");
        assert_eq!(config.health.timeout, Duration::from_secs(30), "{value}");
        let warnings: Vec<String> = config.warnings().iter().map(ToString::to_string).collect();
        assert_eq!(warnings.len(), 2, "{warnings:?}");
        for (warning, variable) in warnings.iter().zip([INTERVAL, TIMEOUT]) {
            assert!(warning.contains(&format!("(from environment variable {variable}); passed over")), "{warning}");
            assert_eq!(warning.lines().count(), 1);
        }
        assert!(config.render().contains("interval = \"300s\"\n"), "the default names no origin");
    }
    let config = load(None, &[(INTERVAL, "90s"), (TIMEOUT, "250ms")], &[]).unwrap();
    assert_eq!((config.health.interval, config.health.timeout), (Duration::from_secs(90), Duration::from_millis(250)));
    assert!(config.warnings().is_empty());
}

#[test]
fn passed_over_it_is_as_if_the_variable_were_not_there() {
    let file = TempFile::holding("[health]\ninterval = \"7s\"\n");
    let config = load(Some(&file), &[(INTERVAL, "often")], &[]).unwrap();
    assert_eq!((config.health.interval, config.warnings().len()), (Duration::from_secs(7), 1));
    let config = load(Some(&file), &[(INTERVAL, "often")], &["health.interval=8s"]).unwrap();
    assert_eq!((config.health.interval, config.warnings().len()), (Duration::from_secs(8), 0), "the flag wins anyway");
}

#[test]
fn in_a_file_and_in_a_flag_it_is_an_error_and_so_is_any_other_key_in_the_environment() {
    for loaded in [
        from_file("[health]\ninterval = \"0s\"\n"),
        from_file("[health]\ntimeout = 30\n"),
        from_flag("health.interval=often"),
        from_flag("health.timeout=0s"),
        from_environment("SESSIONFOLD_HEALTH__STALLED_AFTER", "0s"),
        from_environment("SESSIONFOLD_HEALTH__INTERVALS", "5s"),
    ] {
        assert!(message(loaded).starts_with("health."));
    }
}
