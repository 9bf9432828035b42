"""Training: targets, losses, data, soft filter pruning, distillation, exact resume."""
