"""Render a :class:`toolchain.records.Report` as JSON, Markdown and HTML; measures nothing."""
