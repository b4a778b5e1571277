"""Classifiers as backbones, and as the head of a C4 detector, in OpenMMLab's toolboxes."""
