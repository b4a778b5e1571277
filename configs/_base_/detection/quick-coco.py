# Protocol `quick-coco`, detection: `quick` with COCO's average precision as its headline, for data
# whose results are usually reported in that form.
_base_ = "quick.py"
val_evaluator = dict(form="coco")
test_evaluator = val_evaluator
