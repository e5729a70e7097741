#!/usr/bin/env bash
# After snakemake was killed: cancel the jobs that it left in Slurm, and take its lock away.
#
#   profiles/slurm/recover.sh --dry-run     say what it would cancel
#   profiles/slurm/recover.sh               do it; then run the same snakemake command again
#   profiles/slurm/recover.sh --configfile mine.yaml    the same, with options to unlock with
#
# Only your jobs of this folder are cancelled. Unlocking while they run would let the next
# snakemake start the same work twice. It refuses while snakemake runs here on this machine; make
# sure that none runs on another login node.
set -euo pipefail
cd "$(dirname "$(readlink -f "$0")")/../.."
here=$(pwd -P)

for pid in $(pgrep --euid "$(id -u)" --full '(^|/| -m )snakemake( |$)' || true); do
    # The jobs themselves run snakemake too, in another mode.
    if [ "$(readlink "/proc/$pid/cwd")" = "$here" ] &&
        ! tr '\0' ' ' <"/proc/$pid/cmdline" | grep -qe ' --mode '; then
        echo "snakemake runs in this folder (process $pid): nothing to recover" >&2
        exit 1
    fi
done

orphans() { # ids of the jobs that snakemake submitted from this folder and that are not over
    squeue --noheader --user="$(id -un)" --format='%i %j %Z' |
        while read -r id name folder; do
            if [[ $name == routelmt_* ]] && [ "$(readlink -f "$folder")" = "$here" ]; then
                echo "$id"
            fi
        done
}

found=$(orphans)
echo "jobs of $here: ${found:-none}" | tr '\n' ' '
echo
[ "${1:-}" != --dry-run ] || exit 0
if [ -n "$found" ]; then
    scancel $found
    while [ -n "$(orphans)" ]; do sleep 1; done
fi
PATH=$PATH:$here/.venv/bin snakemake --unlock "$@"
