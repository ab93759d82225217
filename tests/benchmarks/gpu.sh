#!/usr/bin/env bash
# What a bare machine with a GPU can be asked within nine minutes: speed, memory, resuming, rendering, then the tests
# that need its GPU. Each part is a process with a time limit of its own; OUT holds what there is after each of them.
#
#   tests/benchmarks/gpu.sh [--device cuda|cpu] [--quick] [--parts NAME,...] [--limit PART=SECONDS]... [OUT]
#
# OUT      folder for gpu.json, gpu.md and gpu.log; default: $OUT, else gpu_results
# PYTHON   interpreter with torch and the packages of moda; default: python3. Nothing is installed.
# On --device cpu tiny networks stand in, to try everything where there is no GPU.
set -u

TOTAL=530  # seconds for all parts
LEAST=10   # no part is begun with fewer seconds left
declare -A LIMITS=(
  [environment]=40 [train]=120 [resume]=100 [sampling]=45 [codec]=60 [zero]=90 [demo]=45 [largest_batch]=45
  [evaluation]=30 [nccl]=60 [tests]=90
)

usage() {
  sed -n '2,/^set -u/{/^set -u/d;s/^# \{0,1\}//;p}' "$0"
}

device=cuda quick=() chosen="" out="${OUT:-gpu_results}"
while (($#)); do
  case "$1" in
    --device) device="${2:-}"; shift ;;
    --quick) quick=(--quick) ;;
    --parts) chosen="${2:-}"; shift ;;
    --limit) given="${2:-}"; LIMITS["${given%%=*}"]="${given#*=}"; shift ;;
    -h | --help) usage; exit 0 ;;
    -*) printf 'gpu.sh: unknown option %s\n' "$1" >&2; exit 2 ;;
    *) out="$1" ;;
  esac
  shift
done

root="$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)" || exit 1
python="${PYTHON:-python3}"
mkdir -p "$out" && out="$(cd "$out" && pwd)" || exit 1
work="$(mktemp -d)" || exit 1
mkdir "$work/parts" "$work/scratch"
log="$out/gpu.log"
: >"$log" || exit 1
cd "$root" || exit 1
export PYTHONUNBUFFERED=1 WANDB_MODE=offline HF_HUB_OFFLINE=1

# Where the package is not installed it is read from here: its folders, linked as the build would place them.
find_package() {
  "$python" -c 'import moda.eval, moda.conf, moda.bench.gpu' 2>/dev/null && return
  mkdir -p "$work/site/moda"
  ln -s "$root"/src/moda/* "$work/site/moda/"
  local name
  for name in data_prep eval conf slurm; do
    ln -sfn "$root/$name" "$work/site/moda/$name"
  done
  export PYTHONPATH="$work/site${PYTHONPATH:+:$PYTHONPATH}"
}

# The pages of what there is so far: should this machine go away, they stay.
pages() {
  "$python" -m moda.bench.gpu report "$work" "$out" || printf 'gpu.sh: no pages could be written\n' >&2
}

running="" stopped=""
stop() {
  stopped="$1"
  [[ -n $running ]] && kill -TERM "$running" 2>/dev/null
}
trap 'stop INT' INT
trap 'stop TERM' TERM

# part NAME: run it within its limit, or what is left of all; what it prints goes to the terminal and to the log.
part() {
  local name="$1" limit="${LIMITS[$1]:-30}" left=$((TOTAL - SECONDS)) began status=0
  local record="$work/parts/$name"
  if ((left < LEAST)); then
    printf 'skipped no time was left\n' >"$record.status"
    return
  fi
  ((limit > left)) && limit=$left
  printf -- '--- %s, at most %d s\n' "$name" "$limit" | tee -a "$log"
  began=$SECONDS
  # timeout ends all of its process group, and so what a part has started
  timeout -k 5 "$limit" "$python" -m moda.bench.gpu "$name" --out "$record.json" --device "$device" \
    --scratch "$work/scratch" ${quick[@]+"${quick[@]}"} >"$record.log" 2>&1 &
  running=$!
  wait "$running" || status=$?
  if [[ -n $stopped ]]; then # the trap has cut the wait short
    wait "$running"
    status=143
  fi
  kill -KILL -- "-$running" 2>/dev/null # of that group: what a part that was ended has left, as trainings that save
  running=""
  cat "$record.log" | tee -a "$log"
  printf -- '--- %s ended with status %d after %d s\n' "$name" "$status" "$((SECONDS - began))" | tee -a "$log"
  printf '%d %d %d\n' "$status" "$((SECONDS - began))" "$limit" >"$record.status"
}

find_package
{
  printf 'python: %s\n' "$(command -v "$python")"
  nvidia-smi --query-gpu=name,driver_version,memory.total --format=csv,noheader 2>/dev/null ||
    printf 'no nvidia-smi\n'
} | tee -a "$log"

mapfile -t names < <("$python" -m moda.bench.gpu list)
[[ -n $chosen ]] && IFS=, read -ra names <<<"$chosen"
for name in ${names[@]+"${names[@]}"}; do
  if [[ -n $stopped ]]; then
    printf 'skipped a signal, SIG%s, had ended the run\n' "$stopped" >"$work/parts/$name.status"
  else
    part "$name"
  fi
  [[ -z $stopped ]] && pages
done
trap '' INT TERM # what is left is short
pages
rm -rf "$work"
printf 'written to %s after %d s\n' "$out" "$SECONDS"
[[ -f $out/gpu.json ]]
