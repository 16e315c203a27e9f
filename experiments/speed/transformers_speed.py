"""The PyTorch + transformers side of the speed comparison: one work, one JSON line per measured repetition.

    python transformers_speed.py --model models/smollm2-135m-instruct --work decode_8 --repeats 3

Written for torch 2.15.0, transformers 5.23.0, safetensors 0.8.0, Python 3.11; a Llama-like model, float32, CPU.

PyTorch gets the fastest way found for each thing: sdpa attention without masks (all rows are equally long), no logits
that nobody reads, fused AdamW, and three things that stock transformers does more slowly (see `Reserved`, `sample` and
`roll_out`; `--cache` and `--sampler` bring the stock ways back).
"""

import argparse
import json
import resource
import time

import torch
import torch.nn.functional as F
import transformers
from transformers import AutoModel, AutoModelForCausalLM, AutoTokenizer, DynamicCache, GenerationConfig, StaticCache
from transformers.cache_utils import DynamicLayer

NEW = 221  # tokens of a completion: 20 ranks of 11 tokens, and the end, which is of the last rank
RANKS = 20
GROUP = 8  # completions of a prompt


def ids(rows, length):
    """Synthetic token ids, the same in every language."""
    return ((torch.arange(rows * length) * 7919 + 13) % 40000 + 20).view(rows, length)


class Reserved(DynamicLayer):
    """A DynamicCache layer that writes into reserved room: torch.cat would copy the whole cache at every token.

    The numbers are those of a DynamicCache. (StaticCache does not copy either, but needs a mask and reads all its room.)
    """

    room = 256  # more than any work here adds to its prompt
    buffers = None

    def update(self, keys, values, *_args, **_kwargs):
        if not self.is_initialized:
            self.lazy_initialization(keys, values)
        old = self.get_seq_length()
        new = old + keys.shape[-2]
        if self.buffers is None:
            self.buffers = []
            for before, added in ((self.keys, keys), (self.values, values)):
                buffer = added.new_empty(*added.shape[:2], new + self.room, added.shape[-1])
                if old:
                    buffer[:, :, :old] = before
                self.buffers.append(buffer)
        for buffer, added in zip(self.buffers, (keys, values)):
            buffer[:, :, old:new] = added
        self.keys, self.values = (buffer[:, :, :new] for buffer in self.buffers)
        return self.keys, self.values

    def batch_repeat_interleave(self, repeats):
        super().batch_repeat_interleave(repeats)
        self.buffers = None  # the repeated keys and values have no room left


def new_cache(model, kind, length):
    if kind == "static":
        return StaticCache(config=model.config, max_cache_len=length)
    cache = DynamicCache(config=model.config)
    if kind == "reserved":
        cache.layers = [Reserved() for _ in range(model.config.num_hidden_layers)]
    return cache


def sample(logits):
    """Samples at temperature 1 by the inverse of the distribution function: one random number a row.

    torch.multinomial draws one for every token of the vocabulary, which at 64 rows is a fifth of a step.
    """
    cumulated = logits.softmax(-1).cumsum(-1)
    return torch.searchsorted(cumulated, torch.rand(len(logits), 1) * cumulated[:, -1:])


@torch.inference_mode()
def roll_out(model, prompts, group, args):
    """Samples `group` completions of NEW tokens for each prompt: prompts and completions, [rows, tokens]."""
    if args.sampler == "generate":
        model.generation_config = GenerationConfig()  # the model's own has an end token
        config = GenerationConfig(
            do_sample=True, top_k=0, min_new_tokens=NEW, max_new_tokens=NEW, num_return_sequences=group, pad_token_id=2
        )
        return model.generate(prompts, attention_mask=torch.ones_like(prompts), generation_config=config)
    tokens = [prompts.repeat_interleave(group, 0)]
    if args.cache == "static":  # its rows cannot be repeated
        prompts, group = tokens[0], 1
    cache = new_cache(model, args.cache, prompts.shape[1] + NEW)
    logits = model(prompts, past_key_values=cache, logits_to_keep=1).logits[:, -1]
    if group > 1:  # each prompt is read once, not `group` times
        cache.batch_repeat_interleave(group)
        logits = logits.repeat_interleave(group, 0)
    tokens.append(sample(logits))
    for _ in range(NEW - 1):
        tokens.append(sample(model(tokens[-1], past_key_values=cache).logits[:, -1]))
    return torch.cat(tokens, 1)


class Clock:
    """Seconds since the last call, by name."""

    def __init__(self):
        self.parts, self.last = {}, time.perf_counter()

    def lap(self, part):
        now = time.perf_counter()
        self.parts[part] = self.parts.get(part, 0.0) + now - self.last
        self.last = now


# Works: each is made once, and returns a function that runs one repetition and gives what its JSON line says of it.
# `check` is a number that the other side can compare where nothing is random.


def prefill(model, args, rows, length):
    tokens = ids(rows, length)

    @torch.inference_mode()
    def run():
        start = time.perf_counter()
        best = model(tokens, use_cache=False, logits_to_keep=1).logits[:, -1].argmax(-1)
        return {"seconds": time.perf_counter() - start, "tokens": rows * length, "check": best.sum().item()}

    return run


def decode(model, args, rows, prompt=32, new=128):
    tokens = ids(rows, prompt)

    @torch.inference_mode()
    def run():
        cache = new_cache(model, args.cache, prompt + new)
        token = model(tokens, past_key_values=cache, logits_to_keep=1).logits[:, -1].argmax(-1, keepdim=True)
        check, start = token.sum().item(), time.perf_counter()
        for _ in range(new - 1):
            token = model(token, past_key_values=cache).logits[:, -1].argmax(-1, keepdim=True)
            check += token.sum().item()  # the caller reads every token
        return {"seconds": time.perf_counter() - start, "tokens": rows * (new - 1), "check": check}

    return run


def optimizer_of(model):
    return torch.optim.AdamW(model.parameters(), lr=1e-5, weight_decay=0.0, fused=True)


def train(model, args, rows, length):
    model.train()
    optimizer = optimizer_of(model)
    tokens = ids(rows, length + 1)
    inputs, labels = tokens[:, :-1], tokens[:, 1:].flatten()

    def run():
        clock = Clock()
        loss = F.cross_entropy(model(inputs, use_cache=False).logits.flatten(0, 1), labels)
        check = loss.item()
        clock.lap("forward")
        loss.backward()
        del loss
        clock.lap("backward")
        optimizer.step()
        optimizer.zero_grad()
        clock.lap("optimizer")
        return {"tokens": rows * length, "parts": clock.parts, "check": check}

    return run


def lists(model, args, rows):
    prompt = ids(1, 150)

    def run():
        start = time.perf_counter()
        tokens = roll_out(model, prompt, rows, args)
        seconds = time.perf_counter() - start
        assert tokens.shape == (rows, 150 + NEW)
        return {"seconds": seconds, "tokens": rows * NEW}

    return run


def log_probs(model, tokens):
    """Of the completions' tokens, [rows, NEW]; no logits of the prompts."""
    logits = model(tokens[:, :-1], use_cache=False, logits_to_keep=NEW).logits
    # Faster, forward and backward together, than TRL's gather less logsumexp.
    losses = F.cross_entropy(logits.flatten(0, 1), tokens[:, -NEW:].flatten(), reduction="none")
    return -losses.view(len(tokens), NEW)


def grpo(model, args, prompt, micro_batch):
    """A whole Rank-GRPO step as a TRL-like trainer does it; one update per batch, so old log-probs are the current."""
    reference = load(args.model).requires_grad_(False)
    optimizer = optimizer_of(model)
    ranks = (torch.arange(NEW) // 11).clamp(max=RANKS - 1)
    means = F.one_hot(ranks, RANKS).float()
    means /= means.sum(0)  # [NEW, RANKS]: a row of tokens times this is the mean of each rank
    all_prompts = ids(max(1, round(8 * args.scale)), prompt)

    def run(prompts=all_prompts):
        clock, rows = Clock(), len(prompts) * GROUP
        # All 64 rows at once: each token then reads the weights once. The copy is outside inference mode, for autograd.
        tokens = roll_out(model.eval(), prompts, GROUP, args).clone()
        clock.lap("rollout")

        with torch.inference_mode():
            theirs = torch.cat([log_probs(reference, part) for part in tokens.split(8)])
        theirs = theirs.clone()
        clock.lap("reference")

        rewards = torch.rand(len(prompts), GROUP, RANKS)
        advantages = (rewards - rewards.mean(1, keepdim=True)) / (rewards.std(1, keepdim=True) + 1e-4)
        advantages = advantages.view(rows, RANKS)
        model.train()
        parts = [table.split(args.micro_batch or micro_batch) for table in (tokens, theirs, advantages)]
        for part, reference_log_probs, advantage in zip(*parts):
            ours = log_probs(model, part)
            ratio = ((ours - ours.detach()) @ means).exp()  # [rows, RANKS]
            surrogate = torch.min(ratio * advantage, ratio.clamp(1 - 0.06, 1 + 0.08) * advantage)
            difference = reference_log_probs - ours
            kl = (difference.exp() - difference - 1) @ means
            loss = (1e-3 * kl - surrogate).mean() * (len(part) / rows)
            loss.backward()
            del ours, ratio, surrogate, difference, kl, loss  # or the next forward has two graphs
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        clock.lap("update")
        return {"tokens": rows * NEW, "parts": clock.parts}

    run.warm_up = lambda: run(all_prompts[:1])  # a whole step takes minutes
    return run


def embed(model, args):
    """Unit embeddings of a catalog's texts (mean pooling, at most 256 tokens), as sentence-transformers makes them: by
    length, 32 at a time."""
    tokenizer = AutoTokenizer.from_pretrained(args.model)
    with open(args.catalog, encoding="utf-8") as file:
        items = [json.loads(line) for line in file]
    names = [item["title"] + ("" if item["year"] is None else f" ({item['year']})") for item in items]
    parts = [[name, ", ".join(item.get("genres", [])), item.get("metadata", "")] for name, item in zip(names, items)]
    texts = [", ".join(part[:1] + [p for p in part[1:] if p]) for part in parts]

    @torch.inference_mode()
    def run():
        start = time.perf_counter()
        order = sorted(range(len(texts)), key=lambda n: -len(texts[n]))
        found = torch.empty(len(texts), model.config.hidden_size)
        for first in range(0, len(order), 32):
            batch = order[first : first + 32]
            tokens = tokenizer([texts[n] for n in batch], padding=True, truncation=True, max_length=256, return_tensors="pt")
            hidden, mask = model(**tokens).last_hidden_state, tokens["attention_mask"].unsqueeze(-1)
            found[batch] = F.normalize((hidden * mask).sum(1) / mask.sum(1))
        return {"seconds": time.perf_counter() - start, "tokens": len(texts), "check": found[:, 0].sum().item()}

    return run


def memory(_model, _args):
    """A gibibyte of f32, added up."""
    numbers = torch.ones(1 << 28)

    def run():
        start = time.perf_counter()
        total = numbers.sum().item()
        return {"seconds": time.perf_counter() - start, "tokens": 4 << 28, "check": total}

    return run


def product(dtype):
    """A product of two square matrices; operations are counted."""
    size = 2048
    x, weight = (torch.randn(size, size).to(dtype) for _ in range(2))

    def run():
        start = time.perf_counter()
        F.linear(x, weight)
        return {"seconds": time.perf_counter() - start, "tokens": 2 * size**3}

    return run


WORKS = {
    "limit_memory": memory,
    "limit_product_f32": lambda _m, _a: product(torch.float32),
    "limit_product_bf16": lambda _m, _a: product(torch.bfloat16),
    "prefill_1x512": lambda m, a: prefill(m, a, 1, 512),
    "decode_1": lambda m, a: decode(m, a, 1),
    "decode_8": lambda m, a: decode(m, a, 8),
    "decode_32": lambda m, a: decode(m, a, 32),
    "train_2x256": lambda m, a: train(m, a, 2, 256),
    "train_8x512": lambda m, a: train(m, a, 8, 512),
    "list_1": lambda m, a: lists(m, a, 1),
    "list_8": lambda m, a: lists(m, a, 8),
    "grpo_150": lambda m, a: grpo(m, a, 150, micro_batch=8),
    "grpo_1000": lambda m, a: grpo(m, a, 1000, micro_batch=4),
    "embed": embed,
}


def load(path, kind=AutoModelForCausalLM):
    return kind.from_pretrained(path, dtype=torch.float32, attn_implementation="sdpa").eval()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True, help="a folder with config.json and model.safetensors")
    parser.add_argument("--work", required=True, choices=WORKS)
    parser.add_argument("--repeats", type=int, default=1)
    parser.add_argument("--warmup", type=int, default=1, help="repetitions that are not measured")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--cache", choices=("reserved", "dynamic", "static"), default="reserved")
    parser.add_argument("--sampler", choices=("loop", "generate"), default="loop")
    parser.add_argument("--scale", type=float, default=1.0, help="grpo_*: share of the 8 prompts")
    parser.add_argument("--micro-batch", type=int, help="grpo_*: rows of an update's forward (8 at 150, 4 at 1,000)")
    parser.add_argument("--catalog", help="embed: the texts; not read otherwise, as lists are not constrained")
    args = parser.parse_args()

    transformers.logging.disable_progress_bar()
    torch.set_num_threads(args.threads)
    torch.manual_seed(0)
    model = None
    if not args.work.startswith("limit_"):
        model = load(args.model, AutoModel) if args.work == "embed" else load(args.model)
    run = WORKS[args.work](model, args)
    for _ in range(args.warmup):
        getattr(run, "warm_up", run)()
    for _ in range(args.repeats):
        result = run()
        seconds = result.pop("seconds", None) or sum(result["parts"].values())
        line = {"work": args.work, "seconds": seconds, "tokens_per_s": result["tokens"] / seconds}
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024  # of the whole process; Linux counts KiB
        print(json.dumps(line | result | {"peak_rss_mb": round(peak)}), flush=True)


if __name__ == "__main__":
    main()
