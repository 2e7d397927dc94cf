"""What people and their pages ask over HTTP: the API, its description, the files of the page."""
