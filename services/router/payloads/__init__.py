"""What publishers write, checked: the models of every topic, the way from bytes to a model, and the refusal."""
