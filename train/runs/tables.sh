#!/bin/bash
# The paper's tables (a) objectives, (b) losses and (c) tau on the tabletop world, and silence thinned out or weighed less.
#
#   [JOBS=4] train/runs/tables.sh ENCODED CLIPS OUT [SEEDS]
#
# ENCODED: a run whose clips are encoded (python -m train encode). CLIPS: folder with val/ and bench/. One token a frame,
# as in the paper's ablations. JOBS runs share the device, since a small decoder does not fill it: each takes 10 to 30
# GB of its memory. A run that is finished is left alone, one that was broken off goes on; OUT/report gets the table.
set -euo pipefail
encoded=$1 clips=$2 out=$3 seeds=${4:-"0 1 2"}
recipe=$(dirname "$0")/../recipes/ablation.toml

fit() { # name, changes…
    local run=$out/$1
    shift
    [ -f "$run/fit.json" ] && return
    while (($(jobs -rp | wc -l) >= ${JOBS:-1})); do wait -n; done
    mkdir -p "$run"
    python -m train fit "$recipe" --encoded "$encoded" --run "$run" "${@/#/--set=}" 2> "$run/fit.log" &
}

for seed in $seeds; do
    for kind in streaming per-frame interleaved; do
        fit "$kind-$seed" "objective.kind=$kind" "fit.seed=$seed" "name=$kind-$seed"
    done
done
for loss in ohem focal; do fit "$loss" "objective.loss=$loss" "name=$loss"; done
for tau in 0.5 2.0 3.0; do fit "tau-$tau" "objective.tau=$tau" "name=tau-$tau"; done
for share in 0.1 0.3; do fit "silence-share-$share" "objective.silence_share=$share" "name=silence-share-$share"; done
for weight in 0.1 0.3; do fit "silence-weight-$weight" "objective.silence_weight=$weight" "name=silence-weight-$weight"; done
while (($(jobs -rp | wc -l))); do wait -n; done

python -m train evaluate "$out"/*/checkpoint --calibrate "$clips/val" --clips "$clips/bench" --out "$out/report"
