"""The Secrets of the dev overlay, made up: ``python -m deploy.dev_secrets | kubectl create -f -``."""
