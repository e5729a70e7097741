"""Train the demo's translators: the tokenizer, one model, or the plot of their losses."""

import argparse
from pathlib import Path
from typing import Any

from routelmt.commands import add_out


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("what", choices=["tokenizer", "small", "large", "losses"])
    parser.add_argument("--corpus", type=Path, help="corpus table")
    parser.add_argument("--recipe", type=Path, help="workflow/demo_models.yaml")
    parser.add_argument("--experiment", type=Path, help="config with the prompt and the languages")
    parser.add_argument("--tokenizer", type=Path, help="folder of the trained tokenizer")
    parser.add_argument("--models", type=Path, nargs="+", help="folders of the trained models")
    parser.add_argument("--threads", type=int, default=1, help="CPU threads")
    add_out(parser)


def run(arguments: argparse.Namespace) -> None:
    """Train, or plot."""
    if arguments.what == "losses":
        from routelmt.demo_models.losses import plot_losses

        plot_losses(arguments.models, arguments.out)
        return
    import torch
    import yaml

    from routelmt import config, tables
    from routelmt.demo_models import train

    torch.set_num_threads(arguments.threads)
    experiment = config.load(arguments.experiment)
    template: str = experiment["models"]["demo-small"]["prompt"]
    recipe: dict[str, Any] = yaml.safe_load(arguments.recipe.read_text())
    corpus = tables.read(arguments.corpus, "corpus")
    if arguments.what == "tokenizer":
        train.make_tokenizer(corpus, recipe, template, experiment["languages"], arguments.out)
        return
    train.make_model(
        corpus,
        arguments.tokenizer,
        recipe,
        arguments.what,
        template,
        experiment["languages"],
        arguments.out,
    )
