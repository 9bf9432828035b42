"""One verdict, many renderings: words, Markdown, JUnit XML, a page; and baselines over time."""
