"""Trains one of the demo's translators from scratch: a Qwen3-architecture decoder.

Prompted as LMT-60 is; the loss is on the target alone. Right-padded batches need no attention mask
(a causal model never looks at padding to the right), and only target positions go through the
vocabulary projection.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from routelmt.translate.batches import token_batches

IGNORE = -100  # cross_entropy's default ignore_index


def build_model(shape: Mapping[str, int], tokenizer: Any, max_length: int) -> Any:
    """A randomly initialised Qwen3ForCausalLM with tied embeddings."""
    from transformers import Qwen3Config, Qwen3ForCausalLM

    return Qwen3ForCausalLM(
        Qwen3Config(
            vocab_size=len(tokenizer),
            hidden_size=shape["hidden"],
            num_hidden_layers=shape["layers"],
            num_attention_heads=shape["heads"],
            num_key_value_heads=shape["kv_heads"],
            head_dim=shape["head_dim"],
            intermediate_size=shape["mlp"],
            tie_word_embeddings=True,
            max_position_embeddings=max_length,
            bos_token_id=None,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
            # Eager attention: on the CPU the fused kernel's backward pass over many short rows
            # took a third of a training step.
            attn_implementation="eager",
        )
    )


def collate(rows: Sequence[tuple[list[int], list[int]]], pad: int) -> tuple[Any, Any]:
    """(ids, labels) of a batch, shape (rows, longest): labels are the next tokens of the target."""
    import torch

    width = max(len(p) + len(t) for p, t in rows)
    ids = np.full((len(rows), width), pad, dtype=np.int64)
    labels = np.full((len(rows), width), IGNORE, dtype=np.int64)
    for i, (prompt, target) in enumerate(rows):
        ids[i, : len(prompt) + len(target)] = prompt + target
        labels[i, len(prompt) - 1 : len(prompt) + len(target) - 1] = target
    return torch.from_numpy(ids), torch.from_numpy(labels)


def target_loss(model: Any, ids: Any, labels: Any, smoothing: float) -> tuple[Any, int]:
    """Summed cross-entropy (nats) over the target tokens, and how many they are."""
    import torch

    with torch.autocast("cpu", torch.bfloat16):
        states = model.model(input_ids=ids, use_cache=False).last_hidden_state
        wanted = labels != IGNORE
        logits = model.lm_head(states[wanted])
    targets = labels[wanted]
    loss = torch.nn.functional.cross_entropy(
        logits.float(), targets, label_smoothing=smoothing, reduction="sum"
    )
    return loss, len(targets)


def learning_rate(step: int, steps: int, warmup: int, peak: float) -> float:
    """Linear warm-up, then cosine decay to a twentieth of the peak."""
    if step < warmup:
        return peak * (step + 1) / warmup
    done = (step - warmup) / max(1, steps - warmup)
    return peak * (0.05 + 0.95 * 0.5 * (1 + math.cos(math.pi * done)))


class Corpus:
    """Encoded (prompt, target) rows and their batches by token budget."""

    def __init__(self, rows: Sequence[tuple[list[int], list[int]]], budget: int, pad: int) -> None:
        self.rows, self.budget, self.pad = rows, budget, pad
        self.lengths = np.array([len(p) + len(t) for p, t in rows])

    def batches(self, rng: np.random.Generator | None) -> list[Any]:
        """Index batches; with `rng`, in random order and differently composed each time."""
        if rng is None:
            return token_batches(self.lengths, self.budget)
        jitter = self.lengths * rng.uniform(1.0, 1.15, len(self.lengths))
        batches = token_batches(np.ceil(jitter).astype(np.int64), self.budget)
        return [batches[i] for i in rng.permutation(len(batches))]

    def tensors(self, batch: Any) -> tuple[Any, Any]:
        """(ids, labels) tensors of one index batch."""
        return collate([self.rows[i] for i in batch], self.pad)


def validation_loss(model: Any, corpus: Corpus) -> float:
    """Mean cross-entropy (nats a target token, no smoothing)."""
    import torch

    model.eval()
    total, count = 0.0, 0
    with torch.inference_mode():
        for batch in corpus.batches(None):
            loss, tokens = target_loss(model, *corpus.tensors(batch), smoothing=0.0)
            total, count = total + loss.item(), count + tokens
    model.train()
    return total / count


def train(
    model: Any, training: Corpus, validation: Corpus, recipe: Mapping[str, Any], out: Path
) -> dict[str, Any]:
    """Train, keep the weights with the lowest validation loss in `out`, return the history.

    Stops after `patience` evaluations without a better one. The history (a list of evaluations)
    is written to out/history.jsonl as it grows.
    """
    import torch

    from routelmt.progress import progress

    torch.manual_seed(recipe["seed"])
    rng = np.random.default_rng(recipe["seed"])
    decay = [p for p in model.parameters() if p.dim() > 1]
    plain = [p for p in model.parameters() if p.dim() <= 1]
    optimizer = torch.optim.AdamW(
        [
            {"params": decay, "weight_decay": recipe["weight_decay"]},
            {"params": plain, "weight_decay": 0.0},
        ],
        lr=recipe["learning_rate"],
        betas=(0.9, 0.98),
        fused=True,
    )
    steps_per_epoch = len(training.batches(rng))
    steps = recipe["epochs"] * steps_per_epoch
    every = max(1, steps_per_epoch // recipe["evaluations_per_epoch"])
    best, worse, seen, smooth = math.inf, 0, 0, math.nan
    started = time.perf_counter()
    history = out / "history.jsonl"
    history.write_text("")
    model.train()
    queue: list[Any] = []
    bar = progress(range(steps), "training", "step")
    for step in bar:
        queue = queue or training.batches(rng)
        ids, labels = training.tensors(queue.pop())
        rate = learning_rate(step, steps, recipe["warmup_steps"], recipe["learning_rate"])
        for group in optimizer.param_groups:
            group["lr"] = rate
        loss, tokens = target_loss(model, ids, labels, recipe["label_smoothing"])
        (loss / tokens).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), recipe["clip"])
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        seen += ids.numel()
        value = loss.item() / tokens
        smooth = value if math.isnan(smooth) else 0.98 * smooth + 0.02 * value
        if (step + 1) % every and step + 1 < steps:
            continue
        found = validation_loss(model, validation)
        seconds = time.perf_counter() - started
        entry = {
            "step": step + 1,
            "epoch": (step + 1) / steps_per_epoch,
            "tokens": seen,
            "seconds": seconds,
            "train_loss": smooth,
            "valid_loss": found,
            "lr": rate,
        }
        with history.open("a") as log:
            log.write(json.dumps(entry) + "\n")
        bar.write(json.dumps({k: round(v, 4) for k, v in entry.items()}))
        if found < best:
            best, worse = found, 0
            model.save_pretrained(out / "best")
        else:
            worse += 1
            if worse >= recipe["patience"]:
                break
    elapsed = time.perf_counter() - started
    return {
        "best_valid_loss": best,
        "hours": elapsed / 3600,
        "tokens": seen,
        "tokens_per_second": seen / elapsed,
    }


def direction_rows(
    corpus: Any, split: str, packages: Sequence[str] | None, max_chars: int
) -> list[tuple[str, str, str]]:
    """(direction, source, reference) of a split of the corpus table, each pair both ways."""
    rows = []
    for row in corpus.to_pylist():
        english, other, language = row["english"], row["translation"], row["language"]
        if row["split"] != split or (packages is not None and row["package"] not in packages):
            continue
        if max(len(english), len(other)) <= max_chars:
            rows += [(f"en-{language}", english, other), (f"{language}-en", other, english)]
    return rows


def encode_rows(
    tokenizer: Any,
    rows: Sequence[tuple[str, str, str]],
    template: str,
    languages: Mapping[str, str],
) -> list[tuple[list[int], list[int]]]:
    """(prompt ids, target ids with end of turn) of each row."""
    from routelmt.translate import prompts

    asked = prompts.encode(
        tokenizer, [prompts.render(template, languages, d, s) for d, s, _ in rows]
    )
    targets = tokenizer([r for _, _, r in rows], add_special_tokens=False)["input_ids"]
    return [(p, [*t, tokenizer.eos_token_id]) for p, t in zip(asked, targets, strict=True)]


def make_tokenizer(
    corpus: Any, recipe: Mapping[str, Any], template: str, languages: Mapping[str, str], out: Path
) -> None:
    """Train the tokenizer both models share on translator-train and save it in `out`."""
    from routelmt.demo_models.tokenizer import template_phrases, train_tokenizer

    rows = direction_rows(corpus, "translator-train", None, recipe["max_chars"])
    phrases = template_phrases(template, languages, sorted({d for d, _, _ in rows}))
    tokenizer = train_tokenizer([s for _, s, _ in rows], phrases, recipe["vocabulary"])
    tokenizer.save_pretrained(out)


def make_model(
    corpus: Any,
    tokenizer_dir: Path,
    recipe: Mapping[str, Any],
    size: str,
    template: str,
    languages: Mapping[str, str],
    out: Path,
) -> dict[str, Any]:
    """Train the model of one size; leaves weights (bf16), tokenizer and history in `out`."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(tokenizer_dir)
    packages = recipe["known_to_small"] if size == "small" else None
    settings = recipe["training"] | {"epochs": recipe["epochs"][size]}
    budget = settings["batch_tokens"]

    def corpus_of(split: str) -> Corpus:
        rows = direction_rows(corpus, split, packages, recipe["max_chars"])
        return Corpus(
            encode_rows(tokenizer, rows, template, languages), budget, tokenizer.pad_token_id
        )

    out.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(settings["seed"])
    model = build_model(recipe["sizes"][size], tokenizer, recipe["max_length"])
    training = corpus_of("translator-train")
    summary = train(model, training, corpus_of("valid"), settings, out)
    summary |= {
        "parameters": sum(p.numel() for p in model.parameters()),
        "rows": len(training.rows),
    }
    best = AutoModelForCausalLM.from_pretrained(out / "best", dtype=torch.bfloat16)
    best.config._attn_implementation = "sdpa"
    best.save_pretrained(out)
    tokenizer.save_pretrained(out)
    (out / "training.json").write_text(json.dumps(summary, indent=1) + "\n")
    return summary
