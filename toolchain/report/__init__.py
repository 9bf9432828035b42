"""Reports as JSON, Markdown and HTML, rendered from records; measures nothing."""
