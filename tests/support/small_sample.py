"""The sample that tests draw in place of the built-in one: a few images of each kind."""

from transfer.datasets.sample import Sizes

SIZES = Sizes(
    classification_train_per_class=8,
    classification_val_per_class=4,
    detection_2007_trainval=8,
    detection_2007_test=9,
    detection_2012_trainval=8,
    segmentation_training=8,
    segmentation_validation=5,
)
