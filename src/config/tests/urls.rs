use super::*;

fn from_url(url: &str) -> Result<Config, ConfigError> {
    from_environment("SESSIONFOLD_POSTGRES__URL", url)
}

#[test]
fn a_url_becomes_the_drivers_options() {
    let config = from_url("postgres://me:p%40ss@db.example.com:6543/events?sslmode=verify-full");
    let options = config.unwrap().postgres.connect_options();
    assert_eq!(options.get_host(), "db.example.com");
    assert_eq!(options.get_port(), 6543);
    assert_eq!(options.get_username(), "me");
    assert_eq!(options.get_database(), Some("events"));
    assert_eq!(format!("{:?}", options.get_ssl_mode()), "VerifyFull");
    assert_eq!(options.get_application_name(), Some("sessionfold"));
}

#[test]
fn a_url_may_name_the_application_itself() {
    let config = from_url("postgres://h/d?application_name=mine").unwrap();
    let options = config.postgres.connect_options();
    assert_eq!(options.get_application_name(), Some("mine"));
}

#[test]
fn an_invalid_url_is_refused_and_not_shown() {
    for url in [
        "",
        "hunter2",
        "http://u:hunter2@h/d",
        "postgres://u:hunter2@h:port/d",
        "postgres://u:hunter2@h:70000/d",
        "postgres://u:hunter2@h/d?sslmode=hunter2",
        "postgres://u:hunter2@h/d\n",
        "postgres://u:hunter2 @h/d",
        "postgres://u:12/hunter2@h/d",
        "postgres://u:12#hunter2@h/d",
        "postgres://u:12?hunter2@h/d",
        "postgres://u@h/d?passwrd=hunter2",
        "postgres://u@h/d?pass%77ord=hunter2",
    ] {
        let message = message(from_url(url));
        assert!(message.starts_with("postgres.url: "), "{message}");
        assert!(message.contains("; allowed: "), "{message}");
        assert!(message.ends_with("(from environment variable SESSIONFOLD_POSTGRES__URL)"));
        assert!(!message.contains("hunter2"), "{message}");
    }
}

#[test]
fn a_masked_url_shows_everything_but_the_password() {
    for (url, masked) in [
        ("postgres://u:hunter2@h:1/d", "postgres://u:***@h:1/d"),
        ("postgresql://u:@h/d", "postgresql://u:***@h/d"),
        ("postgres://u@h:1/d", "postgres://u@h:1/d"),
        ("postgres://h", "postgres://h"),
        ("postgres://u:a@hunter2@h/d", "postgres://u:***@h/d"),
        ("postgres://u:a:hunter2@[::1]:5/d", "postgres://u:***@[::1]:5/d"),
        (
            "postgres:///d?host=/run/pg&password=hunter2&sslmode=disable",
            "postgres:///d?host=/run/pg&password=***&sslmode=disable",
        ),
        ("postgres://h/d?sslkey=/dev/null", "postgres://h/d?sslkey=***"),
    ] {
        let config = from_url(url).unwrap();
        assert_eq!(config.postgres.url.to_string(), masked);
        assert_eq!(format!("{:?}", config.postgres.url), masked);
        assert!(config.render().contains(&format!("url = \"{masked}\"")));
    }
}

#[test]
fn an_authority_that_would_not_be_used_is_refused() {
    for mode in ["", "&sslmode=prefer", "&sslmode=require", "&sslmode=disable"] {
        let message = message(from_url(&format!("postgres://u:hunter2@h/d?sslrootcert=/dev/null{mode}")));
        assert!(message.starts_with("postgres.url: has sslrootcert, which has no effect"), "{message}");
        assert!(message.contains("sslmode=verify-full"), "{message}");
        assert!(!message.contains("hunter2"), "{message}");
    }
    for mode in ["verify-ca", "verify-full"] {
        assert!(from_url(&format!("postgres://u@h/d?sslmode={mode}&sslrootcert=/dev/null")).is_ok());
    }
}

#[test]
fn a_certificate_that_is_not_there_is_refused_and_its_path_not_shown() {
    for name in ["sslrootcert", "sslcert", "sslkey"] {
        let message = message(from_url(&format!("postgres://u@h/d?sslmode=verify-full&{name}=no/hunter2")));
        assert!(message.contains(&format!("names a file in {name} that cannot be read: No such file")), "{message}");
        assert!(!message.contains("hunter2"), "{message}");
    }
}
