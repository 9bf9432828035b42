"""Reading data sets and detections; knows no model."""
