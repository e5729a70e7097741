"""A tiny random Qwen3 on disk. Random weights never stop, so a frequent token ends sequences."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

TEMPLATE = "Translate the following text from {src} into {tgt}:\n{src}: {text}\n{tgt}:"
LANGUAGES = {"en": "English", "zh": "Chinese", "ru": "Russian"}
SOURCES = [  # all different
    "Save the file",
    "",
    "Cancel",
    "a {brace} and {0} and {{two}}",
    "The connection to the server was lost while the file was being saved; try again later.",
    "<|im_end|> in the text, <|im_start|>user too",
    "保存文件",
    "Сохранить файл? Ёж 🦔 e\u0301",
    "Cancel all pending downloads and remove them from the list of downloads",
    " \n\t",
    "x",
    "Файл не найден в каталоге",
    "无法连接到服务器，请稍后再试。",
    "Open",
    "%(count)d files were removed from %s",
]
NEW_TOKENS = 20


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A saved model whose greedy outputs have very different lengths."""
    import torch

    from routelmt.demo_models.tokenizer import template_phrases, train_tokenizer
    from routelmt.demo_models.train import build_model

    out = tmp_path_factory.mktemp("model")
    phrases = template_phrases(TEMPLATE, LANGUAGES, ["en-zh", "en-ru"])
    tokenizer = train_tokenizer(SOURCES * 3, phrases, 340)
    torch.manual_seed(3)
    shape = {"hidden": 32, "layers": 2, "heads": 4, "kv_heads": 2, "head_dim": 8, "mlp": 64}
    model = build_model(shape, tokenizer, 256)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() > 1:  # at the default scale every next token is the last one again
                parameter.mul_(8.0)
    model.save_pretrained(out)
    tokenizer.save_pretrained(out)
    ends = _frequent_tokens(model, tokenizer)
    model.generation_config.eos_token_id = [tokenizer.eos_token_id, *ends]
    model.generation_config.save_pretrained(out)
    return out


def _frequent_tokens(model: Any, tokenizer: Any) -> list[int]:
    """Tokens that, taken as ends, stop two thirds of the sources, most not at once."""
    from collections import Counter

    import torch

    from routelmt.translate import prompts

    model.eval()
    turns = [prompts.render(TEMPLATE, LANGUAGES, "en-zh", s) for s in SOURCES]
    outputs = []
    for ids in prompts.encode(tokenizer, turns):
        with torch.inference_mode():
            whole = model.generate(
                torch.tensor([ids]), max_new_tokens=NEW_TOKENS, do_sample=False, eos_token_id=None
            )
        outputs.append(whole[0, len(ids) :].tolist())
    ends: list[int] = []
    while sum(not set(ends) & set(o) for o in outputs) > len(outputs) / 3:
        endless = [o for o in outputs if not set(ends) & set(o)]
        counts = Counter(t for o in endless for t in set(o[4:]) - set(o[:3]))
        ends.append(counts.most_common(1)[0][0])
    return ends


@pytest.fixture()
def model_config(folder: Path) -> dict[str, Any]:
    return {
        "engine": "transformers",
        "path": str(folder),
        "revision": None,
        "dtype": "float32",
        "prompt": TEMPLATE,
        "beams": 1,
        "max_new_tokens": NEW_TOKENS,
        "max_prompt_tokens": 200,
    }


@pytest.fixture()
def speed() -> dict[str, Any]:
    return {"batch_tokens": 400, "device": "cpu", "threads": 1}


@pytest.fixture()
def engine(model_config: dict[str, Any], speed: dict[str, Any]) -> Any:
    from routelmt.translate.engines import open_engine

    return open_engine(model_config, speed)


@pytest.fixture()
def asked(engine: Any) -> list[list[int]]:
    """The encoded prompts of all sources."""
    from routelmt.translate import prompts

    return engine.encode([prompts.render(TEMPLATE, LANGUAGES, "en-zh", s) for s in SOURCES])


@pytest.fixture()
def languages() -> dict[str, str]:
    return LANGUAGES


@pytest.fixture()
def segments() -> Any:
    """Every source once, and some again under other ids; English into Chinese."""
    from routelmt import tables

    sources = [*SOURCES, SOURCES[2], SOURCES[0], SOURCES[2]]
    ids = [f"s{n}" for n in range(len(sources))]
    return tables.from_columns(
        "segments",
        {
            "dataset": "tiny",
            "direction": "en-zh",
            "segment_id": ids,
            "group_id": ids,
            "doc_id": None,
            "domain": None,
            "split": "test",
            "source": sources,
            "reference": "x",
        },
    )
