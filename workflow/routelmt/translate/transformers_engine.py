"""The transformers engine: a causal language model from a local folder or the hub."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np

from routelmt.device import find_device
from routelmt.errors import UserError
from routelmt.translate import beams
from routelmt.translate.batches import pass_tokens, token_batches, token_budget
from routelmt.translate.engines import Decoded, Prefill
from routelmt.translate.greedy import GreedyDecoder, Output
from routelmt.translate.layer_states import LayerPooling, LayerStates
from routelmt.translate.memory import as_memory_allows
from routelmt.translate.next_token import signals
from routelmt.translate.prompts import encode
from routelmt.translate.sampling import SamplingDecoder


def load(model: Mapping[str, Any], speed: Mapping[str, Any]) -> TransformersEngine:
    """Load the model that `model` describes, on the device that `speed` names.

    Only safetensors weights, and never code that comes with a model. Raises UserError where the
    model or the device is not there.
    """
    import torch

    torch.set_num_threads(speed["threads"])
    loaded, tokenizer = load_model(model, find_device(speed["device"]))
    return TransformersEngine(loaded, tokenizer, model, speed["batch_tokens"])


def load_model(model: Mapping[str, Any], device: str) -> tuple[Any, Any]:
    """(model ready for inference, tokenizer)."""
    import torch
    from safetensors import SafetensorError
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from routelmt.translate.key_values import register_attention

    path, revision = model["path"], model.get("revision")
    local = Path(path).is_dir()
    if not local and (path.startswith((".", "/", "~")) or path.count("/") != 1):
        raise UserError(
            f"model '{path}': no such folder, and not a hub name (owner/name) either. Make or "
            "download the model, or correct 'path' under 'models' in the config."
        )
    options = {"revision": revision, "trust_remote_code": False, "local_files_only": local}
    try:
        tokenizer = AutoTokenizer.from_pretrained(path, **options)
        loaded = AutoModelForCausalLM.from_pretrained(
            path,
            dtype=getattr(torch, model["dtype"]),
            use_safetensors=True,
            attn_implementation=register_attention(),
            **options,
        )
    except (OSError, ValueError, SafetensorError) as error:
        raise UserError(
            f"model '{path}'{f' at revision {revision}' if revision else ''} cannot be loaded: "
            f"{error} Needed: a folder with config.json, model.safetensors and the tokenizer's "
            "files, or a model on the hub, reachable or in the local cache (HF_HUB_OFFLINE is "
            "set where jobs may not download: fetch it first)."
        ) from None
    return loaded.to(device).eval(), tokenizer


def ends_of_sequence(model: Any, tokenizer: Any) -> list[int]:
    """Token ids that end a sequence: the generation config's, else the tokenizer's."""
    found = model.generation_config.eos_token_id
    if found is None:
        found = tokenizer.eos_token_id
    if found is None:
        raise UserError(
            f"model '{model.name_or_path}' has no end of sequence: set eos_token_id in its "
            "generation_config.json."
        )
    return [found] if isinstance(found, int) else list(found)


class TransformersEngine:
    """See `engines.Engine`. Of the model's own generation settings only the end ids are used."""

    def __init__(
        self, loaded: Any, tokenizer: Any, model: Mapping[str, Any], batch_tokens: int
    ) -> None:
        from transformers import GenerationConfig

        self.model, self.tokenizer = loaded, tokenizer
        self.beams: int = model["beams"]
        self.max_new_tokens: int = model["max_new_tokens"]
        self.batch_tokens = batch_tokens
        self.context: int | None = getattr(
            loaded.config.get_text_config(decoder=True), "max_position_embeddings", None
        )
        self.end_ids = ends_of_sequence(loaded, tokenizer)
        pad = tokenizer.pad_token_id
        self.pad_id: int = self.end_ids[0] if pad is None else pad
        # `generate` fills gaps in its settings from here: no penalties or sampling from the model.
        loaded.generation_config = GenerationConfig()

    def encode(self, turns: Sequence[str]) -> list[list[int]]:
        """Token ids of each user turn in the model's chat template."""
        return encode(self.tokenizer, turns)

    @property
    def batches(self) -> str:
        """See `engines.Engine`; those of a prefill, which are a router's as well."""
        return token_budget(pass_tokens(self.batch_tokens, self.model.device.type))

    def translate(
        self, prompts: Sequence[Sequence[int]], logprobs: bool = True
    ) -> Iterator[tuple[int, Decoded]]:
        """(row, its output): greedy, or by beam search where the model's `beams` is above 1."""
        for row, output in self.decode(prompts, logprobs):
            yield row, self._decoded(output)

    def decode(
        self, prompts: Sequence[Sequence[int]], logprobs: bool = True
    ) -> Iterator[tuple[int, Output]]:
        """(row, its output tokens), as rows finish; in smaller batches when memory runs out."""

        def run(rows: list[int], budget: int) -> Iterator[tuple[list[int], tuple[int, Output]]]:
            self.batch_tokens = budget  # what did not fit will not fit into the next block either
            for row, output in self._decode([prompts[i] for i in rows], logprobs):
                yield [rows[row]], (rows[row], output)

        return as_memory_allows(range(len(prompts)), self.batch_tokens, run)

    def _decode(
        self, prompts: Sequence[Sequence[int]], logprobs: bool
    ) -> Iterator[tuple[int, Output]]:
        limits = self.end_ids, self.pad_id, self.max_new_tokens
        if self.beams > 1:
            budget = self.batch_tokens
            return beams.decode(self.model, prompts, *limits, self.beams, budget, logprobs)
        return GreedyDecoder(self.model, *limits, self.batch_tokens).decode(prompts)

    def sample(
        self, prompts: Sequence[Sequence[int]], count: int, temperature: float, seed: int
    ) -> Iterator[tuple[int, int, Decoded]]:
        """(row, sample, its output), whatever the model's `beams`; see `engines.Engine`."""
        limits = self.end_ids, self.pad_id, self.max_new_tokens

        def run(places: list[int], budget: int) -> Iterator[tuple[list[int], tuple[int, Output]]]:
            self.batch_tokens = budget
            samples = [place % count for place in places]
            decoder = SamplingDecoder(
                self.model, *limits, budget, temperature=temperature, seed=seed, samples=samples
            )
            for n, output in decoder.decode([prompts[place // count] for place in places]):
                yield [places[n]], (places[n], output)

        places = range(len(prompts) * count)
        for place, output in as_memory_allows(places, self.batch_tokens, run):
            yield *divmod(place, count), self._decoded(output)

    def _decoded(self, output: Output) -> Decoded:
        return Decoded(
            text=self.tokenizer.decode(
                output.ids, skip_special_tokens=True, clean_up_tokenization_spaces=False
            ),
            output_tokens=len(output.ids),
            finish_reason="stop" if output.stopped else "length",
            mean_logprob=output.logprob / len(output.ids),
        )

    def prefill(self, prompts: Sequence[Sequence[int]]) -> Iterator[Prefill]:
        """Signals of the first target token; the vocabulary projection sees last tokens only.

        Prompts are padded on the right: a causal model never looks at what follows, so no mask is
        needed and the fastest attention applies.
        """
        for found, _ in self._prefill_all(prompts, None):
            yield found

    def prefill_layers(
        self, prompts: Sequence[Sequence[int]]
    ) -> Iterator[tuple[Prefill, LayerStates]]:
        """The same pass, with the states of every layer."""
        for found, states in self._prefill_all(prompts, LayerPooling(self.model.get_decoder())):
            assert states is not None
            yield found, states

    def _prefill_all(
        self, prompts: Sequence[Sequence[int]], pooling: LayerPooling | None
    ) -> Iterator[tuple[Prefill, LayerStates | None]]:
        lengths = np.array([len(p) for p in prompts], dtype=np.int64)

        def run(
            rows: list[int], budget: int
        ) -> Iterator[tuple[list[int], tuple[Prefill, LayerStates | None]]]:
            self.batch_tokens = budget
            left = np.array(rows, dtype=np.int64)
            tokens = pass_tokens(budget, self.model.device.type)
            for batch in token_batches(lengths[left], tokens):
                yield left[batch].tolist(), self._prefill(prompts, left[batch], lengths, pooling)

        return as_memory_allows(range(len(prompts)), self.batch_tokens, run)

    def _prefill(
        self, prompts: Sequence[Sequence[int]], rows: Any, lengths: Any,
        pooling: LayerPooling | None,
    ) -> tuple[Prefill, LayerStates | None]:  # fmt: skip
        import torch

        decoder, head = self.model.get_decoder(), self.model.get_output_embeddings()
        ids = np.full((len(rows), lengths[rows].max()), self.pad_id, dtype=np.int64)
        for n, i in enumerate(rows):
            ids[n, : len(prompts[i])] = prompts[i]
        tokens = torch.from_numpy(lengths[rows]).to(self.model.device)
        watched = nullcontext() if pooling is None else pooling.watching(tokens)
        with torch.inference_mode(), watched:
            states = decoder(
                input_ids=torch.from_numpy(ids).to(self.model.device), use_cache=False
            ).last_hidden_state
            last = states[torch.arange(len(rows)), torch.from_numpy(lengths[rows] - 1)]
            found = Prefill(rows, *signals(last, head))
            return found, None if pooling is None else pooling.pooled(states)
