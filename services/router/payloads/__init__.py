"""What publishers write, checked: the models of every topic, the parser, and the refusal."""
