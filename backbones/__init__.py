"""The classifiers: a catalogue of rows, their weights, and their life as OpenMMLab backbones."""
