"""The router: decides who gets a notification on which channels, and drives what is due."""
