#!/bin/bash
# Measures on one GPU, within eight minutes, whatever docs/speed.md has no record of:
#
#   benchmarks/gpu.sh RESULTS DATA_ROOT
#
# DATA_ROOT holds voc2012-animals and tiny-imagenet-200. The most important step comes first; each
# has a time limit, and what it has measured by then is recorded in RESULTS. Afterwards, 'transfer
# bench --table' writes the tables. A step that had no time can be repeated by its own command.
#
# SMALL=1 goes through all steps at a small size, also on a CPU; DATA, IMAGES and SUITE replace the
# data set, the ImageFolder and the suite.
set -u
cd "$(dirname "$0")/.." || exit
results=$(realpath -m "${1:?results folder}") data_root=$(realpath "${2:?folder of the data sets}")
export PYTHONPATH=$PWD
. benchmarks/steps.sh

data=${DATA:-voc2012-animals}
images=${IMAGES:-$data_root/tiny-imagenet-200}
suite=${SUITE:-configs/suites/pace.toml}
parts="without GraphedFeatures, without HostSampling, without PointwiseProducts"
parts+=", without NonBlockingInputs, without NoBenchmarkInEvaluation"
if [ -n "${SMALL:-}" ]; then
  stock="stock" parts="without KeptMemory" jobs=2 seeds=1
  detector=(--backbone resnet18_baseline --images 4 --image-size 64)
  segmenter=(--backbone resnet18_baseline --images 4 --image-size 64 --batch-size 2)
  classifier=(--backbone resnet18_baseline --images 16 --image-size 32 --batch-size 8)
  pairs=1 equal_images=8 minutes=20
else
  stock="stock, stock amp" jobs=auto seeds=6 pairs=3 equal_images=96 minutes=1
  detector=(--backbone resnet50_baseline --images 200)
  segmenter=(--backbone resnet50_baseline --images 320)
  classifier=(--backbone resnet50d_tricks --images 40960 --image-size 64 --batch-size 256)
fi

bench() { # bench SECONDS TITLE ARGUMENTS…
  local seconds=$1 title=$2
  shift 2
  step "$seconds" "$title" python -m transfer.cli.main bench --results "$results" \
    --data-root "$data_root" "$@"
}

bench 100 "detection" --task detection --data "$data" "${detector[@]}" --pairs $pairs \
  --against "$stock"
bench 85 "segmentation" --task segmentation --data "$data" "${segmenter[@]}" --pairs $pairs \
  --against "$stock"
step 30 "memory of the suite's runs" python -m transfer.cli.main run --suite "$suite" --dry-run \
  --probe --data-root "$data_root" --results "$results"
bench 125 "a suite side by side" --suite "$suite" --jobs $jobs --seeds $seeds --minutes $minutes
bench 45 "classification" --task classification --data "$images" "${classifier[@]}" --pairs $pairs \
  --against "timm, network alone"
bench 75 "parts of the speed layer" --task detection --data "$data" "${detector[@]}" --pairs 1 \
  --against "$parts"
bench 120 "equivalence" --equivalence --task segmentation --data "$data" --pairs 2 \
  --images $equal_images --backbone resnet18_baseline
