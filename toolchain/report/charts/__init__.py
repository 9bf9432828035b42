"""Drawings as inline SVG, for the figures of all documents."""
