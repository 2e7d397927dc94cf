"""The operators' HTTP: questions about what is decided, answered as the commands answer them."""
