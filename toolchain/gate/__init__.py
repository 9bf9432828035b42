"""The gate: a model measured, compared with its baseline, and let through or not.

measuring -> records -> comparing (pure) -> verdict -> report
"""
