"""CPU seconds and memory of the allocation among several models, on made-up requests.

python benchmarks/pool.py [--requests 1000000] [--models 5] [--budgets 100] [--replicates 20]
"""

import argparse
import resource
import time

import numpy as np

from routelmt.evaluate.pool_walk import allocation, walked


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for name, default in (("requests", 10**6), ("models", 5), ("budgets", 100), ("replicates", 20)):
        parser.add_argument(f"--{name}", type=int, default=default)
    options = parser.parse_args()
    rng = np.random.default_rng(0)
    shape = options.requests, options.models
    quality = rng.normal(60, 9, shape)
    predicted = 0.3 * quality + rng.normal(0, 4, shape)
    cost = np.tile(np.arange(1.0, options.models + 1) ** 1.5, (options.requests, 1))
    keys = rng.permutation(options.requests).astype(np.uint64)
    budgets = np.linspace(0, cost[0, -1] - cost[0, 0], options.budgets)[None]
    few = allocation(predicted[:9], cost[:9], quality[:9], cost[:9], keys[:9])  # compiles
    walked(np.ones((1, 9), np.uint8), few, budgets, options.models)
    begun = time.process_time()
    steps = allocation(predicted, cost, quality, cost, keys)
    sorted_at = time.process_time()
    clusters = rng.integers(0, options.requests // 3 + 1, options.requests)
    for _ in range(options.replicates):
        drawn = rng.integers(0, clusters.max() + 1, clusters.max() + 1)
        weights = np.bincount(drawn, minlength=clusters.max() + 1).astype(np.uint8)[clusters][None]
        walked(weights, steps, budgets * weights.sum(), options.models)
    each = (time.process_time() - sorted_at) / options.replicates
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(
        f"{steps.row.size:,} steps: {sorted_at - begun:.1f} CPU seconds to sort, {each:.3f} a "
        f"replicate, {1000 * each:.0f} for 1,000; {peak:.2f} GiB"
    )


if __name__ == "__main__":
    main()
