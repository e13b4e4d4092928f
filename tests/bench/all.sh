#!/bin/bash
# Every figure of the README's table and of NOTES.md that `onlooker bench` gives, on this machine; minutes on a GPU.
#
#   tests/bench/all.sh OUT [VIDEO…]
#
# OUT gets a folder a measurement and history.jsonl, a line for each. VIDEO: to count what engines and weight formats
# change; the bundled clip, if none is named.
set -euo pipefail
out=$1
shift
videos=("${@:-demo}")
mkdir -p "$out"

measure() { # folder, options…
    onlooker bench --out "$out/$1" --append "$out/history.jsonl" "${@:2}" || echo "$1: failed" >&2
}

measure default
measure 135m --shape 135m
if nvidia-smi > /dev/null 2>&1; then
    measure 8b-2048 --shape 8b-v1plus --window 2048 --samples 200
    measure 8b-8192 --shape 8b-v1plus --window 8192 --samples 200 --frames 10000
    for weights in int8 fp8 int4; do
        measure "8b-8192-$weights" --shape 8b-v1plus --window 8192 --samples 100 --weights "$weights"
    done
    for weights in dtype int8 fp8; do # the default model is too narrow for int4
        onlooker bench --check "${videos[@]}" --weights "$weights" --json >> "$out/check.jsonl"
    done
fi
