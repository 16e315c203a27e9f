"""Makes the adapter folders here and PEFT's numbers for them.

    pip install torch==2.15.0 transformers==5.24.0 peft==0.21.2 && python make.py

`base` is a tiny random Llama, `tied` the same with tied embeddings. Every other folder is an adapter with `expected.json`:
the base, token ids, and what PEFT computes in f32 as log-probabilities of every token but the first.
"""

import json
import pathlib
import shutil

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from transformers import AutoConfig, AutoModelForCausalLM

HERE = pathlib.Path(__file__).parent
VOCABULARY, LAYERS = 64, 3
QV = ["q_proj", "v_proj"]
ADAPTERS = {
    "plain": ("base", dict(target_modules=QV)),
    "all_linear": ("base", dict(target_modules="all-linear", use_rslora=True)),
    "regex": ("base", dict(target_modules=r".*\.[02]\.(self_attn\.(q|o)_proj|mlp\.down_proj)")),
    "layers": ("base", dict(target_modules=QV + ["up_proj"], layers_to_transform=[0, 2], layers_pattern="layers")),
    "one_layer": ("base", dict(target_modules=QV, layers_to_transform=1)),
    "patterns": ("base", dict(
        target_modules=QV + ["down_proj"], rank_pattern={"v_proj": 2, r"layers\.1\.mlp\.down_proj": 5},
        alpha_pattern={"model.layers.0.self_attn.q_proj": 3})),
    "patterns_rslora": ("base", dict(target_modules=QV, use_rslora=True, rank_pattern={"v_proj": 2})),
    "exclude": ("base", dict(target_modules="all-linear", exclude_modules=["gate_proj", "model.layers.0.self_attn.q_proj"])),
    "save_both": ("base", dict(target_modules=QV, modules_to_save=["embed_tokens", "lm_head"])),
    "save_head": ("base", dict(target_modules=QV, modules_to_save=["lm_head"])),
    "tied_save_embedding": ("tied", dict(target_modules=QV, modules_to_save=["embed_tokens"])),
    "tied_save_both": ("tied", dict(target_modules=QV, modules_to_save=["embed_tokens", "lm_head"])),
    "gaussian": ("base", dict(target_modules=QV, init_lora_weights="gaussian")),
    "pissa": ("base", dict(target_modules=QV, init_lora_weights="pissa")),
    "pissa_converted": ("base", dict(target_modules=QV, init_lora_weights="pissa")),
    "olora": ("base", dict(target_modules=QV, init_lora_weights="olora")),
    "head_adapter": ("base", dict(target_modules=QV + ["lm_head"])),
    "dora": ("base", dict(target_modules=QV, use_dora=True)),
}


def log_probs(model, ids):
    with torch.no_grad():
        logits = model(torch.tensor([ids])).logits[0].double()
    return torch.log_softmax(logits, -1)[:-1].gather(1, torch.tensor(ids[1:])[:, None])[:, 0].tolist()


def shake(model, names):
    with torch.no_grad():
        for key, weight in model.named_parameters():
            if any(name in key for name in names):
                weight += torch.randn_like(weight) * 0.3


def load(name):
    return AutoModelForCausalLM.from_pretrained(HERE / name, dtype=torch.float32).eval()


for name in ("base", "tied"):
    torch.manual_seed(1)
    config = AutoConfig.for_model(
        "llama", vocab_size=VOCABULARY, hidden_size=16, intermediate_size=24, num_hidden_layers=LAYERS,
        num_attention_heads=4, num_key_value_heads=2, max_position_embeddings=128, bos_token_id=1, eos_token_id=2,
        tie_word_embeddings=name == "tied")
    model = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    shake(model, [""])
    model.bfloat16().save_pretrained(HERE / name)
    (HERE / name / "generation_config.json").unlink(missing_ok=True)

for n, (name, (base, fields)) in enumerate(ADAPTERS.items()):
    torch.manual_seed(n)
    shutil.rmtree(HERE / name, ignore_errors=True)
    model = get_peft_model(load(base), LoraConfig(r=4, lora_alpha=6, task_type="CAUSAL_LM", **fields)).eval()
    if name == "pissa_converted":
        model.peft_config["default"].init_lora_weights = True
        model.save_pretrained(HERE / "initial")
        model.peft_config["default"].init_lora_weights = "pissa"
    shake(model, ["lora_", "modules_to_save"])
    convert = dict(path_initial_model_for_weight_conversion=str(HERE / "initial")) if name == "pissa_converted" else {}
    model.save_pretrained(HERE / name, **convert)
    (HERE / name / "README.md").unlink(missing_ok=True)
    ids = torch.randint(3, VOCABULARY, (20,)).tolist()
    again = PeftModel.from_pretrained(load(base), HERE / name).eval()
    found = log_probs(again, ids)
    assert max(abs(x - y) for x, y in zip(found, log_probs(model, ids))) < 1e-3, name
    config = json.loads((HERE / name / "adapter_config.json").read_text())
    config["base_model_name_or_path"] = base
    (HERE / name / "adapter_config.json").write_text(json.dumps(config, indent=1, sort_keys=True) + "\n")
    (HERE / name / "expected.json").write_text(json.dumps(dict(base=base, ids=ids, log_probs=found)) + "\n")
    print(name, found[:3])
shutil.rmtree(HERE / "initial", ignore_errors=True)
