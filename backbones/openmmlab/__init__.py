"""A classifier as a backbone, and as the head of a C4 detector, in OpenMMLab's toolboxes."""
