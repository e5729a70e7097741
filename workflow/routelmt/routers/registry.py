"""The router types and what each declares of itself. One new router: a file and a line here.

A router's module declares `ROUTER` (a RouterType). If it is not trained, it has
`predict(spec, inputs, context)`; a trained one has `train(spec, training, validation, context,
out)`, `predict_trained(artifact, inputs, context)` and `open_trained(artifact, speed, base)`. See
`inputs` for what they are given. It may have `check(spec)` and `check_languages(languages)`, which
refuse settings that do not go together and source languages that it cannot read. From the
declarations the workflow plans its jobs: what no router needs is not made.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from importlib import import_module
from typing import Any, NamedTuple

from routelmt import plugins

_BUILT_IN: dict[str, str] = {
    "random": "routelmt.routers.uniform",
    "length": "routelmt.routers.length",
    "rarity": "routelmt.routers.rarity",
    "entropy": "routelmt.routers.entropy",
    "margin": "routelmt.routers.margin",
    "max-logit": "routelmt.routers.max_logit",
    "self-ask": "routelmt.routers.self_ask",
    "semantic-entropy": "routelmt.routers.semantic_entropy",
    "sequence-uncertainty": "routelmt.routers.sequence_uncertainty",
    "qe-deferral": "routelmt.routers.qe_deferral",
    "gain-oracle": "routelmt.routers.oracles",
    "quality-oracle": "routelmt.routers.oracles",
    "lora": "routelmt.routers.lora",
    "answer": "routelmt.routers.answer",
    "probe": "routelmt.routers.probe",
    "encoder": "routelmt.routers.encoder",
    "xlmr": "routelmt.routers.encoder",
    "embedding-mlp": "routelmt.routers.embedding_mlp",
    "ngram": "routelmt.routers.ngram",
    "sentinel-src": "routelmt.routers.sentinel",
}
ROUTERS = plugins.Registry("routers", _BUILT_IN)


class RouterType(NamedTuple):
    """What the workflow has to know of a router type to plan its jobs and to count its cost.

    needs: of "signals", "states", "hypotheses", "samples", "sample_scores", "estimates", "gains"
        and "model" (the small model's weights), beside the segments. A trained router's gains are
        for training: it never sees those of a test set.
    needs_if: what is needed more where a setting has a value, or lists it, as
        {(setting, value): needs}. costs_if: what it costs more, alike.
    seeded: whether the seed changes what it says. unseeded_if: settings with which it does not.
    deployable: whether it can decide without references.
    in_model: whether it is an adapter of the small model, asked together with all others of it.
    decodes: whether its prediction decodes with the small model, so needs its engine's environment.
    costs: what it costs a request: "prefill" (a pass of its own through the small model),
        "shared_prefill" (comes with the translation's own; of another `base`, "base_prefill" is
        charged), "encoder", "answer" (a few decoded
        tokens), "decode" (the small model translates before the decision), "samples", "estimate"
        (a pass of a quality-estimation metric); nothing for what only reads the text.
    """

    trained: bool = False
    needs: frozenset[str] = frozenset()
    needs_if: Mapping[tuple[str, Any], frozenset[str]] = {}
    seeded: bool = False
    unseeded_if: frozenset[tuple[str, Any]] = frozenset()
    deployable: bool = True
    in_model: bool = False
    decodes: bool = False
    costs: tuple[str, ...] = ()
    costs_if: Mapping[tuple[str, Any], tuple[str, ...]] = {}


def router_module(kind: str) -> str:
    """Full name of the module of a router type."""
    return ROUTERS[kind]


def router_type(kind: str) -> RouterType:
    """What the module of a router type declares."""
    declared: RouterType = import_module(ROUTERS[kind]).ROUTER
    return declared


def needs_of(spec: Mapping[str, Any]) -> frozenset[str]:
    """All that a router of the config needs, with its settings."""
    kind = router_type(spec["type"])
    return kind.needs.union(*(n for key, n in kind.needs_if.items() if _has(spec, *key)))


def costs_of(spec: Mapping[str, Any]) -> list[str]:
    """The terms of what a router of the config costs a request, with its settings."""
    kind = router_type(spec["type"])
    more = (costs for key, costs in kind.costs_if.items() if _has(spec, *key))
    terms = set(kind.costs).union(*more)
    if spec.get("base") and "shared_prefill" in terms:
        terms ^= {"shared_prefill", "base_prefill"}
    if "decode" in terms:  # which its prefill is part of
        terms.discard("shared_prefill")
    return sorted(terms)


def _has(spec: Mapping[str, Any], setting: str, value: Any) -> bool:
    found = spec.get(setting)
    return value in found if isinstance(found, list) else bool(found == value)


def is_seeded(spec: Mapping[str, Any]) -> bool:
    """Whether the seed changes what a router of the config says."""
    kind = router_type(spec["type"])
    return kind.seeded and not any(spec.get(key) == value for key, value in kind.unseeded_if)


def predicts_gain(spec: Mapping[str, Any]) -> bool:
    """Whether a router's prediction is a gain in points of the experiment's metric."""
    ranks_only = ("pairwise", "top_p")
    own_metric = spec.get("label_metric") is None
    return spec.get("target") == "gain" and own_metric and spec.get("loss") not in ranks_only


def check_settings(spec: Mapping[str, Any], languages: Iterable[str]) -> None:
    """Raise UserError if settings of a router do not go together, as far as its module can tell.

    languages: that it meets sources of.
    """
    module = import_module(ROUTERS[spec["type"]])
    if hasattr(module, "check"):
        module.check(spec)
    if hasattr(module, "check_languages"):
        module.check_languages(languages)
