"""The stages of a shrink, a file each: functions from frozen records to one frozen record.

    Job -> Start -> Zeroed -> Pair -> Shrunk -> Exported -> Measured -> Certified -> Report

Only :mod:`toolchain.workflows.pipeline` and the library know their order.
"""
