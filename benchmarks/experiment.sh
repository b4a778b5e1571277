#!/bin/bash
# The suite configs/suites/tricks50d.toml from the classifiers to the records, within eight minutes
# of one GPU:
#
#   benchmarks/experiment.sh RESULTS DATA_ROOT
#
# DATA_ROOT holds voc2012-animals and tiny-imagenet-200. Whatever is finished in time is recorded
# in RESULTS; the same command resumes the rest if the cache and the folder 'work_dirs' are still
# there. SMALL=1 goes through all steps at a small size, also on a CPU; IMAGES, ROWS and SUITE
# replace the ImageFolder, the trained rows and the suite.
set -u
cd "$(dirname "$0")/.." || exit
results=$(realpath -m "${1:?results folder}") data_root=$(realpath "${2:?folder of the data sets}")
work=${WORK:-work_dirs}
export PYTHONPATH=$PWD
. benchmarks/steps.sh

images=${IMAGES:-$data_root/tiny-imagenet-200}
suite=${SUITE:-configs/suites/tricks50d.toml}
rows=${ROWS:-resnet50d_efficient resnet50d_tricks}
if [ -n "${SMALL:-}" ]; then
  classifiers=1 size=(--epochs 1 --batch-size 8 --image-size 32)
else
  classifiers=3 size=(--epochs 8 --batch-size 256 --image-size 64 --workers 7)
fi

train_pair() { # train_pair SEED: one classifier of each row, side by side
  local row
  for row in $rows; do
    python backbones/train.py --recipe "$row" --data "$images" "${size[@]}" --min-area 0.25 \
      --seed "$1" --results "$results" --work-dir "$work/classifiers" &
  done
  wait
}
export -f train_pair
export images results work rows
export size_text="${size[*]}"

for ((seed = 0; seed < classifiers; seed++)); do
  step 80 "classifiers of seed $seed" bash -c "read -ra size <<<\"\$size_text\"; train_pair $seed"
done
step 300 "fine-tuning" python -m transfer.cli.main run --suite "$suite" --jobs auto \
  --data-root "$data_root" --results "$results" --work-dir "$work"
