"""Write a config whose experiments are a slice of another's: a trial of all stages (`make try`)."""

import argparse
from pathlib import Path

from routelmt.commands import add_out


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("--config", type=Path, nargs="+", required=True, help="config files")
    parser.add_argument("--limit", type=int, default=50, help="texts of each dataset")
    add_out(parser)


def run(arguments: argparse.Namespace) -> None:
    """Each experiment NAME becomes NAME-try, with a limit; the rest stays."""
    import yaml

    from routelmt import config, tables

    raw = config.read(*arguments.config)
    named = {name: f"{name}-try" for name in raw.get("run") or raw["experiments"]}
    changed = {
        "experiments": {
            new: raw["experiments"].get(name, {}) | {"limit": arguments.limit}
            for name, new in named.items()
        },
        "run": list(named.values()),
    }
    config.resolve(raw | changed)
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    with tables.atomic_path(arguments.out) as temporary:
        text = yaml.safe_dump(raw | changed, allow_unicode=True, sort_keys=False)
        temporary.write_text(text, encoding="utf-8")
    print(f"{arguments.out}: {', '.join(named.values())}, {arguments.limit} texts of each dataset")
