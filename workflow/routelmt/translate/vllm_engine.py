"""The vllm engine: offline batches on GPUs (on a CPU in tests), in an environment of its own.

One load a job: the generating runner for translations, or the pooling runner for signals, which is
one pass over the prompts without any decoding.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from routelmt.errors import UserError
from routelmt.translate import vllm_beams
from routelmt.translate.engines import Decoded, Prefill
from routelmt.translate.prompts import encode
from routelmt.translate.seeds import seed_of

# Prompts of one pooling pass: results are handed on after each.
PREFILL_ROWS = 1024
# Signals need room on the GPU beside vLLM: for the vocabulary projection and its logits.
PREFILL_MEMORY = 0.8
# Tokens of a block of the cache on a CPU, where vLLM's 128 would hold no prompt's prefix: without
# that, every step of a beam search reads the whole prompt again for every beam.
CPU_BLOCK = 32
# What a config may say that makes logits more than states times the projection's weights.
SCALED_LOGITS = ("final_logit_softcapping", "logit_scale", "logits_scaling", "lm_head_multiplier")
# Set only where the user has not: on a CPU, vLLM stops without the first two of them.
ENVIRONMENT = {"VLLM_NO_USAGE_STATS": "1", "DO_NOT_TRACK": "1"}
CPU_ENVIRONMENT = {
    "VLLM_CPU_KVCACHE_SPACE": "1",  # GiB
    "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
    "VLLM_CPU_NUM_OF_RESERVED_CPU": "0",
    "VLLM_CPU_OMP_THREADS_BIND": "nobind",
}


def load(model: Mapping[str, Any], speed: Mapping[str, Any]) -> VllmEngine:
    """Read the tokenizer and the config; the weights follow when it is known what they are for.

    Only safetensors weights, and never code that comes with a model. Raises UserError where the
    model or the device is not there, and for a `data_parallel` above 1: vLLM's offline engine is
    one copy of the model.
    """
    if speed.get("data_parallel", 1) > 1:
        raise UserError(
            f"speed setting data_parallel {speed['data_parallel']}: one job of the vllm engine "
            "runs one copy of the model. Cut the dataset into 'shards' instead: each is a job "
            "with a copy of its own, and they run side by side."
        )
    described = _describe(model)
    return VllmEngine(model, *described, _prepare(speed), speed.get("tensor_parallel", 1))


def _prepare(speed: Mapping[str, Any]) -> bool:
    """Set vLLM's environment variables; whether it runs on the CPU. UserError: wrong device."""
    for name, value in ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    from vllm.platforms import current_platform

    device, on_cpu = speed["device"], bool(current_platform.is_cpu())
    here = "the CPU" if on_cpu else "GPUs"
    if device not in ("auto", "cpu" if on_cpu else "cuda"):
        raise UserError(
            f"device '{device}': the vLLM in this environment runs on {here}. Use 'auto'; "
            "CUDA_VISIBLE_DEVICES chooses GPUs; `make setup-vllm TORCH=cuda` makes one for GPUs, "
            "TORCH=cpu one for CPUs."
        )
    if on_cpu:
        import torch

        for name, value in CPU_ENVIRONMENT.items():
            os.environ.setdefault(name, value)
        torch.set_num_threads(speed["threads"])
    return on_cpu


class VllmEngine:
    """See `engines.Engine`. Of the model's own generation settings only the end ids are used."""

    batches = "continuous (vLLM)"

    def __init__(
        self,
        model: Mapping[str, Any],
        config: Any,
        tokenizer: Any,
        end_ids: list[int],
        on_cpu: bool,
        tensor_parallel: int,
    ) -> None:
        self._model, self._on_cpu, self._tensor_parallel = model, on_cpu, tensor_parallel
        self._config, self.tokenizer, self.end_ids = config, tokenizer, end_ids
        self.beams: int = model["beams"]
        self.max_new_tokens: int = model["max_new_tokens"]
        self.context: int | None = getattr(
            self._config.get_text_config(decoder=True), "max_position_embeddings", None
        )
        self._longest = 1  # tokens of a prompt, of all that were encoded
        self._length = 0  # tokens of prompt and output that the loaded engine has room for
        self._llm: Any = None
        self._runner: str | None = None  # "pooling", or the one that decodes

    def encode(self, turns: Sequence[str]) -> list[list[int]]:
        """Token ids of each user turn in the model's chat template."""
        prompts = encode(self.tokenizer, turns)
        self._longest = max([self._longest, *map(len, prompts)])
        return prompts

    def translate(
        self, prompts: Sequence[Sequence[int]], logprobs: bool = True
    ) -> Iterator[tuple[int, Decoded]]:
        """(row, its output): greedy, or by beam search where the model's `beams` is above 1.

        Log-probabilities come with the tokens, whether they are asked for or not.
        """
        self._load_decoder(prompts, vllm_beams.candidates(self.beams, self.end_ids))
        found: Iterator[vllm_beams.Output]
        if self.beams > 1:
            found = vllm_beams.decode(
                self.llm, prompts, self.end_ids, self.max_new_tokens, self.beams
            )
        else:
            found = self._greedy(prompts)
        for row, ids, logprob in found:
            yield row, self._decoded(ids, logprob)

    def _greedy(self, prompts: Sequence[Sequence[int]]) -> Iterator[vllm_beams.Output]:
        """(row, output tokens with the end of sequence, their log-probability) as rows finish."""
        for row, output in vllm_beams.run(self.llm, prompts, self._params(temperature=0)):
            best = output.outputs[0]
            yield row, best.token_ids, best.cumulative_logprob

    def sample(
        self, prompts: Sequence[Sequence[int]], count: int, temperature: float, seed: int
    ) -> Iterator[tuple[int, int, Decoded]]:
        """(row, sample, its output), whatever the model's `beams`; see `engines.Engine`.

        A seed for each prompt: with one for all, every prompt would get the same random numbers.
        """
        self._load_decoder(prompts, 1)
        params = [
            self._params(temperature=temperature, n=count, seed=seed_of(seed, prompt))
            for prompt in prompts
        ]
        for row, output in vllm_beams.run(self.llm, prompts, params):
            for found in output.outputs:
                yield row, found.index, self._decoded(found.token_ids, found.cumulative_logprob)

    def _params(self, **options: Any) -> Any:
        """vLLM's sampling parameters, with what they share."""
        from vllm import SamplingParams

        return SamplingParams(
            max_tokens=self.max_new_tokens,
            stop_token_ids=self.end_ids,
            ignore_eos=True,  # which ids end a sequence is said above
            logprobs=0,  # of the chosen tokens alone
            flat_logprobs=True,
            detokenize=False,
            **options,
        )

    def _load_decoder(self, prompts: Sequence[Sequence[int]], logprobs: int) -> None:
        """Load the weights for decoding, with room for so many log-probabilities a token."""
        self._load(
            prompts,
            self.max_new_tokens,
            enable_prefix_caching=True,
            max_logprobs=max(logprobs, 1),
            logprobs_mode="raw_logprobs",  # at temperature 1, whatever the samples' is
            generation_config="vllm",
            # Without a GPU, vLLM cannot draw with a seed after a prompt that it read in two parts.
            **({"block_size": CPU_BLOCK, "enable_chunked_prefill": False} if self._on_cpu else {}),
        )

    def _decoded(self, ids: Sequence[int], logprob: float) -> Decoded:
        return Decoded(
            text=self.tokenizer.decode(
                list(ids), skip_special_tokens=True, clean_up_tokenization_spaces=False
            ),
            output_tokens=len(ids),
            finish_reason="stop" if ids[-1] in self.end_ids else "length",
            mean_logprob=logprob / len(ids),
        )

    def prefill(self, prompts: Sequence[Sequence[int]]) -> Iterator[Prefill]:
        """Signals of the first target token, from the states of one pooling pass.

        vLLM hands over the final hidden states; the vocabulary projection is read from the
        checkpoint and applied here, in the model's number format.
        """
        import torch
        from vllm import TokensPrompt
        from vllm.config import PoolerConfig

        from routelmt.translate.next_token import signals

        head = _Projection(self._model, self._config)
        self._load(
            prompts,
            0,
            runner="pooling",
            pooler_config=PoolerConfig(pooling_type="LAST", use_activation=False),
            **({} if self._on_cpu else {"gpu_memory_utilization": PREFILL_MEMORY}),
        )
        head.to("cpu" if self._on_cpu else "cuda")
        order = np.argsort([-len(p) for p in prompts], kind="stable")
        for rows in np.split(order, range(PREFILL_ROWS, len(order), PREFILL_ROWS)):
            asked = [TokensPrompt(prompt_token_ids=list(prompts[i])) for i in rows]
            found = self.llm.encode(asked, pooling_task="embed", use_tqdm=False)
            states = torch.stack([f.outputs.data for f in found])
            with torch.inference_mode():
                yield Prefill(rows, *signals(states.to(head.weight), head))

    @property
    def llm(self) -> Any:
        """vLLM's engine, once it is loaded."""
        return self._llm

    def _load(self, prompts: Sequence[Sequence[int]], new_tokens: int, **options: Any) -> None:
        """Load the weights on first use, with room for the longest prompt; or UserError.

        Prompts that are too long for the model are encoded, and never come here.
        """
        here = max(map(len, prompts))
        if self._llm is not None:
            if options.get("runner") != self._runner:
                raise ValueError("the model is loaded for the other runner: open another engine")
            if here + new_tokens > self._length:
                raise ValueError(f"prompt of {here} tokens: encode all before the first is used")
            return
        self._runner = options.get("runner")
        longest = max(here, min(self._longest, self._model["max_prompt_tokens"]))
        self._length = max(longest + new_tokens, 2)
        if self.context is not None:
            self._length = min(self._length, self.context)
        with _readable(self._model):
            from vllm import LLM

            self._llm = LLM(
                self._model["path"],
                revision=self._model.get("revision"),
                dtype=self._model["dtype"],
                load_format="safetensors",
                trust_remote_code=False,
                seed=0,
                max_model_len=self._length,
                tensor_parallel_size=self._tensor_parallel,
                enforce_eager=self._on_cpu,
                **options,
            )


def _describe(model: Mapping[str, Any]) -> tuple[Any, Any, list[int]]:
    """(config, tokenizer, ids that end a sequence) of a model; UserError if they are not there."""
    from transformers import AutoConfig, AutoTokenizer, GenerationConfig

    path = model["path"]
    if not Path(path).is_dir() and (path.startswith((".", "/", "~")) or path.count("/") != 1):
        raise UserError(
            f"model '{path}': no such folder, and not a hub name (owner/name) either. Make or "
            "download the model, or correct 'path' under 'models' in the config."
        )
    options = {"revision": model.get("revision"), "trust_remote_code": False}
    with _readable(model):
        config = AutoConfig.from_pretrained(path, **options)
        tokenizer = AutoTokenizer.from_pretrained(path, **options)
        try:
            generation = GenerationConfig.from_pretrained(path, revision=options["revision"])
        except OSError:  # it need not have one
            generation = GenerationConfig.from_model_config(config)
    found = generation.eos_token_id
    found = tokenizer.eos_token_id if found is None else found
    if found is None:
        raise UserError(
            f"model '{path}' has no end of sequence: set eos_token_id in its "
            "generation_config.json."
        )
    return config, tokenizer, [found] if isinstance(found, int) else list(found)


@contextmanager
def _readable(model: Mapping[str, Any]) -> Iterator[None]:
    """Turn what vLLM and transformers raise while loading into a UserError that says what to do."""
    path, revision = model["path"], model.get("revision")
    try:
        yield
    except UserError:
        raise
    except Exception as error:  # of a dozen packages that have a hand in it
        raise UserError(
            f"model '{path}'{f' at revision {revision}' if revision else ''} cannot be loaded: "
            f"{str(error).strip() or type(error).__name__} {_advice(str(error))}"
        ) from None


def _advice(text: str) -> str:
    """What to do about a model that did not load."""
    low = text.lower()
    if "out of memory" in low or "kv cache" in low or "free memory" in low:
        return (
            "There is not enough memory: raise tensor_parallel, use a smaller model or dtype "
            "bfloat16, lower max_new_tokens, or free the GPU (on a CPU: VLLM_CPU_KVCACHE_SPACE, "
            "in GiB)."
        )
    if "not supported" in low or "architecture" in low:
        return "vLLM may not know this kind of model: set engine: transformers for it."
    if "engine core" in low:
        return "The cause is further up in this log."
    return (
        "Needed: a folder with config.json, model.safetensors and the tokenizer's files, or a "
        "model on the hub, reachable or in the local cache (HF_HUB_OFFLINE is set where jobs may "
        "not download: fetch it first)."
    )


class _Projection:
    """The vocabulary projection of a checkpoint: states (n, hidden) to logits (n, vocabulary)."""

    def __init__(self, model: Mapping[str, Any], config: Any) -> None:
        import torch

        text = config.get_text_config(decoder=True)
        scaled = [n for n in SCALED_LOGITS if getattr(text, n, None) not in (None, 1, 1.0)]
        if scaled:
            raise UserError(
                f"model '{model['path']}': its config has {scaled[0]}, which the vllm engine "
                "does not apply to signals. Set engine: transformers for this model."
            )
        name = "embed_tokens.weight" if text.tie_word_embeddings else "lm_head.weight"
        self.weight = _read_tensor(model, name).to(getattr(torch, model["dtype"]))

    def to(self, device: str) -> None:
        """Move the weights."""
        self.weight = self.weight.to(device)

    def __call__(self, states: Any) -> Any:
        return states @ self.weight.T


def _read_tensor(model: Mapping[str, Any], ending: str) -> Any:
    """The one tensor of a checkpoint whose name ends so; UserError unless it is there."""
    import json

    from safetensors import safe_open
    from transformers.utils import cached_file

    def file(name: str) -> str | None:
        found: str | None = cached_file(
            model["path"],
            name,
            revision=model.get("revision"),
            _raise_exceptions_for_missing_entries=False,
        )
        return found

    with _readable(model):
        index = file("model.safetensors.index.json")
        files = ["model.safetensors"]
        if index:
            names = json.loads(Path(index).read_text(encoding="utf-8"))["weight_map"]
            files = sorted({f for n, f in names.items() if n.endswith(ending)})
        for path in filter(None, map(file, files)):
            with safe_open(path, framework="pt") as tensors:
                for name in tensors.keys():  # noqa: SIM118 (not a mapping)
                    if name.endswith(ending):
                        return tensors.get_tensor(name)
    raise UserError(
        f"model '{model['path']}': no tensor '...{ending}' in its safetensors files, which "
        "signals need. Set engine: transformers for this model."
    )
