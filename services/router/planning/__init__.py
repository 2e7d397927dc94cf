"""Who gets a notification, on which channels, with which texts."""
