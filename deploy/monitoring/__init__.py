"""The rules and dashboards for Prometheus and Grafana, written from the names that the code uses."""
