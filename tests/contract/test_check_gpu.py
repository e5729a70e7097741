"""`make check-gpu`, on a CPU with tiny shapes: every part runs, and finds what a GPU should."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_every_part_runs_on_a_cpu(tmp_path: Path) -> None:
    out = tmp_path / "check.json"
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    done = subprocess.run(
        [sys.executable, "benchmarks/check_gpu.py", "--device", "cpu", "--tiny", "--out", out],
        cwd=ROOT,
        env=environment | {"HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=900,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    report = json.loads(out.read_text())
    checks, speeds = report["checks"], report["speeds"]
    assert report["failed"] == []
    assert {n for n, found in checks.items() if found.get("ok")} == set(checks) - {"memory"}
    assert checks["greedy"]["float32_equal"] == checks["beams"]["float32_equal"] == 1
    assert checks["training"]["losses_apart"] == 0 and checks["training"]["points"] > 1
    assert 0 < checks["greedy"]["bfloat16_equal"] <= 1
    assert "left_out" in checks["memory"]
    for name in ("Qwen3-0.6B", "Qwen3-8B"):
        assert speeds[name]["output_tokens"] == 64
        assert speeds[name]["decode_tokens_per_second"] > 0
    ours, trainer = speeds["training"]["ours"], speeds["training"]["trainer"]
    assert abs(ours["validation_mse"] - trainer["validation_mse"]) < 0.01
