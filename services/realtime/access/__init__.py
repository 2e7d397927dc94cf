"""Who may ask, from which page and how often, and how a request is refused."""
