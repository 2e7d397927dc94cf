"""What a publisher keeps on disk until it has a receipt, and how it is sent again."""
