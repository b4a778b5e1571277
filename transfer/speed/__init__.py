"""Faster replacements for parts of MMDetection and MMSegmentation."""
