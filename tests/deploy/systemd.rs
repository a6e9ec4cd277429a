//! The units.

use std::{path::Path, process::Command};

use crate::files::text;

/// The lines of a unit, without comments but for those that are to be uncommented: `#Name=…`.
pub(crate) struct Unit(Vec<String>);

impl Unit {
    pub(crate) fn read(name: &str) -> Self {
        let text = text(&format!("deploy/systemd/{name}"));
        let is_kept = |line: &&str| line.contains('=') && !line.starts_with("# ");
        Self(text.lines().filter(is_kept).map(|line| line.trim_start_matches('#').to_owned()).collect())
    }

    /// All values of a directive.
    pub(crate) fn all(&self, directive: &str) -> Vec<&str> {
        self.0.iter().filter_map(|line| line.strip_prefix(directive)?.strip_prefix('=')).collect()
    }

    pub(crate) fn one(&self, directive: &str) -> &str {
        let found = self.all(directive);
        assert_eq!(found.len(), 1, "{directive}");
        found[0]
    }
}

const UNITS: [&str; 2] = ["sessionfold.service", "sessionfold@.service"];

#[test]
fn the_units_have_what_the_documentation_asks_for() {
    let guide = text("docs/operations.md");
    let (_, block) = guide.split_once("```ini\n[Service]\n").expect("the unit of the documentation");
    let (block, _) = block.split_once("```").expect("its end");
    assert!(block.lines().count() > 5);
    for name in UNITS {
        let unit = Unit::read(name);
        for line in block.lines() {
            assert!(unit.0.iter().any(|found| found == line), "{name} has no {line}");
        }
    }
}

#[test]
fn the_template_differs_in_what_an_instance_has_for_itself() {
    let [unit, template] = UNITS.map(Unit::read);
    let is_its_own = |line: &&String| {
        [
            "Description=",
            "Environment=SESSIONFOLD_HTTP__LISTEN=",
            "Environment=SESSIONFOLD_KAFKA__CLIENT__GROUP_INSTANCE_ID=",
        ]
        .iter()
        .any(|own| line.starts_with(own))
            || *line == "EnvironmentFile=-/etc/sessionfold/sessionfold-%i.env"
    };
    let shared = |unit: &Unit| unit.0.iter().filter(|line| !is_its_own(line)).cloned().collect::<Vec<_>>();
    assert!(shared(&unit).len() > 30);
    assert_eq!(shared(&unit), shared(&template));
}

/// With the program of this build in place of the installed one, which `verify` looks for.
#[test]
fn systemd_takes_the_units() {
    let Some(version) = systemd_version() else {
        eprintln!("SKIPPED: there is no systemd-analyze on this machine; the units were not verified");
        return;
    };
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("deploy/units");
    std::fs::create_dir_all(&folder).expect("a folder");
    for (name, instance) in UNITS.into_iter().zip(["sessionfold.service", "sessionfold@1.service"]) {
        let unit = text(&format!("deploy/systemd/{name}"));
        assert!(unit.contains("ExecStart=/usr/local/bin/sessionfold "));
        let unit = unit.replace("/usr/local/bin/sessionfold", env!("CARGO_BIN_EXE_sessionfold"));
        std::fs::write(folder.join(instance), unit).expect("a unit");
        let mut verify = Command::new("systemd-analyze");
        let done = verify.args(["verify", "--man=no"]).arg(folder.join(instance)).output().expect("systemd-analyze");
        let said = String::from_utf8_lossy(&done.stderr).into_owned();
        // Two settings are of a later version; one that is older passes over them, as the unit says.
        let is_expected =
            |line: &str| version < 254 && (line.contains("'RestartSteps'") || line.contains("'RestartMaxDelaySec'"));
        let faults: Vec<_> = said.lines().filter(|line| line.contains(instance) && !is_expected(line)).collect();
        assert!(done.status.success() && faults.is_empty(), "{name}: {said}");
    }
}

fn systemd_version() -> Option<u32> {
    let said = Command::new("systemd-analyze").arg("--version").output().ok()?.stdout;
    String::from_utf8(said).ok()?.split_whitespace().nth(1)?.parse().ok()
}
