//! Model folders as public reports have them (`public_reports/21` to `34`, `49` to `51`). Most come
//! without weights, which are too large to keep. The tests make weights that fit the config.

mod common;
#[path = "common/file.rs"]
mod file;

use std::fs;
use std::path::{Path, PathBuf};

use common::{device, recompute};
use convrec_policy::{ModelConfig, Policy, SaveOptions, Sequence};
use convrec_testdata::case_path;
use file::File;
use safetensors::Dtype;

/// The outcome of reading a folder.
enum Outcome {
    /// It is read, and the policy computes.
    Read,
    /// The error has all of these parts.
    Refused(&'static [&'static str]),
}

use Outcome::{Read, Refused};

/// A function that makes the weights of a folder.
type Weights = fn(File) -> Vec<u8>;

fn plain(file: File) -> Vec<u8> {
    file.bytes()
}

fn without_head(mut file: File) -> Vec<u8> {
    file.0.retain(|tensor| tensor.name != "lm_head.weight");
    file.bytes()
}

fn packed(mut file: File) -> Vec<u8> {
    let name = "model.layers.0.self_attn.q_proj.qweight";
    file.add(name, Dtype::I32, &[4, 32], vec![0; 512]);
    file.bytes()
}

fn base_names(file: File) -> Vec<u8> {
    file.rename(|name| name.strip_prefix("model.").unwrap_or(name).into())
        .bytes()
}

fn compiled(file: File) -> Vec<u8> {
    file.rename(|name| format!("_orig_mod.{name}")).bytes()
}

fn with_inverse_frequencies(mut file: File) -> Vec<u8> {
    let name = "model.layers.1.self_attn.rotary_emb.inv_freq";
    file.add(name, Dtype::F32, &[4], vec![0; 16]);
    file.bytes()
}

fn with_value_head(mut file: File) -> Vec<u8> {
    file.add("v_head.summary.weight", Dtype::F32, &[1, 32], vec![0; 128]);
    file.bytes()
}

fn wide(file: File) -> Vec<u8> {
    file.widened().bytes()
}

/// The header says that it is longer than any file.
fn huge_header(file: File) -> Vec<u8> {
    let mut bytes = file.bytes();
    bytes[..8].copy_from_slice(&(u64::MAX / 2).to_le_bytes());
    bytes
}

fn cut(file: File) -> Vec<u8> {
    let mut bytes = file.bytes();
    bytes.truncate(bytes.len() - 1000);
    bytes
}

fn trailing(file: File) -> Vec<u8> {
    let mut bytes = file.bytes();
    bytes.extend([0; 100]);
    bytes
}

fn eight_bits(mut file: File) -> Vec<u8> {
    let norm = file.get("model.norm.weight");
    (norm.dtype, norm.data) = (Dtype::F8_E4M3, vec![0; 32]);
    file.bytes()
}

/// A header of this text, and nothing behind it.
fn header(text: &str) -> Vec<u8> {
    [&(text.len() as u64).to_le_bytes()[..], text.as_bytes()].concat()
}

/// The file with a header that `change` makes of its own.
fn with_header(
    file: File,
    change: impl Fn(&mut serde_json::Map<String, serde_json::Value>),
) -> Vec<u8> {
    let bytes = file.bytes();
    let length = u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
    let mut fields = serde_json::from_slice(&bytes[8..8 + length]).unwrap();
    change(&mut fields);
    let text = serde_json::to_string(&fields).unwrap();
    [header(&text), bytes[8 + length..].to_vec()].concat()
}

/// The header says that it has ten billion bytes.
fn big_header(file: File) -> Vec<u8> {
    let mut bytes = file.bytes();
    bytes[..8].copy_from_slice(&10_000_000_000_u64.to_le_bytes());
    bytes
}

/// All tensors begin at the first byte.
fn overlapping(file: File) -> Vec<u8> {
    with_header(file, |fields| {
        for tensor in fields.values_mut().filter(|value| value.is_object()) {
            let Some(offsets) = tensor.get_mut("data_offsets") else {
                continue;
            };
            let [start, end] = [0, 1].map(|at| offsets[at].as_u64().unwrap());
            *offsets = serde_json::json!([0, end - start]);
        }
    })
}

/// A name comes twice, the second time with another shape.
fn twice(file: File) -> Vec<u8> {
    let bytes = file.bytes();
    let length = u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
    let text = std::str::from_utf8(&bytes[8..8 + length])
        .unwrap()
        .trim_end();
    let again = r#","model.norm.weight":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}"#;
    let text = format!("{}{again}", text.strip_suffix('}').unwrap());
    [header(&text), bytes[8 + length..].to_vec()].concat()
}

/// A type that no version of the format has.
fn unknown_type(file: File) -> Vec<u8> {
    with_header(file, |fields| {
        fields["model.norm.weight"]["dtype"] = "F99".into()
    })
}

/// Metadata that is no text.
fn number_as_metadata(file: File) -> Vec<u8> {
    with_header(file, |fields| {
        fields.insert("__metadata__".into(), serde_json::json!({"format": 1}));
    })
}

/// A tensor without numbers in place of one with some.
fn without_numbers(file: File) -> Vec<u8> {
    with_header(file, |fields| {
        let norm = &mut fields["model.norm.weight"];
        norm["shape"] = serde_json::json!([0]);
        let start = norm["data_offsets"][0].clone();
        norm["data_offsets"][1] = start;
    })
}

fn no_json(_: File) -> Vec<u8> {
    header("not json")
}

fn array(_: File) -> Vec<u8> {
    header("[]")
}

fn overflowing(_: File) -> Vec<u8> {
    let shape = r#""shape":[4294967296,4294967296]"#;
    header(&format!(
        r#"{{"a":{{"dtype":"F32",{shape},"data_offsets":[0,0]}}}}"#
    ))
}

const CASES: &[(&str, Weights, Outcome)] = &[
    (
        "21/m",
        without_head,
        Refused(&["1 missing", "lm_head.weight"]),
    ),
    (
        "22/m",
        without_head,
        Refused(&["1 missing", "lm_head.weight"]),
    ),
    ("23/m", plain, Read),
    ("24/m", plain, Read),
    ("25/m", plain, Read),
    (
        "26/yarn",
        plain,
        Refused(&["config.json", "rope_scaling", "expected default or llama3"]),
    ),
    (
        "26/linear",
        plain,
        Refused(&["config.json", "rope_scaling", "expected default or llama3"]),
    ),
    (
        "26/dynamic",
        plain,
        Refused(&["config.json", "rope_scaling", "expected default or llama3"]),
    ),
    (
        "26/mrope",
        plain,
        Refused(&["config.json", "rope_scaling", "expected default or llama3"]),
    ),
    (
        "26/su",
        plain,
        Refused(&["config.json", "rope_scaling", "expected default or llama3"]),
    ),
    ("28/m", plain, Read),
    ("29/m", plain, Read),
    ("30/m", plain, Read),
    ("30/q", plain, Read),
    ("31/m", plain, Read),
    (
        "31/gptq",
        packed,
        Refused(&["gptq", "qweight", "quantised weights are not read"]),
    ),
    ("32/base", base_names, Read),
    ("32/orig", compiled, Read),
    ("32/inv", with_inverse_frequencies, Read),
    ("32/vhead", with_value_head, Read),
    ("33/f16", plain, Read),
    ("33/f64", wide, Read),
    ("34/m", plain, Read),
    ("34/biglen", big_header, Refused(&["model.safetensors"])),
    ("34/overlap", overlapping, Refused(&["model.safetensors"])),
    (
        "34/dupkey",
        twice,
        Refused(&["model.safetensors", "invalid offset"]),
    ),
    (
        "34/f99",
        unknown_type,
        Refused(&["model.safetensors", "F99"]),
    ),
    (
        "34/meta_int",
        number_as_metadata,
        Refused(&["model.safetensors"]),
    ),
    (
        "34/zerotensor",
        without_numbers,
        Refused(&["model.safetensors"]),
    ),
    (
        "34/empty",
        plain,
        Refused(&["model.safetensors", "fetch it again"]),
    ),
    (
        "34/lfs",
        plain,
        Refused(&["model.safetensors", "fetch it again"]),
    ),
    (
        "34/hugelen",
        huge_header,
        Refused(&["model.safetensors", "fetch it again"]),
    ),
    (
        "34/cut",
        cut,
        Refused(&["model.safetensors", "truncated or damaged"]),
    ),
    (
        "34/trailing",
        trailing,
        Refused(&["model.safetensors", "truncated or damaged"]),
    ),
    (
        "34/f8",
        eight_bits,
        Refused(&["F8_E4M3", "model.norm.weight"]),
    ),
    (
        "34/notjson",
        no_json,
        Refused(&["model.safetensors", "not a safetensors header"]),
    ),
    (
        "34/array",
        array,
        Refused(&["model.safetensors", "not a safetensors header"]),
    ),
    (
        "34/shapeoverflow",
        overflowing,
        Refused(&["model.safetensors"]),
    ),
    ("49/m", plain, Read),
    ("50/fewer", plain, Read),
    ("50/more", plain, Read),
    ("51/m", plain, Read),
];

/// A copy of a case with weights, its own where it has some.
fn folder(case: &Path, weights: Weights) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    fs::copy(case.join("config.json"), folder.path().join("config.json")).unwrap();
    let own = case.join("model.safetensors");
    let made = folder.path().join("model.safetensors");
    if own.exists() {
        fs::copy(own, made).unwrap();
    } else {
        // Any model will do for a config that cannot be read.
        let config =
            ModelConfig::load_folder(case).unwrap_or_else(|_| ModelConfig::small(400, 32, 2, 4));
        let policy = Policy::new(&config, 1, &device()).unwrap();
        fs::write(made, weights(File::of(&policy))).unwrap();
    }
    folder
}

#[test]
fn every_case_has_its_outcome() {
    let Some(all) = case_path("public_reports") else {
        return;
    };
    for (name, weights, outcome) in CASES {
        let case: PathBuf = all.join(name);
        let found = Policy::load_folder(folder(&case, *weights).path(), &device());
        match (outcome, found) {
            (Read, Ok(policy)) => {
                let sequence = [Sequence {
                    prompt: &[5],
                    completion: &[6, 7, 8],
                }];
                let (log_probs, _) = recompute(&policy, &sequence, 1.0).remove(0);
                assert!(
                    log_probs.iter().all(|x| x.is_finite() && *x < 0.0),
                    "{name}"
                );
                // A saved folder is read again.
                let copy = tempfile::tempdir().unwrap();
                policy
                    .save_folder(copy.path(), &SaveOptions::as_loaded(&policy))
                    .unwrap();
                let again = Policy::load_folder(copy.path(), &device()).unwrap();
                assert_eq!(again.config(), policy.config(), "{name}");
                assert_eq!(again.weight_type(), policy.weight_type(), "{name}");
            }
            (Refused(parts), Err(error)) => {
                let error = error.to_string();
                assert!(
                    parts.iter().all(|part| error.contains(part)),
                    "{name}: {error}"
                );
            }
            (Read, Err(error)) => panic!("{name} is refused: {error}"),
            (Refused(_), Ok(_)) => panic!("{name} is read"),
        }
    }
}
