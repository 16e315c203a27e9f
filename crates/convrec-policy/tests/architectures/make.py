"""Makes the model folders here and transformers' numbers for them.

    pip install torch==2.15.0 transformers==5.24.0 safetensors && python make.py

Each folder is a tiny random model in bf16. `expected.json` holds what transformers computes in f32 from these weights:
log-probabilities of every token but the first, a greedy continuation, the loss of a training step and the norm of its gradient.
"""

import json
import pathlib

import torch
from transformers import AutoConfig, AutoModelForCausalLM

HERE = pathlib.Path(__file__).parent
VOCABULARY, LAYERS = 64, 4
SHARED = dict(
    vocab_size=VOCABULARY, hidden_size=16, intermediate_size=24, num_hidden_layers=LAYERS, num_attention_heads=4,
    num_key_value_heads=2, max_position_embeddings=128, bos_token_id=1, eos_token_id=2, pad_token_id=0,
)
WINDOW = 6

MODELS = {
    "llama_biases": dict(model_type="llama", attention_bias=True, mlp_bias=True),
    "mistral": dict(model_type="mistral", head_dim=6, sliding_window=None),
    "mistral_sliding": dict(model_type="mistral", sliding_window=WINDOW),
    "qwen2_unused_window": dict(
        model_type="qwen2", use_sliding_window=True, sliding_window=WINDOW, max_window_layers=LAYERS),
    "qwen2_sliding": dict(model_type="qwen2", use_sliding_window=True, sliding_window=WINDOW, max_window_layers=2),
    "qwen3_biases": dict(model_type="qwen3", attention_bias=True, head_dim=6),
    "smollm3": dict(model_type="smollm3", no_rope_layer_interval=2),
    "olmo2": dict(model_type="olmo2"),
    "gemma": dict(model_type="gemma", head_dim=6),
    "gemma3": dict(
        model_type="gemma3_text", head_dim=6, sliding_window=WINDOW, query_pre_attn_scalar=9,
        layer_types=["sliding_attention", "full_attention"] * 2),
    "phi3": dict(
        model_type="phi3", sliding_window=WINDOW,
        rope_parameters=dict(rope_type="default", rope_theta=10000.0, partial_rotary_factor=0.5)),
}


def log_probs(model, ids):
    with torch.no_grad():
        logits = model(torch.tensor([ids])).logits[0].double()
    chosen = torch.log_softmax(logits, -1)[:-1].gather(1, torch.tensor(ids[1:])[:, None])
    return chosen[:, 0].tolist()


def main():
    for n, (name, fields) in enumerate(MODELS.items()):
        torch.manual_seed(n)
        config = AutoConfig.for_model(**{**SHARED, **fields})
        config._attn_implementation = "eager"
        model = AutoModelForCausalLM.from_config(config, dtype=torch.float32).eval()
        with torch.no_grad():
            for key, weight in model.named_parameters():
                # Norms around their start, everything else far from it, so that no part is without effect.
                weight += torch.randn_like(weight) * 0.3
                weight.copy_(weight.bfloat16().float())
        folder = HERE / name
        model.bfloat16().save_pretrained(folder)
        (folder / "generation_config.json").unlink(missing_ok=True)
        model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager").eval()
        generator = torch.Generator().manual_seed(100 + n)
        rows = [torch.randint(3, VOCABULARY, (length,), generator=generator).tolist() for length in (24, 9, 1)]
        greedy = rows[1][:]
        for _ in range(12):
            with torch.no_grad():
                greedy.append(int(model(torch.tensor([greedy])).logits[0, -1].argmax()))
        loss = model(torch.tensor([rows[0]]), labels=torch.tensor([rows[0]])).loss
        loss.backward()
        square = sum(float((w.grad.double() ** 2).sum()) for w in model.parameters() if w.grad is not None)
        expected = dict(
            rows=rows[:2], log_probs=[log_probs(model, row) for row in rows[:2]],
            prompt=rows[1], greedy=greedy[len(rows[1]):], loss=float(loss.detach()), gradient_norm=square ** 0.5)
        (folder / "expected.json").write_text(json.dumps(expected) + "\n")
        print(name, expected["log_probs"][1][:3], expected["greedy"], expected["gradient_norm"])


main()
