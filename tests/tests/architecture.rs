//! What `docs/architecture.md` promises: who knows whom, and where a backend is chosen.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

use serde::Deserialize;

/// Each library crate with the crates of this workspace that it may know.
const ARROWS: &[(&str, &[&str])] = &[
    (
        "convrec-cli",
        &[
            "convrec-catalog",
            // The processes of a training run.
            "convrec-collective",
            "convrec-config",
            "convrec-core",
            "convrec-demonstrations",
            "convrec-formats",
            "convrec-metrics",
            "convrec-policy",
            // Only with the feature `serve`.
            "convrec-serve",
            "convrec-train",
            "convrec-watch",
        ],
    ),
    ("convrec-collective", &[]),
    ("convrec-config", &[]),
    (
        "convrec-serve",
        &[
            "convrec-catalog",
            "convrec-core",
            "convrec-kernels",
            "convrec-policy",
            "convrec-text",
            "convrec-train",
        ],
    ),
    ("convrec-core", &[]),
    ("convrec-kernels", &[]),
    ("convrec-metrics", &[]),
    ("rank-grpo", &[]),
    ("convrec-watch", &["convrec-config", "convrec-core"]),
    ("convrec-catalog", &["convrec-core"]),
    ("convrec-text", &["convrec-core"]),
    ("convrec-retrieve", &["convrec-catalog", "convrec-core"]),
    ("convrec-formats", &["convrec-core", "convrec-text"]),
    ("convrec-policy", &["convrec-kernels"]),
    (
        "convrec-demonstrations",
        &[
            "convrec-catalog",
            "convrec-config",
            "convrec-core",
            // These two only where a feature of their name asks for them.
            "convrec-embed",
            "convrec-llm",
            "convrec-retrieve",
            "convrec-services",
            "convrec-text",
        ],
    ),
    (
        "convrec-embed",
        &["convrec-core", "convrec-kernels", "convrec-services"],
    ),
    ("convrec-services", &["convrec-core"]),
    (
        "convrec-llm",
        &["convrec-config", "convrec-core", "convrec-services"],
    ),
    ("convrec-world", &["convrec-core", "convrec-services"]),
    (
        "convrec-train",
        &[
            "convrec-catalog",
            "convrec-collective",
            "convrec-config",
            "convrec-core",
            "convrec-kernels",
            // Only with the feature `http`.
            "convrec-llm",
            "convrec-metrics",
            "convrec-policy",
            "convrec-retrieve",
            // A policy as teacher, judge and chat model: only here policies and conversations
            // meet.
            "convrec-services",
            "convrec-text",
            "convrec-watch",
            "rank-grpo",
        ],
    ),
];

/// What tests find their files with; no library may need it.
const DEV_ONLY: &str = "convrec-testdata";

/// The facade: it may know everything, and its features choose the backend.
const FACADE: &str = "convrec";

/// Crates that must not know tensors, directly or through others.
const WITHOUT_BURN: &[&str] = &[
    "convrec-collective",
    "convrec-config",
    "convrec-core",
    "convrec-metrics",
    "convrec-catalog",
    "convrec-text",
    "convrec-formats",
    "convrec-retrieve",
    "convrec-services",
    "convrec-demonstrations",
    "convrec-llm",
    "convrec-watch",
    "convrec-world",
];

/// Crates that must not know texts, directly or through others.
const WITHOUT_TEXT: &[&str] = &[
    "convrec-collective",
    "convrec-config",
    "convrec-core",
    "convrec-services",
    "convrec-llm",
    "convrec-world",
    "convrec-metrics",
    "convrec-catalog",
    "convrec-kernels",
    "convrec-policy",
    "rank-grpo",
];

/// What libraries may ask of burn; everything else, the backends above all, is chosen in
/// `examples/` and `tests/`.
const BURN_FEATURES: &[&str] = &[
    "std",
    "simd",
    "rayon",
    "autodiff",
    "optim",
    "store",
    "safetensors",
    "extension",
    "x86-v4",
];

#[derive(Deserialize)]
struct Metadata {
    packages: Vec<Package>,
}

#[derive(Deserialize)]
struct Package {
    name: String,
    manifest_path: PathBuf,
    dependencies: Vec<Dependency>,
    features: BTreeMap<String, Vec<String>>,
}

#[derive(Deserialize)]
struct Dependency {
    name: String,
    /// `null` for a normal dependency.
    kind: Option<String>,
    features: Vec<String>,
    optional: bool,
    uses_default_features: bool,
}

impl Package {
    fn normal(&self) -> impl Iterator<Item = &Dependency> {
        self.dependencies
            .iter()
            .filter(|dependency| dependency.kind.is_none())
    }
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("the package lies in the workspace")
}

/// The standard output of a cargo command.
fn run_cargo(arguments: &[&str]) -> Vec<u8> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo)
        .args(arguments)
        .current_dir(root())
        .output()
        .unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{errors}");
    output.stdout
}

/// The library crates: those in `crates/`, but for the one that is for tests alone.
fn libraries() -> BTreeMap<String, Package> {
    let arguments = [
        "metadata",
        "--format-version",
        "1",
        "--no-deps",
        "--offline",
    ];
    let metadata: Metadata = serde_json::from_slice(&run_cargo(&arguments)).unwrap();
    let crates = root().join("crates");
    let library = |package: &Package| {
        let name = package.name.as_str();
        package.manifest_path.starts_with(&crates) && name != DEV_ONLY && name != FACADE
    };
    metadata
        .packages
        .into_iter()
        .filter(library)
        .map(|package| (package.name.clone(), package))
        .collect()
}

/// Everything that a library without features declares, or a library that it knows.
fn reach(libraries: &BTreeMap<String, Package>, name: &str) -> BTreeSet<String> {
    let mut reached = BTreeSet::new();
    let mut open = vec![name.to_string()];
    while let Some(name) = open.pop() {
        let Some(package) = libraries.get(&name) else {
            continue;
        };
        open.extend(
            package
                .normal()
                .filter(|d| !d.optional)
                .map(|d| d.name.clone())
                .filter(|name| reached.insert(name.clone())),
        );
    }
    reached
}

#[test]
fn crates_know_only_whom_they_may() {
    let libraries = libraries();
    let listed: BTreeSet<&str> = ARROWS.iter().map(|(name, _)| *name).collect();
    let found: BTreeSet<&str> = libraries.keys().map(String::as_str).collect();
    assert_eq!(
        found, listed,
        "the crates of the workspace, and those listed here"
    );
    for (name, may_know) in ARROWS {
        for dependency in libraries[*name].normal() {
            let inside = libraries.contains_key(&dependency.name) || dependency.name == DEV_ONLY;
            let allowed = !inside || may_know.contains(&dependency.name.as_str());
            assert!(allowed, "{name} may not know {}", dependency.name);
        }
    }
}

#[test]
fn tensors_and_texts_stay_where_they_belong() {
    let libraries = libraries();
    for name in WITHOUT_BURN {
        let burn = reach(&libraries, name)
            .into_iter()
            .find(|name| name.starts_with("burn"));
        assert_eq!(burn, None, "{name} must not know burn");
    }
    for name in WITHOUT_TEXT {
        let reached = reach(&libraries, name);
        let texts = ["tokenizers", "minijinja", "convrec-text"]
            .into_iter()
            .find(|text| reached.contains(*text));
        assert_eq!(texts, None, "{name} must not know tokenizers and prompts");
    }
    assert!(
        reach(&libraries, "convrec-train").contains("burn")
            && reach(&libraries, "convrec-demonstrations").contains("tokenizers")
    );
}

#[test]
fn no_library_chooses_a_backend() {
    let libraries = libraries();
    for package in libraries.values() {
        for dependency in package
            .normal()
            .filter(|dependency| dependency.name.starts_with("burn"))
        {
            let surplus = dependency
                .features
                .iter()
                .find(|feature| !BURN_FEATURES.contains(&feature.as_str()));
            assert_eq!(
                surplus, None,
                "{} asks it of {}",
                package.name, dependency.name
            );
            assert!(
                !dependency.uses_default_features,
                "{} takes the defaults of {}",
                package.name, dependency.name
            );
        }
        for dependency in package
            .normal()
            .filter(|dependency| libraries.contains_key(&dependency.name))
        {
            assert!(
                dependency.features.is_empty(),
                "{} asks features of {}",
                package.name,
                dependency.name
            );
        }
        let backends = ["cpu", "cuda", "flex", "wgpu"];
        let by_default = package.features.get("default").into_iter().flatten();
        let chosen: Vec<&String> = by_default
            .filter(|f| backends.contains(&f.as_str()))
            .collect();
        assert!(
            chosen.is_empty(),
            "{} has {chosen:?} by default",
            package.name
        );
    }
}

#[test]
fn no_file_names_a_place_on_one_machine() {
    // Put together, so that this file does not name them.
    let places = [
        ("/ho", "me/"),
        ("/ro", "ot/"),
        ("/Us", "ers/"),
        ("C:", "\\"),
    ]
    .map(|(a, b)| format!("{a}{b}"));
    let mut files = Vec::new();
    collect(root(), &mut files);
    assert!(
        files
            .iter()
            .any(|file| file.ends_with("docs/architecture.md"))
            && files.len() > 100
    );
    for file in files {
        let bytes = std::fs::read(&file).unwrap();
        let Ok(text) = String::from_utf8(bytes) else {
            continue;
        };
        for place in &places {
            let found = text.lines().position(|line| line.contains(place));
            assert_eq!(
                found.map(|line| line + 1),
                None,
                "{} names {place} in this line",
                file.display()
            );
        }
    }
}

/// The files of the repository: all but hidden folders (not `.ci`) and what `.gitignore` names.
fn collect(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        let top = folder == root();
        let built = [".git", ".venv", "target"].contains(&name.as_str());
        let ignored = built
            || top && (["models", "runs"].contains(&name.as_str()) || name.starts_with("target"));
        if path.is_dir() && !ignored {
            collect(&path, files);
        } else if path.is_file() {
            files.push(path);
        }
    }
}

/// A crate cannot work with an older compiler than the crates that it depends on.
#[test]
fn no_dependency_wants_a_newer_compiler() {
    let metadata = run_cargo(&["metadata", "--format-version", "1", "--offline"]);
    let metadata: serde_json::Value = serde_json::from_slice(&metadata).unwrap();
    let packages: BTreeMap<&str, &serde_json::Value> = metadata["packages"]
        .as_array()
        .unwrap()
        .iter()
        .map(|package| (package["id"].as_str().unwrap(), package))
        .collect();
    let nodes: BTreeMap<&str, &serde_json::Value> = metadata["resolve"]["nodes"]
        .as_array()
        .unwrap()
        .iter()
        .map(|node| (node["id"].as_str().unwrap(), node))
        .collect();
    let names = libraries();
    for (id, package) in &packages {
        if !names.contains_key(package["name"].as_str().unwrap()) {
            continue;
        }
        let promised = release(package);
        let (mut open, mut seen) = (vec![*id], BTreeSet::new());
        while let Some(id) = open.pop() {
            if !seen.insert(id) {
                continue;
            }
            let (found, dependency) = (release(packages[id]), &packages[id]["name"]);
            let name = &package["name"];
            assert!(
                found <= promised,
                "{name} promises {promised:?}, {dependency} wants {found:?}"
            );
            let normal = |d: &&serde_json::Value| {
                d["dep_kinds"]
                    .as_array()
                    .unwrap()
                    .iter()
                    .any(|kind| kind["kind"].is_null())
            };
            // A feature may ask for more than the crate does.
            let declared = packages[id]["dependencies"].as_array().unwrap();
            let optional = |name: &serde_json::Value| {
                names.contains_key(packages[id]["name"].as_str().unwrap())
                    && declared
                        .iter()
                        .any(|d| d["name"] == *name && d["optional"] == true)
            };
            let next = nodes[id]["deps"].as_array().unwrap().iter().filter(normal);
            let next = next.map(|d| d["pkg"].as_str().unwrap());
            open.extend(next.filter(|id| !optional(&packages[id]["name"])));
        }
    }
}

/// The oldest compiler that a package names, as major and minor version.
fn release(package: &serde_json::Value) -> (u32, u32) {
    let version = package["rust_version"].as_str().unwrap_or("1.0");
    let mut numbers = version.split('.').map(|number| number.parse().unwrap());
    (numbers.next().unwrap(), numbers.next().unwrap_or(0))
}
