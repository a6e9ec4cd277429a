//! The manifests.

use serde_json::Value;

use crate::{
    configuration::of_kubernetes,
    files::{at, list_at, rows, text, text_at, yaml, yaml_documents},
};

const SET: &str = "deploy/kubernetes/statefulset.yaml";
const NAME: &str = "/app.kubernetes.io~1name";

fn container() -> Value {
    at(&yaml(SET), "/spec/template/spec/containers/0").clone()
}

#[test]
fn probes_ask_where_no_token_is_needed_and_begin_after_the_start() {
    let paths = rows(&text("docs/http.md"), "# HTTP");
    let open: Vec<_> = paths.iter().filter(|row| row[2] == "no").map(|row| row[0].trim_matches('`')).collect();
    assert_eq!(open, ["/livez", "/readyz"]);
    let container = container();
    let probe = |name: &str| at(&container, name).clone();
    let (startup, live, ready) = (probe("/startupProbe"), probe("/livenessProbe"), probe("/readinessProbe"));
    for (probe, path) in [(&startup, "/livez"), (&live, "/livez"), (&ready, "/readyz")] {
        assert_eq!(text_at(probe, "/httpGet/path"), path);
        assert_eq!(text_at(probe, "/httpGet/port"), text_at(&container, "/ports/0/name"));
    }
    let documented = "`livenessProbe` on `/livez` with a `failureThreshold` of 3";
    assert!(text("docs/http.md").contains(documented));
    assert_eq!(at(&live, "/failureThreshold"), 3);
    // `run` gives up its first look at brokers and Postgres after a minute.
    let seconds = |name: &str| at(&startup, name).as_u64().expect("a number");
    assert!(seconds("/periodSeconds") * seconds("/failureThreshold") > 60);
}

#[test]
fn a_pod_has_its_name_as_its_id_in_the_group_and_lets_the_job_migrate() {
    let config = of_kubernetes().load();
    assert!(!config.postgres.migrate);
    assert!(config.kafka.client.contains_key("group.instance.id"));
    assert!(config.kafka.client.contains_key("session.timeout.ms"));
    let job = yaml("deploy/kubernetes/migrate/job.yaml");
    assert_eq!(at(&job, "/spec/template/spec/containers/0/args").to_string(), r#"["migrate"]"#);
}

#[test]
fn the_file_of_settings_is_where_the_program_looks_for_it() {
    let (set, container) = (yaml(SET), container());
    let path = list_at(&container, "/args")[2].as_str().expect("a path");
    let (folder, file) = path.rsplit_once('/').expect("a folder");
    let mounts = list_at(&container, "/volumeMounts");
    let mount = mounts.iter().find(|mount| text_at(mount, "/mountPath") == folder).expect("a mount");
    let volumes = list_at(&set, "/spec/template/spec/volumes");
    let volume = volumes.iter().find(|volume| at(volume, "/name") == at(mount, "/name")).expect("a volume");
    let kustomization = yaml("deploy/kubernetes/kustomization.yaml");
    assert_eq!(at(volume, "/configMap/name"), at(&kustomization, "/configMapGenerator/0/name"));
    assert_eq!(text_at(&kustomization, "/configMapGenerator/0/files/0"), file);
}

#[test]
fn services_and_the_budget_select_the_pods() {
    let set = yaml(SET);
    let name = text_at(&set, &format!("/spec/template/metadata/labels{NAME}"));
    assert_eq!(text_at(&set, &format!("/spec/selector/matchLabels{NAME}")), name);
    let port = text_at(&container(), "/ports/0/name").to_owned();
    let services = yaml_documents("deploy/kubernetes/services.yaml");
    for service in &services {
        assert_eq!(text_at(service, &format!("/spec/selector{NAME}")), name);
        assert_eq!(text_at(service, "/spec/ports/0/targetPort"), port);
    }
    assert!(services.iter().any(|service| at(service, "/metadata/name") == at(&set, "/spec/serviceName")));
    let budget = yaml("deploy/kubernetes/disruption.yaml");
    assert_eq!(text_at(&budget, &format!("/spec/selector/matchLabels{NAME}")), name);
    let monitor = yaml("deploy/kubernetes/monitoring/servicemonitor.yaml");
    let wanted = at(&monitor, "/spec/selector/matchLabels").as_object().expect("a map");
    let has_all = |service: &&Value| {
        let labels = at(service, "/metadata/labels").as_object().expect("a map");
        wanted.iter().all(|(label, value)| labels.get(label) == Some(value))
    };
    let scraped: Vec<_> = services.iter().filter(has_all).collect();
    assert_eq!(scraped.len(), 1, "each pod is scraped once");
    assert_eq!(at(&monitor, "/spec/endpoints/0/port"), at(scraped[0], "/spec/ports/0/name"));
    let credentials = at(&monitor, "/spec/endpoints/0/authorization/credentials");
    let examples = yaml_documents("deploy/kubernetes/secrets.example.yaml");
    assert_eq!(at(credentials, "/name"), at(&examples[0], "/metadata/name"));
    assert!(at(&examples[0], "/stringData").get(text_at(credentials, "/key")).is_some());
}

#[test]
fn memory_is_limited_as_the_documentation_says() {
    let limit = "512Mi";
    assert!(text("docs/operations.md").contains(&format!("`resources.limits.memory: {limit}`")));
    assert_eq!(text_at(&container(), "/resources/limits/memory"), limit);
    let compose = yaml("deploy/compose/compose.yaml");
    assert_eq!(text_at(&compose, "/services/sessionfold/deploy/resources/limits/memory"), "512M");
}
