"""Generates the Secrets of the dev overlay: ``python -m deploy.dev_secrets | kubectl create -f -``."""
