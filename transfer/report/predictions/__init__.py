"""Pictures of a model's predictions beside the ground truth."""
