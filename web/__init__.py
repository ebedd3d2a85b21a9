"""The engine in a browser: a JavaScript package and a page; `python -m web` builds both."""
