#!/bin/bash
# The paper's tables (a) objectives, (b) losses and (c) tau on the tabletop world, and silence thinned out or weighed less.
#
#   [JOBS=6] [GPUS="0 1"] train/runs/tables.sh ENCODED CLIPS OUT [SEEDS]
#
# ENCODED: a run whose clips are encoded (python -m train encode). CLIPS: folder with bench/. One token a frame, as in the
# paper's ablations. JOBS runs at a time, which take turns on the GPUS (all that there are, if not said), since a small
# decoder does not fill one: six took 42 GB, the long per-frame dialogues by computing their activations again. A run that
# is finished is left alone, one that was broken off goes on; OUT/report gets the tables, all at one threshold
# (interleaved dialogue has learned none).
set -euo pipefail
encoded=$1 clips=$2 out=$3 seeds=${4:-"0 1 2"}
recipe=$(dirname "$0")/../recipes/ablation.toml
gpus=(${GPUS:-}) started=0

run() { # folder, changes…
    [ -f "$1/fit.json" ] || python -m train fit "$recipe" --encoded "$encoded" --run "$1" "${@:2}"
    [ -f "$1/report/report.json" ] ||
        python -m train evaluate "$1/checkpoint" --threshold 0.5 --clips "$clips/bench" --out "$1/report"
}

job() { # name, changes…
    local folder=$out/$1 changes=("name=$1" "${@:2}")
    while (($(jobs -rp | wc -l) >= ${JOBS:-1})); do wait -n || true; done
    mkdir -p "$folder"
    (
        ((${#gpus[@]})) && export CUDA_VISIBLE_DEVICES=${gpus[started % ${#gpus[@]}]}
        run "$folder" "${changes[@]/#/--set=}"
    ) &> "$folder/log" &
    started=$((started + 1))
}

for seed in $seeds; do
    for kind in streaming interleaved; do job "$kind-$seed" "objective.kind=$kind" "fit.seed=$seed"; done
    job "per-frame-$seed" objective.kind=per-frame model.gradient_checkpointing=true "fit.seed=$seed"
done
for loss in ohem focal; do job "$loss" "objective.loss=$loss"; done
for tau in 0.5 2.0 3.0; do job "tau-$tau" "objective.tau=$tau"; done
for share in 0.1 0.3; do job "silence-share-$share" "objective.silence_share=$share"; done
for weight in 0.1 0.3; do job "silence-weight-$weight" "objective.silence_weight=$weight"; done
wait

for folder in "$out"/*/; do
    [ -f "$folder/report/report.json" ] || [ "$folder" = "$out/report/" ] || echo "${folder}log: broken off" >&2
done
python -m train compare "$out"/*/report --out "$out/report"
