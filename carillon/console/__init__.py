"""The operators' console: web pages for incidents, people, providers and repairs, and what they ask over HTTP."""
