"""From a job to a provider's answer: the loop of every channel service."""
