"""A tiny random Qwen3 with its own tokenizer, and a router trained on it."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))  # importlib mode does not find router_toys

from router_toys import LANGUAGES, PROMPT, SPEC, SPEED, WORDS, toy

from routelmt.routers.inputs import RouterContext


@pytest.fixture(scope="session")
def base(tmp_path_factory):
    """Folder of a tiny random model with its tokenizer."""
    import torch

    from routelmt.demo_models.tokenizer import template_phrases, train_tokenizer
    from routelmt.demo_models.train import build_model

    folder = tmp_path_factory.mktemp("base")
    phrases = template_phrases(PROMPT, LANGUAGES, ["en-zh", "en-ru", "zh-en", "ru-en"])
    tokenizer = train_tokenizer(WORDS * 5, phrases, 400)
    torch.manual_seed(3)
    shape = {"hidden": 32, "layers": 2, "heads": 2, "kv_heads": 1, "head_dim": 16, "mlp": 64}
    model = build_model(shape, tokenizer, 128)
    with torch.no_grad():
        # Weights of the usual size leave a random model this small blind to its input.
        for parameter in model.parameters():
            if parameter.dim() > 1:
                parameter.mul_(5)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def context(base):
    """Training context on the tiny model."""
    model = {"path": str(base), "revision": None, "prompt": PROMPT}
    return RouterContext(model, LANGUAGES, SPEED, seed=1)


@pytest.fixture(scope="session")
def trained(context, tmp_path_factory):
    """(folder, record) of a router trained on the toy task."""
    from routelmt.routers import lora

    out = tmp_path_factory.mktemp("routers") / "seed1"
    record = lora.train(SPEC, toy(320, 0), toy(64, 1), context, out)
    return out, record
