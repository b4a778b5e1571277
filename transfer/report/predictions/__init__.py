"""Pictures of what a detector or a segmenter found, beside what is there."""
