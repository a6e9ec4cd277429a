//! What each way to deploy sets is a configuration that the program takes, and leaves it enough time to end.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};

use serde_json::Value;
use sessionfold::config::{Config, Sources, parse_duration};

use crate::{
    files::{at, list_at, text, text_at, yaml, yaml_documents},
    systemd::Unit,
};

/// What the program is given by one way to deploy it.
pub(crate) struct Given {
    /// For what is said where something is wrong.
    name: &'static str,
    toml: Option<String>,
    environment: Vec<(String, String)>,
    /// Where the program finds its secrets, and what is in these files.
    secrets: (String, BTreeMap<String, String>),
}

impl Given {
    /// As the program would: unknown keys, values out of range and secrets that aren't there panic.
    pub(crate) fn load(&self) -> Config {
        let (mount, secrets) = &self.secrets;
        // Tests run side by side, and several load the same.
        static LOADED: AtomicUsize = AtomicUsize::new(0);
        let number = LOADED.fetch_add(1, Ordering::Relaxed).to_string();
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("deploy").join(number);
        std::fs::create_dir_all(&folder).expect("a folder");
        for (name, secret) in secrets {
            std::fs::write(folder.join(name), secret).expect("a secret");
        }
        let here = |text: &str| text.replace(mount, folder.to_str().expect("UTF-8"));
        let file: Option<PathBuf> = self.toml.as_ref().map(|toml| {
            let path = folder.join("sessionfold.toml");
            std::fs::write(&path, here(toml)).expect("a file");
            path
        });
        let environment = self.environment.iter().map(|(name, value)| (name.clone(), here(value))).collect();
        let loaded = Config::load(Sources { file, environment, flags: Vec::new() });
        loaded.unwrap_or_else(|why| panic!("{}: {why}", self.name))
    }
}

/// Good for any secret but the URL.
const SOME_SECRET: &str = "0123456789abcdef0123456789abcdef";

fn secret(name: &str) -> (String, String) {
    let secret =
        if name.ends_with("-url") { "postgres://service:password@postgres:5432/sessionfold" } else { SOME_SECRET };
    (name.to_owned(), secret.to_owned())
}

pub(crate) fn of_compose() -> Given {
    let compose = yaml("deploy/compose/compose.yaml");
    let service = at(&compose, "/services/sessionfold");
    let environment = at(service, "/environment").as_object().expect("a map");
    let environment =
        environment.iter().map(|(name, value)| (name.clone(), value.as_str().expect("a text").to_owned()));
    let secrets = list_at(service, "/secrets").iter().map(|name| secret(name.as_str().expect("a name")));
    let secrets = ("/run/secrets".to_owned(), secrets.collect());
    Given { name: "compose", toml: None, environment: environment.collect(), secrets }
}

/// Of a pod with one container and one secret, which is as secrets.example.yaml has it.
fn of_pod(name: &'static str, pod: &Value, toml: Option<String>) -> Given {
    let variable = |variable: &Value| {
        let value = variable.pointer("/value").and_then(Value::as_str);
        // What isn't written there is the pod's name.
        let value = value.unwrap_or_else(|| {
            assert_eq!(text_at(variable, "/valueFrom/fieldRef/fieldPath"), "metadata.name");
            "sessionfold-0"
        });
        (text_at(variable, "/name").to_owned(), value.to_owned())
    };
    let environment = list_at(pod, "/containers/0/env").iter().map(variable).collect();
    let named = |list: &'static str| {
        let found = list_at(pod, list).iter().find(|one| text_at(one, "/name") == "secrets");
        found.unwrap_or_else(|| panic!("{name}: no secrets in {list}"))
    };
    let mount = text_at(named("/containers/0/volumeMounts"), "/mountPath");
    let wanted = text_at(named("/volumes"), "/secret/secretName");
    let examples = yaml_documents("deploy/kubernetes/secrets.example.yaml");
    let example = examples.iter().find(|example| text_at(example, "/metadata/name") == wanted);
    let example = example.unwrap_or_else(|| panic!("secrets.example.yaml has no {wanted}"));
    let of_example = |(name, value): (&String, &Value)| (name.clone(), value.as_str().expect("a text").to_owned());
    let secrets = at(example, "/stringData").as_object().expect("a map").iter().map(of_example).collect();
    Given { name, toml, environment, secrets: (mount.to_owned(), secrets) }
}

pub(crate) fn of_kubernetes() -> Given {
    let set = yaml("deploy/kubernetes/statefulset.yaml");
    of_pod("kubernetes", at(&set, "/spec/template/spec"), Some(text("deploy/kubernetes/sessionfold.toml")))
}

fn of_migration() -> Given {
    let job = yaml("deploy/kubernetes/migrate/job.yaml");
    of_pod("migration", at(&job, "/spec/template/spec"), None)
}

/// With all that the unit and its file of settings have, also what is to be uncommented there.
pub(crate) fn of_systemd(name: &'static str, unit: &Unit) -> Given {
    let variable = |line: &str| {
        let (name, value) = line.trim_start_matches('#').split_once('=')?;
        name.starts_with("SESSIONFOLD_").then(|| (name.to_owned(), value.to_owned()))
    };
    let mut environment: BTreeMap<String, String> =
        unit.all("Environment").iter().filter_map(|line| variable(line)).collect();
    assert!(!environment.is_empty());
    environment.extend(text("deploy/systemd/sessionfold.env").lines().filter_map(variable));
    let here = |value: String| value.replace("%i", "1").replace("%H", "host.example.com");
    let environment = environment.into_iter().map(|(name, value)| (name, here(value))).collect();
    let credentials = unit.all("LoadCredential").into_iter().map(|line| {
        let (name, path) = line.split_once(':').expect("a name and a path");
        assert_eq!(path, format!("/etc/sessionfold/{name}"));
        secret(name)
    });
    let secrets = ("%d".to_owned(), credentials.collect());
    Given { name, toml: Some(text("deploy/systemd/sessionfold.toml")), environment, secrets }
}

fn all() -> Vec<Given> {
    vec![
        of_compose(),
        of_kubernetes(),
        of_migration(),
        of_systemd("unit", &Unit::read("sessionfold.service")),
        of_systemd("template", &Unit::read("sessionfold@.service")),
    ]
}

#[test]
fn every_setting_is_one_that_the_program_has() {
    for given in all() {
        given.load();
    }
    let mut wrong = of_compose();
    wrong.environment.push(("SESSIONFOLD_HTTP__TOKEN_FLIE".to_owned(), String::new()));
    assert!(std::panic::catch_unwind(move || wrong.load()).is_err(), "a wrong key isn't found");
}

#[test]
fn no_secret_stands_in_the_environment() {
    for given in all() {
        for (name, _) in &given.environment {
            let is_secret = ["URL", "TOKEN", "PASSWORD"].iter().any(|end| name.ends_with(end));
            assert!(!is_secret, "{}: {name} has to be a file", given.name);
        }
    }
}

#[test]
fn whoever_ends_the_program_waits_longer_than_it_may_take() {
    let by_force = Duration::from_secs(1);
    let limit = |given: Given, waits: Duration| {
        let needs = given.load().shutdown.timeout + by_force;
        assert!(waits > needs, "{}: {waits:?} for a program that may take {needs:?}", given.name);
    };
    let compose = yaml("deploy/compose/compose.yaml");
    let waits = text_at(&compose, "/services/sessionfold/stop_grace_period");
    limit(of_compose(), parse_duration(waits).expect("a duration"));
    let set = yaml("deploy/kubernetes/statefulset.yaml");
    let waits = at(&set, "/spec/template/spec/terminationGracePeriodSeconds");
    limit(of_kubernetes(), Duration::from_secs(waits.as_u64().expect("a number")));
    for name in ["sessionfold.service", "sessionfold@.service"] {
        let unit = Unit::read(name);
        let waits = unit.one("TimeoutStopSec").parse().expect("seconds");
        limit(of_systemd("stopping", &unit), Duration::from_secs(waits));
    }
}

#[test]
fn compose_makes_the_topics_that_are_read_and_its_script_the_secrets() {
    let compose = yaml("deploy/compose/compose.yaml");
    let made: Vec<_> = text_at(&compose, "/services/topics/environment/TOPICS").split_whitespace().collect();
    assert_eq!(made, of_compose().load().kafka.topics);
    let script = text("deploy/compose/secrets.sh");
    let secrets = at(&compose, "/secrets").as_object().expect("a map");
    assert!(secrets.len() >= 3);
    for (name, secret) in secrets {
        assert_eq!(text_at(secret, "/file"), format!("secrets/{name}"));
        assert!(script.contains(&format!("\nsecret {name} ")), "secrets.sh doesn't make {name}");
    }
    for (service, of) in at(&compose, "/services").as_object().expect("a map") {
        for name in of.pointer("/secrets").and_then(Value::as_array).into_iter().flatten() {
            assert!(secrets.contains_key(name.as_str().expect("a name")), "{service}: no secret {name}");
        }
    }
}
