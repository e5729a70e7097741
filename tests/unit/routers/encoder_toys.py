"""A tiny random XLM-RoBERTa with its tokenizer, and a sentinel checkpoint around one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

POSITIONS = 96  # tokens of the longest text
HIDDEN = 32
SIZES = [24, 12]


def xlmr_tokenizer(texts: list[str], positions: int = POSITIONS) -> Any:
    """A fast tokenizer with XLM-R's special tokens and its <s> A </s></s> B </s>."""
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors, trainers
    from transformers import PreTrainedTokenizerFast

    special = {"bos": "<s>", "pad": "<pad>", "eos": "</s>", "unk": "<unk>", "mask": "<mask>"}
    tokenizer = Tokenizer(models.Unigram())
    tokenizer.normalizer = normalizers.NFKC()
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Metaspace()]
    )
    trainer = trainers.UnigramTrainer(
        vocab_size=300, special_tokens=list(special.values()), unk_token="<unk>",
        show_progress=False,
    )  # fmt: skip
    tokenizer.train_from_iterator(texts * 5, trainer)
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", pair="<s> $A </s> </s> $B </s>",
        special_tokens=[(t, tokenizer.token_to_id(t)) for t in ("<s>", "</s>")],
    )  # fmt: skip
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, cls_token="<s>", sep_token="</s>", model_max_length=positions,
        **{f"{name}_token": token for name, token in special.items()},
    )  # fmt: skip


def xlmr(texts: list[str], seed: int = 0, positions: int = POSITIONS) -> tuple[Any, Any]:
    """(model without a pooling layer, tokenizer); its weights are large, so that states differ."""
    import torch
    from transformers import XLMRobertaConfig, XLMRobertaModel

    tokenizer = xlmr_tokenizer(texts, positions)
    config = XLMRobertaConfig(
        vocab_size=len(tokenizer), hidden_size=HIDDEN, num_hidden_layers=2, num_attention_heads=2,
        intermediate_size=48, max_position_embeddings=positions + 2, type_vocab_size=1,
        pad_token_id=tokenizer.pad_token_id, bos_token_id=0, eos_token_id=2,
    )  # fmt: skip
    torch.manual_seed(seed)
    model = XLMRobertaModel(config, add_pooling_layer=False).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() > 1:
                parameter.mul_(4.0)
    return model, tokenizer


def save_xlmr(folder: Path, texts: list[str], seed: int = 0, positions: int = POSITIONS) -> Path:
    """The same as a folder."""
    model, tokenizer = xlmr(texts, seed, positions)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def save_sentinel(root: Path, encoder: Path, texts: list[str]) -> dict[str, Any]:
    """A sentinel as published, with `encoder` (config and tokenizer only) in its hparams.

    Returns the content of its checkpoint.
    """
    import torch
    import yaml

    model, tokenizer = xlmr(texts, seed=5)
    tokenizer.save_pretrained(encoder)
    model.config.save_pretrained(encoder)
    hparams = {
        "name": "sentinel_regression_metric", "optimizer": "RAdam", "warmup_steps": 0,
        "learning_rate": 1e-6, "batch_size": 8, "shuffle": True, "train_data": ["train.csv"],
        "validation_data": ["dev.csv"], "class_identifier": "sentinel_regression_metric",
        "keep_embeddings_frozen": False, "encoder_model": "XLM-RoBERTa",
        "pretrained_model": str(encoder), "load_pretrained_weights": True, "dropout": 0.1,
        "hidden_sizes": SIZES, "activations": "Tanh", "sent_to_use": "src",
        "final_activation": None,
    }  # fmt: skip
    state = {f"encoder.model.{k}": v for k, v in model.state_dict().items()}
    widths = [HIDDEN, *SIZES, 1]
    for place, (rows, columns) in zip(
        (0, 3, 6), zip(widths[1:], widths, strict=False), strict=True
    ):
        state[f"estimator.ff.{place}.weight"] = torch.randn(rows, columns) * 0.5
        state[f"estimator.ff.{place}.bias"] = torch.randn(rows) * 0.1
    saved = {
        "epoch": 1, "global_step": 10, "pytorch-lightning_version": "2.0.4", "loops": {},
        "callbacks": {"ModelCheckpoint": {"best_model_path": "x"}}, "lr_schedulers": [],
        "state_dict": state, "hparams_name": "kwargs", "hyper_parameters": hparams,
    }  # fmt: skip
    (root / "checkpoints").mkdir(parents=True)
    (root / "hparams.yaml").write_text(yaml.safe_dump(hparams))
    torch.save(saved, root / "checkpoints" / "model.ckpt")
    return saved


def hypotheses(of: Any, texts: list[str]) -> Any:
    """Hypotheses table of the segments `of`."""
    from routelmt import tables

    return tables.from_columns(
        "hypotheses",
        {
            **{k: of.column(k) for k in tables.JOIN_KEY}, "model": "s", "hypothesis": texts,
            "prompt_tokens": 5, "output_tokens": 5, "finish_reason": "stop", "mean_logprob": -0.1,
            "degenerate": False,
        },
    )  # fmt: skip
