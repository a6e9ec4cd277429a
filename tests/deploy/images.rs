//! The image, and that everything asks for this version of it.

use crate::{
    configuration::{of_compose, of_kubernetes},
    files::{at, text, text_at, yaml},
};

/// The words after an instruction of the Dockerfile, each time it occurs.
fn instructions(name: &str) -> Vec<String> {
    let file = text("deploy/Dockerfile").replace("\\\n", " ");
    file.lines().filter_map(|line| line.strip_prefix(name)?.strip_prefix(' ')).map(str::to_owned).collect()
}

#[test]
fn every_file_asks_for_the_version_that_this_is() {
    let version = env!("CARGO_PKG_VERSION");
    assert!(instructions("ARG").contains(&format!("VERSION={version}")));
    let compose = yaml("deploy/compose/compose.yaml");
    assert_eq!(text_at(&compose, "/services/sessionfold/image"), format!("sessionfold:{version}"));
    for kustomization in ["deploy/kubernetes/kustomization.yaml", "deploy/kubernetes/migrate/kustomization.yaml"] {
        assert_eq!(text_at(&yaml(kustomization), "/images/0/newTag"), version, "{kustomization}");
    }
}

#[test]
fn the_image_is_built_with_the_oldest_rust_that_is_promised() {
    let rust = env!("CARGO_PKG_RUST_VERSION").strip_suffix(".0").expect("no patch is asked for");
    assert!(instructions("FROM")[0].starts_with(&format!("rust:{rust}-slim-")));
}

#[test]
fn the_image_has_the_packages_that_the_readme_asks_for() {
    let readme = text("README.md");
    let installed = instructions("RUN").join("\n");
    let installed = installed.lines().filter(|line| line.contains("apt-get install")).collect::<Vec<_>>();
    let [building, running] = installed.as_slice() else { panic!("{installed:?}") };
    // A compiler and make are of build-essential; the image of Rust has a compiler for C.
    let wanted = |line: &str| {
        let line = readme.lines().skip_while(|of| !of.starts_with(line)).take(4).collect::<Vec<_>>().join(" ");
        let packages = ["pkg-config", "libssl-dev", "zlib1g-dev", "libssl3", "zlib1g", "ca-certificates"];
        let of = packages.into_iter().filter(|package| line.split([' ', '`']).any(|word| word == *package));
        of.map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(wanted("- To run").len(), 3, "{:?}", wanted("- To run"));
    for package in wanted("- To build").iter().filter(|package| package.ends_with("-dev") || *package == "pkg-config") {
        assert!(building.split(' ').any(|word| word == package), "the building image has no {package}");
    }
    for package in wanted("- To run") {
        assert!(running.split(' ').any(|word| word == package), "the image has no {package}");
    }
}

#[test]
fn what_is_copied_is_sent_to_the_builder() {
    let sent = text("deploy/Dockerfile.dockerignore");
    let copied: Vec<_> = instructions("COPY").into_iter().filter(|of| !of.starts_with("--from")).collect();
    assert!(copied.len() >= 4);
    for copy in copied {
        let mut sources: Vec<_> = copy.split_whitespace().collect();
        sources.pop();
        for source in sources {
            assert!(sent.lines().any(|line| line == format!("!{source}")), "{source} is not sent");
        }
    }
}

#[test]
fn the_image_and_those_who_run_it_have_one_port_and_one_user() {
    let port: u16 = instructions("EXPOSE")[0].parse().expect("a port");
    for given in [of_compose(), of_kubernetes()] {
        let address = given.load().http.listen.expect("an address");
        assert!(address.ip().is_unspecified() && address.port() == port, "{address}");
    }
    let compose = yaml("deploy/compose/compose.yaml");
    assert_eq!(at(&compose, "/services/sessionfold/ports/0/target"), port);
    let probe = at(&compose, "/services/sessionfold/healthcheck/test").to_string();
    assert!(probe.contains(&format!("/127.0.0.1/{port} ")) && probe.contains("GET /readyz "), "{probe}");
    let prometheus = yaml("deploy/prometheus/prometheus.yaml");
    assert_eq!(at(&prometheus, "/scrape_configs/0/dns_sd_configs/0/port"), port);
    assert_eq!(text_at(&prometheus, "/scrape_configs/0/dns_sd_configs/0/names/0"), "sessionfold");
    let (user, group) =
        instructions("USER")[0].split_once(':').map(|(u, g)| (u.to_owned(), g.to_owned())).expect("both");
    for pod in ["deploy/kubernetes/statefulset.yaml", "deploy/kubernetes/migrate/job.yaml"] {
        let security = at(&yaml(pod), "/spec/template/spec/securityContext").clone();
        assert_eq!(at(&security, "/runAsUser").to_string(), user);
        assert_eq!(
            [at(&security, "/runAsGroup"), at(&security, "/fsGroup")].map(ToString::to_string),
            [group.clone(), group.clone()]
        );
    }
}
