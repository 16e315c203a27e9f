#!/bin/sh
# Makes one part of the demonstrations, in a job of Slurm or Kubernetes that has many tasks.
#
#   SHARDS=8 shard.sh --catalog films.csv --conversations train.jsonl --services services.toml
#
# The arguments are those of build_demonstrations, without --shard, --out and --ledger.
#
# SHARDS                 the number of parts
# SLURM_ARRAY_TASK_ID    the part from 1, which Slurm sets (--array=1-8)
# JOB_COMPLETION_INDEX   the part from 0, which Kubernetes sets (completionMode: Indexed)
# PARTS                  the folder of the parts; runs/parts without it
# BUILD_DEMONSTRATIONS   the program; build_demonstrations on the path without it
#
# A part that is whole stays as it is. A part that was cut goes on: answers that were paid for are in
# its ledger. Exit status 2 says that some conversations have no answer yet; the same task asks again.
set -eu

: "${SHARDS:?is not set; it is the number of parts, as in SHARDS=8}"
if [ -n "${SLURM_ARRAY_TASK_ID:-}" ]; then
  part=$SLURM_ARRAY_TASK_ID
elif [ -n "${JOB_COMPLETION_INDEX:-}" ]; then
  part=$((JOB_COMPLETION_INDEX + 1))
else
  echo "shard.sh: neither SLURM_ARRAY_TASK_ID nor JOB_COMPLETION_INDEX is set" >&2
  exit 1
fi

parts=${PARTS:-runs/parts}
# Written last, so the part has all its files.
if [ -f "$parts/$part/shard.json" ]; then
  echo "part $part/$SHARDS is there already"
  exit 0
fi
mkdir -p "$parts"
# Only answers of services are paid for.
case " $*" in
  *" --services"*) set -- "$@" --ledger "$parts/ledger-$part.jsonl" ;;
esac
exec "${BUILD_DEMONSTRATIONS:-build_demonstrations}" "$@" \
  --shard "$part/$SHARDS" --out "$parts/$part"
