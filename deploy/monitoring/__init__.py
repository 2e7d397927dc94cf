"""What Prometheus and Grafana are told about Carillon: written here once, from the words that the code uses."""
