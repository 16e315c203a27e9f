"""The TRL trainer on a tiny random model: the rewarded item of each rank becomes more probable."""

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("trl")

from datasets import Dataset  # noqa: E402
from tokenizers import Tokenizer, models, pre_tokenizers  # noqa: E402
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast  # noqa: E402
from trl import GRPOConfig  # noqa: E402

from rank_grpo.trl import UNREAD, RankGRPOTrainer, check_settings  # noqa: E402

WORDS = ["<pad>", "<eos>", "list", "\n", "a", "b"]


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("loss_type", "sapo"),
        ("importance_sampling_level", "sequence"),
        ("entropy_coef", 0.01),
        ("use_adaptive_entropy", True),
        ("reward_weights", [2.0]),
        ("multi_objective_aggregation", "normalize_then_sum"),
        ("off_policy_mask_threshold", 0.5),
        ("use_bias_correction_kl", False),
        ("sapo_temperature_pos", 1.5),
        ("vespo_k_neg", 1.0),
    ],
)
def test_settings_that_change_nothing_are_refused_by_name(tmp_path, setting, value):
    config = GRPOConfig(output_dir=str(tmp_path), use_cpu=True, bf16=False)
    check_settings(config)
    setattr(config, setting, value)
    with pytest.raises(ValueError, match=f"does not read `{setting}` = "):
        check_settings(config)


def test_a_loss_takes_the_place_of_settings(tmp_path):
    config = GRPOConfig(output_dir=str(tmp_path), use_cpu=True, bf16=False, epsilon=0.3)
    check_settings(config)
    with pytest.raises(ValueError, match="`epsilon` = 0.3"):
        check_settings(config, has_loss=True)


def test_the_settings_are_those_of_trl(tmp_path):
    config = GRPOConfig(output_dir=str(tmp_path), use_cpu=True, bf16=False)
    # The last belongs to an older TRL.
    assert [name for name in UNREAD[:-1] if not hasattr(config, name)] == []


def tokenizer():
    words = Tokenizer(
        models.WordLevel({word: n for n, word in enumerate(WORDS)}, unk_token="<pad>")
    )
    words.pre_tokenizer = pre_tokenizers.Split(" ", "removed")
    return PreTrainedTokenizerFast(tokenizer_object=words, pad_token="<pad>", eos_token="<eos>")


def rank_rewards(items, wanted, **_):
    """1 for "a" at rank 0 and for "b" at rank 1."""
    hit = lambda row, k, want: float(len(row) > k and set(row[k]) == {want[k]})
    return [[hit(row, k, want) for k in range(2)] for row, want in zip(items, wanted, strict=True)]


def test_training_raises_the_rewards_of_each_rank(tmp_path):
    torch.manual_seed(0)
    shape = {
        "hidden_size": 32,
        "intermediate_size": 32,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
    }
    model = LlamaForCausalLM(
        LlamaConfig(vocab_size=len(WORDS), pad_token_id=0, eos_token_id=1, **shape)
    )
    model.save_pretrained(tmp_path / "model")  # the reference is read from there
    config = GRPOConfig(
        model_init_kwargs={"dtype": "float32"},
        output_dir=str(tmp_path),
        per_device_train_batch_size=64,
        num_generations=16,
        max_completion_length=5,
        max_steps=25,
        learning_rate=2e-2,
        lr_scheduler_type="constant",
        beta=0.01,
        epsilon=0.2,
        epsilon_high=0.28,
        logging_steps=1,
        use_cpu=True,
        report_to=[],
        save_strategy="no",
        disable_tqdm=True,
        bf16=False,
    )
    trainer = RankGRPOTrainer(
        model=str(tmp_path / "model"),
        args=config,
        train_dataset=Dataset.from_list([{"prompt": "list", "wanted": ["a", "b"]}] * 64),
        processing_class=tokenizer(),
        rank_rewards=rank_rewards,
        n_ranks=2,
    )
    trainer.train()
    log = [record for record in trainer.state.log_history if "reward" in record]
    first, last = (sum(r["reward"] for r in part) / 5 for part in (log[:5], log[-5:]))
    assert last > first + 0.4, (first, last)
    assert {"kl", "entropy", "clip_ratio_region", "rank_frac_reward_zero_std"} <= log[-1].keys()
