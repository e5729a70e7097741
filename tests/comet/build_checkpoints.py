"""Tiny COMET checkpoints with random weights, and what COMET's own predict makes of some rows.

    HF_HUB_OFFLINE=1 .venvs/comet/bin/python build_checkpoints.py OUT [KIND...]

Reads OUT/rows.json (a list of {"src", "mt", "ref"}); writes OUT/KIND/{hparams.yaml, checkpoints},
OUT/encoder and OUT/encoder-xl, and OUT/expected.json: {KIND: {"scores", "spans",
"truncated"}}, where KIND:free stands for the same without references.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytorch_lightning
import torch
import yaml
from comet.models import (
    ReferencelessRegression,
    RegressionMetric,
    UnifiedMetric,
    XCOMETMetric,
    load_from_checkpoint,
)
from tokenizers import Tokenizer, models, pre_tokenizers, processors, trainers
from transformers import XLMRobertaConfig, XLMRobertaTokenizerFast, XLMRobertaXLConfig

SPECIAL = {"bos": "<s>", "pad": "<pad>", "eos": "</s>", "unk": "<unk>", "mask": "<mask>"}
LAYERS = 3
KINDS: dict[str, tuple[Any, dict[str, Any]]] = {
    "xcomet-xl": (XCOMETMetric, {"word_layer": LAYERS}),
    "xcomet": (XCOMETMetric, {"word_layer": LAYERS - 1}),
    "unified": (UnifiedMetric, {"input_segments": ["mt", "src", "ref"]}),
    "kiwi": (
        UnifiedMetric,
        {"input_segments": ["mt", "src"], "word_level_training": True, "word_layer": LAYERS},
    ),
    "regression": (RegressionMetric, {"layer_norm": False}),
    "normed-regression": (RegressionMetric, {"layer_norm": True}),
    "referenceless": (ReferencelessRegression, {}),
}
REFERENCE_FREE = ("kiwi", "referenceless")


def main() -> None:
    out = Path(sys.argv[1])
    rows = json.loads((out / "rows.json").read_text())
    texts = sorted({text for row in rows for text in row.values()})
    for name, config in (("encoder", XLMRobertaConfig), ("encoder-xl", XLMRobertaXLConfig)):
        make_encoder(out / name, config, texts)
    expected: dict[str, Any] = {}
    for kind in sys.argv[2:] or KINDS:
        cls, settings = KINDS[kind]
        xl = kind.endswith("-xl")
        save(build(cls, settings, out / ("encoder-xl" if xl else "encoder"), xl), out / kind)
        model = load_from_checkpoint(str(out / kind / "checkpoints" / "model.ckpt"))
        if kind not in REFERENCE_FREE:
            expected[kind] = predict(model, rows)
        if kind.startswith(("xcomet", "kiwi", "unified", "referenceless")):
            without = [{k: row[k] for k in ("src", "mt")} for row in rows]
            expected[f"{kind}:free"] = predict(model, without)
    (out / "expected.json").write_text(json.dumps(expected))


def make_encoder(folder: Path, config: Any, texts: list[str]) -> None:
    """Config and tokenizer of an XLM-R of 64 units that takes 144 tokens."""
    tokenizer = Tokenizer(models.Unigram())
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    trainer = trainers.UnigramTrainer(
        vocab_size=320, special_tokens=list(SPECIAL.values()), unk_token=SPECIAL["unk"]
    )
    tokenizer.train_from_iterator(texts * 5, trainer)
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>",
        pair="<s> $A </s> </s> $B </s>",
        special_tokens=[(t, tokenizer.token_to_id(t)) for t in ("<s>", "</s>")],
    )
    names = {f"{name}_token": token for name, token in SPECIAL.items()}
    fast = XLMRobertaTokenizerFast(
        tokenizer_object=tokenizer, cls_token="<s>", sep_token="</s>", **names
    )
    fast.save_pretrained(folder)
    config(
        vocab_size=len(fast),
        hidden_size=64,
        num_hidden_layers=LAYERS,
        num_attention_heads=4,
        intermediate_size=96,
        max_position_embeddings=146,
        type_vocab_size=1,
        pad_token_id=fast.pad_token_id,
        bos_token_id=fast.bos_token_id,
        eos_token_id=fast.eos_token_id,
    ).save_pretrained(folder)


def build(cls: Any, settings: dict[str, Any], encoder: Path, xl: bool) -> Any:
    """A model whose scores differ from row to row: its random weights are larger than usual."""
    torch.manual_seed(7)
    model = cls(
        encoder_model="XLM-RoBERTa-XL" if xl else "XLM-RoBERTa",
        pretrained_model=str(encoder),
        hidden_sizes=[48, 24],
        load_pretrained_weights=False,
        local_files_only=True,
        **settings,
    )
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() > 1:
                parameter.mul_(3.0)
        for weight in model.layerwise_attention.scalar_parameters:
            weight.normal_(std=0.3)
    return model


def save(model: Any, root: Path) -> None:
    """COMET's layout."""
    (root / "checkpoints").mkdir(parents=True)
    hparams = json.loads(json.dumps(dict(model.hparams)))
    (root / "hparams.yaml").write_text(yaml.safe_dump(hparams))
    saved = {
        "state_dict": model.state_dict(),
        "hyper_parameters": hparams,
        "pytorch-lightning_version": pytorch_lightning.__version__,
    }
    torch.save(saved, root / "checkpoints" / "model.ckpt")


def predict(model: Any, rows: list[dict[str, str]]) -> dict[str, Any]:
    """COMET's scores (0 to 1) and spans, and whether it cut a row's texts."""
    found = model.predict(rows, batch_size=5, gpus=0, num_workers=0, progress_bar=False)
    spans = found.get("metadata", {}).get("error_spans")
    cut = [seen(model, row) != seen(model, row, 10_000) for row in rows]
    return {"scores": found["scores"], "spans": spans, "truncated": cut}


def seen(model: Any, row: dict[str, str], positions: int | None = None) -> list[int]:
    """Tokens of each sequence that the model is given, if it had so many positions."""
    config = model.encoder.model.config
    before = config.max_position_embeddings
    config.max_position_embeddings = positions or before
    inputs = model.prepare_sample([row], stage="predict")
    config.max_position_embeddings = before
    if isinstance(inputs, dict):
        return [v.shape[1] for k, v in inputs.items() if k.endswith("input_ids")]
    return [i["input_ids"].shape[1] for i in inputs]


if __name__ == "__main__":
    main()
