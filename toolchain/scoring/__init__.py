"""Scoring detections against ground truth: arrays in, curves out; knows no model."""
