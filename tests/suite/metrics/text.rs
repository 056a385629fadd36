//! Reads an exposition as simply as can be, and has strict readers of others judge it.

use std::{
    collections::{BTreeMap, BTreeSet},
    env, fs,
    process::{Command, Stdio},
};

use kit::{Lab, finish};

/// Samples by name with labels, as written.
#[derive(Debug)]
pub(crate) struct Samples {
    values: BTreeMap<String, f64>,
    families: BTreeSet<String>,
}

impl Samples {
    #[track_caller]
    pub(crate) fn read(text: &str) -> Self {
        assert!(text.ends_with("# EOF\n"), "cut off: {text}");
        let families = text.lines().filter_map(|line| line.strip_prefix("# TYPE "));
        let mut values = BTreeMap::new();
        for line in text.lines().filter(|line| !line.starts_with('#')) {
            let (sample, value) = line.rsplit_once(' ').unwrap();
            let before = values.insert(sample.to_owned(), value.parse().unwrap());
            assert_eq!(before, None, "twice: {sample}");
        }
        Self {
            values,
            families: families.map(str::to_owned).collect(),
        }
    }

    /// The value of a sample that must be there; labels as written, braces included.
    #[track_caller]
    pub(crate) fn of(&self, name: &str, labels: &str) -> f64 {
        let found = self.get(name, labels);
        found.unwrap_or_else(|| panic!("no {name}{labels} in {:#?}", self.values))
    }

    pub(crate) fn get(&self, name: &str, labels: &str) -> Option<f64> {
        self.values.get(&format!("{name}{labels}")).copied()
    }

    /// How many samples a name has.
    pub(crate) fn count(&self, name: &str) -> usize {
        let start = format!("{name}{{");
        self.values
            .keys()
            .filter(|key| key.starts_with(&start))
            .count()
    }

    /// Names and kinds of all families.
    pub(crate) fn families(&self) -> &BTreeSet<String> {
        &self.families
    }
}

/// Has Python's own client library read it, which keeps to the letter of OpenMetrics.
#[track_caller]
pub(crate) fn accepted_by_python(lab: &Lab, text: &str) {
    let python = env::var_os("HARBOR_PYTHON");
    let python = python.expect("HARBOR_PYTHON: run it by cargo xtask test");
    let file = lab.folder().join("metrics.txt");
    fs::write(&file, text).unwrap();
    let program = "import sys\n\
                   from prometheus_client.openmetrics.parser import text_string_to_metric_families\n\
                   print(len(list(text_string_to_metric_families(open(sys.argv[1]).read()))))";
    let mut command = Command::new(python);
    command.env("PYTHONDONTWRITEBYTECODE", "1");
    let read = finish(command.args(["-c", program]).arg(&file)).ok();
    let families = text
        .lines()
        .filter(|line| line.starts_with("# TYPE "))
        .count();
    assert_eq!(read.stdout.trim(), families.to_string());
}

/// Has Prometheus' own tool read it: nothing to object to, not even to the style.
#[track_caller]
pub(crate) fn accepted_by_promtool(lab: &Lab, text: &str) {
    let file = lab.folder().join("metrics.txt");
    fs::write(&file, text).unwrap();
    let mut command = Command::new("promtool");
    let read = command
        .args(["check", "metrics"])
        .stdin(Stdio::from(fs::File::open(&file).unwrap()))
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&read.stderr);
    assert!(read.status.success() && said.is_empty(), "{said}");
}
